"""Average ranks on a line: every learner is named at its rank, and bars join those that are near."""

import pytest

from metafunc.results import figures

RANKS = {"dkt": 1.2, "tnp": 1.9, "cnp": 3.1, "maml": 3.8}


def test_every_learner_stands_at_its_rank_and_bars_span_groups() -> None:
    groups = [["dkt", "tnp"], ["cnp", "maml"]]
    (axes,) = figures.critical_differences(RANKS, difference=1.0, groups=groups).axes
    said = {text.get_text() for text in axes.texts}
    assert {"dkt  1.20", "tnp  1.90", "3.10  cnp", "3.80  maml", "critical difference 1.00"} <= said
    places = sorted(float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "o")
    assert places == sorted(RANKS.values())
    bars = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 3.0]
    assert [(round(bar[0], 2), round(bar[1], 2)) for bar in bars] == [(1.18, 1.92), (3.08, 3.82)]


def test_without_a_critical_difference_there_is_no_bar() -> None:
    page = figures.critical_differences(RANKS)
    assert not any("critical" in text.get_text() for text in page.axes[0].texts)
    assert not any("Nemenyi" in text.get_text() for text in page.subfigs[0].texts)


def test_no_learner_is_refused() -> None:
    with pytest.raises(ValueError, match="no learner"):
        figures.critical_differences({})
