import io
import sys
import warnings
from typing import Any

import pytest
from metafunc_cli.display import progress, results
from metafunc_cli.display.screen import Screen
from rich.console import Console

from metafunc.training.events import Event


def entry(mean: float | None, **others: float) -> dict[str, float | None]:
    return {"mean": mean, "ci95": 0.1, "median": 0.5, "trimmed_mean": 0.75, **others}


def report(metric: str, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    steps = [{"step": i, metric: entry(0.25), "nll": entry(1.5), "diverged": 0, **row} for i, row in enumerate(rows)]
    test = {"split": "test", "num_tasks": 600, "by_step": steps, **more}
    return {"algorithm": "maml", "tasks": "sinusoid", "normalisation": "none", "meta_test": test}


def shown(value: dict[str, Any], own: int | None = None, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    results.show(console, value, own)
    return console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above


def test_a_table_has_a_row_for_every_number_of_steps() -> None:
    text = shown(report("mse", {}, {"mse": entry(0.125)}))
    assert "maml on sinusoid" in text
    assert "600 new tasks" in text
    assert "0.125 ± 0.100" in text
    assert "diverged" not in text


def test_tasks_that_were_trained_on_are_not_called_new() -> None:
    groups = {"number": 12, "of": "tasks", "per_episode": 1}
    assert "50 episodes of 12 training tasks" in shown(report("mse", {}, split="train", num_tasks=50, groups=groups))
    assert "600 training tasks" in shown(report("mse", {}, split="train"))
    everything = {**groups, "of": "training tasks"}
    assert "episodes of 12 training tasks" in shown(report("mse", {}, groups=everything))
    assert "no interval" in shown(report("mse", {}, groups={**groups, "number": 1}))


def test_diverged_tasks_get_a_column_and_what_is_not_finite_a_name() -> None:
    text = shown(report("mse", {}, {"mse": entry(None), "diverged": 3}))
    assert "diverged" in text
    assert "3 tasks" in text
    assert "inf" in text


def test_validation_tasks_that_the_noise_scale_leaves_out_are_counted() -> None:
    assert "leaves out" not in shown(report("mse", {"noise_tasks_left_out": 0}, {"noise_tasks_left_out": 0}))
    text = shown(report("mse", {"noise_tasks_left_out": 0}, {"noise_tasks_left_out": 3}, {"noise_tasks_left_out": 5}))
    assert "leaves out validation tasks that diverged: 3 after 1 step, 5 after 2 steps." in " ".join(text.split())


def test_a_noise_scale_says_where_it_is_in_units_of_each_task() -> None:
    row = {"noise_scale": 0.25}
    assert shown(report("mse", row, row), own=1).rstrip().endswith("after 1 step: noise scale 0.250")
    row |= {"noise_in_task_units": 1}
    assert "noise scale 0.250 in units of each task's own" in shown(report("mse", row, row), own=1)


def test_accuracies_are_percentages_with_the_probe_and_the_protocol() -> None:
    supports = {name: entry(mean) for name, mean in (("own", 0.9), ("empty", 0.19), ("shuffled", 0.18))}
    probe = {"metric": "accuracy", "mean": 0.21, "ci95": 0.01, "chance": 0.2, **supports}
    probed = report("accuracy", {}, memorisation_probe=probe)
    text = shown({**probed, "normalisation": "transductive"})
    assert "25.0 % ± 10.0 %" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "uses its support set: not shown" in lines, "a report of before has no paired difference"
    assert "accuracy after adapting to its own support set 90.0 % ± 10.0 %" in lines
    assert "accuracy after adapting to no support set 19.0 % ± 10.0 %" in lines
    assert "accuracy after adapting to another task's 18.0 % ± 10.0 %" in lines
    assert "accuracy before adaptation 21.0 % ± 1.0 % (chance 20.0 %)" in lines
    assert "transductive normalisation" in text


def test_a_step_that_diverges_leaves_the_other_rows_as_they_are() -> None:
    plain, wild = (shown(report("mse", {}, {"mse": entry(mean)})).splitlines() for mean in (0.125, 1.234e21))
    assert plain[-5].split()[:4] == wild[-5].split()[:4]
    assert "1.23e+21 ± 0.100" in wild[-4]
    assert max(map(len, wild)) < max(map(len, plain)) + 8


WILD: tuple[dict[str, Any], ...] = ({}, {}, {"mse": entry(7.9e21)}, {"mse": entry(None), "diverged": 175})


def test_the_row_of_the_steps_of_training_is_the_result_and_what_diverges_beyond_is_one_line() -> None:
    text = shown(report("mse", *WILD), own=1)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert [line for line in lines if line.startswith("▸ 1 ")]
    assert "▸ the result, after 1 step as in training. ±: 95 % interval." in lines
    assert "after 2 to 3 steps, more than in training, it diverges: 175 of 600 tasks without a finite error." in lines
    assert "7.90e+21" not in text
    assert not [line for line in lines if line.startswith(("2 ", "3 "))]


def test_what_diverges_in_training_is_shown_as_it_is() -> None:
    text = shown(report("mse", *WILD), own=3)
    assert "7.90e+21" in text
    assert "175 tasks" in text
    assert "more than in training" not in text


def test_steps_that_were_not_tested_mark_no_row() -> None:
    assert "▸" not in shown(report("mse", {}, {}), own=5)
    assert "▸" not in shown(report("mse", {}, {}))


def test_a_calibration_error_has_a_column_and_a_joint_nll_of_its_own_too() -> None:
    text = shown(report("mse", {"calibration_error": 0.0421}, {"calibration_error": 0.0123}))
    assert "calibration" in text
    assert "0.042" in text
    assert "0.012" in text
    same, other = (report("mse", {"joint_nll": entry(mean)}) for mean in (1.5, 2.5))
    rounded = report("mse", {"joint_nll": entry(1.5 * (1 + 1e-8))})
    assert "joint_nll: as nll, row by row" in shown(same)
    assert "joint_nll: as nll, row by row" in shown(rounded)
    assert "2.500 ± 0.100" in shown(other)
    assert "as nll" not in shown(other)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_number_is_broken_and_no_line_too_long(width: int) -> None:
    every = {name: entry(0.123) for name in ("crps", "gap")} | {"calibration_error": 0.5, "joint_nll": entry(2.5)}
    text = shown(report("mse", *[{**every, "diverged": k} for k in range(3)]), own=0, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("0.123 ± 0.100") == 2 * 3 - 2 * 2, "rows 1 and 2 are folded"
    assert text.count("2.500 ± 0.100") == 1


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [((0.5, 0.1), "yes"), ((0.05, 0.1), "not shown"), ((-0.5, 0.1), "no"), ((None, None), "not shown")],
)
def test_the_probe_has_a_verdict(gain: tuple[float | None, float | None], verdict: str) -> None:
    mean, half = gain
    supports: dict[str, Any] = {name: entry(0.9) for name in ("own", "empty", "shuffled")}
    probe = {"metric": "mse", **entry(1.0), **supports, "gain": {"mean": mean, "ci95": half}}
    assert f"uses its support set: {verdict}" in shown(report("mse", {}, memorisation_probe=probe))


@pytest.mark.parametrize(
    ("value", "expected"), [(0.12345, "0.123"), (123.456, "123"), (2.5e7, "2.50e+07"), (None, "inf"), (-0.5, "-0.500")]
)
def test_numbers_are_short(value: float | None, expected: str) -> None:
    assert results.tidy(value) == expected


def test_without_a_terminal_a_plain_line_comes_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("metafunc_cli.display.progress.time.monotonic", lambda: float(next(clock)))
    console = Console(file=io.StringIO(), width=120)
    with progress.progress(console, "maml on sinusoid", quiet=False) as advance:
        for step in range(1, 11):  # ten seconds each
            advance(step, 20, "loss 0.5")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # it is the StringIO above
    assert [line.split("  ")[0] for line in lines] == [f"maml on sinusoid {step}/20" for step in (3, 6, 9)]
    assert lines[1].endswith("left")
    assert "\x1b" not in "".join(lines)


def test_quiet_shows_nothing() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    with progress.progress(console, "x", quiet=True) as advance:
        advance(1, 2, "")
    assert not console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above


def test_a_terminal_gets_a_bar_with_loss_and_time_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress.progress(console, "maml", quiet=False) as advance:
        advance(1, 20, "loss 0.5")
        advance(15, 20, "loss 0.25")
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    assert "15/20" in text
    assert "loss 0.25" in text
    assert ":" in text


def test_a_training_shows_the_mean_loss_of_the_last_steps_the_last_validation_and_warnings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown: list[tuple[int, int, str]] = []
    callback = progress.Callback(Screen(json=False, quiet=False), lambda *given: shown.append(given))
    callback(Event("resumed", 0, 99, {"validation": {"mse": 4.0}}))
    callback(Event("train", 1, 99, {"loss": 1.0}))
    callback(Event("validation", 1, 99, {"validation": {"mse": 2.0, "nll": 1.5}}))
    callback(Event("train", 2, 99, {"loss": 0.0}))
    callback(Event("log", 2, 99, {"loss": 0.5}))
    callback(Event("warning", 2, 99, message="the disk is old"))
    for step in range(progress.WINDOW):
        callback(Event("train", step, 99, {"loss": 0.25}))
    assert shown[0] == (1, 99, "loss 1.000  validation mse 4.000")
    assert shown[1] == (2, 99, "loss 0.500  validation mse 2.000  validation nll 1.500")
    assert shown[-1][2].startswith("loss 0.250  ")
    assert capsys.readouterr().err == "warning: the disk is old\n"


def test_a_closed_pipe_is_no_traceback() -> None:
    import subprocess

    answer = subprocess.run(
        f"{sys.executable} -m metafunc_cli list | head -n 1", shell=True, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "algorithms:\n"
    assert not answer.stderr


def test_a_long_word_in_front_does_not_run_into_its_text() -> None:
    console = Console(file=io.StringIO(), width=120)
    results.show_lines(console, [("wrote", "p.csv"), ("accuracy", "0.5")])
    assert console.file.getvalue() == "wrote    p.csv\naccuracy 0.5\n"  # type: ignore[attr-defined]  # a StringIO


def test_a_warning_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(json=False, quiet=False)
    for message in ("few tasks", "few tasks", "old data"):
        warnings.showwarning(UserWarning(message), UserWarning, "here", 1)
    screen.warn("few tasks", of=["maml-0", "maml-1"])
    screen.warn("slow", of=["maml-0", "maml-1"])
    assert capsys.readouterr().err.splitlines() == [
        "warning: few tasks", "warning: old data", "warning: maml-0, maml-1: slow"
    ]  # fmt: skip


def test_a_warning_of_an_earlier_part_is_not_said_again_with_other_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(json=False, quiet=False)
    for count, mse in ((5, 1.14), (6, 1.3)):
        screen.begin_part()
        screen.warn(f"There are {count} validation tasks.")
        screen.warn(f"mse {mse} at the start")
        screen.warn(f"mse {mse + 1} at the start")
    screen.warn("mse at last")
    assert capsys.readouterr().err.splitlines() == [
        "warning: There are 5 validation tasks.",
        "warning: mse 1.14 at the start",
        f"warning: mse {1.14 + 1} at the start",
        "warning: mse at last",
    ]
