"""A meta-test in print is short, and holds the numbers."""

from metafunc.evaluation.metrics.text import as_html, as_text

ROWS = [{"step": k, "mse": {"mean": 4.0 - 0.1 * k, "ci95": 0.5}, "calibration_error": 0.01234} for k in range(20)]


def test_twelve_lines_at_most_with_the_last_row() -> None:
    lines = as_text(600, "test", ROWS).splitlines()
    assert len(lines) == 11
    assert lines[0] == "Evaluation of 600 test tasks (mean ± 95 %)"
    assert lines[1].split() == ["steps", "MSE", "calibration", "error"]
    assert lines[-1].split() == ["19", "2.1", "±", "0.5", "0.0123"]
    assert lines[-2].split()[0] == "7"


def test_without_an_interval_there_is_none() -> None:
    assert as_text(1, "test", [{"step": 0, "mse": {"mean": 4.0, "ci95": None}}]).splitlines()[-1].split() == ["0", "4"]
    assert as_html(1, "<b>", ROWS).startswith("<table><caption>Evaluation of 1 &lt;b&gt; task (mean ± 95 %)")
