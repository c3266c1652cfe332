"""What `metafunc train` says before and after: whose settings, how large, how long; and the numbers it keeps."""

from pathlib import Path

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.display import progress
from metafunc_cli.display.beforehand import announce
from metafunc_cli.display.durations import duration
from metafunc_cli.display.screen import Screen
from metafunc_cli.settings import compose

from metafunc.results import per_task
from metafunc.training import config
from metafunc.training.events import Event

TINY = "--steps 2 --num-tasks 2 --test-tasks 6 --test-steps 2"


def inside(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> int:
    monkeypatch.chdir(folder)
    return run(line.split())


def test_two_lines_come_before_the_training_and_its_time_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside(tmp_path, monkeypatch, f"train maml sinusoid {TINY} --out run") == 0
    printed = capsys.readouterr()
    said = " ".join(printed.err.split())  # a narrow terminal has more lines
    assert said.startswith("maml on sinusoid: 2 steps of 2 tasks, preset maml-sinusoid (Finn, Abbeel, Levine (2017)")
    assert "and what you gave mlp, 1,761 meta-parameters; on cpu by 1 thread" in said
    assert "trained 2 steps in " in printed.out
    assert "uses its support set: " in printed.out
    assert "▸ 1" in printed.out
    (entry,) = per_task.read(tmp_path / "run" / per_task.NAME).entries
    assert (entry.algorithm, entry.seeds, entry.evaluations[0].num_tasks) == ("maml", (0,), 6)
    assert inside(tmp_path, monkeypatch, "eval run --num-tasks 5 --quiet") == 0
    other = per_task.read(tmp_path / "run" / "evaluation-num_tasks=5.parquet").entries
    assert other[0].evaluations[0].num_tasks == 5
    capsys.readouterr()
    assert (
        inside(tmp_path, monkeypatch, f"train maml sinusoid {TINY} --out run --overwrite --quiet --test-tasks 0") == 0
    )
    assert not capsys.readouterr().err
    assert not (tmp_path / "run" / per_task.NAME).exists(), "it is the numbers of the run that was deleted"


@pytest.mark.parametrize(
    ("line", "num_ranks", "small"),
    [
        ("maml sinusoid", 2, True),
        ("maml sinusoid", 1, False),
        ("maml sinusoid --model.hidden 400 400", 2, False),
        ("maml_rl navigation", 2, False),  # whose rollouts ranks share
    ],
)
def test_where_ranks_gain_nothing_that_is_said(
    line: str, num_ranks: int, small: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    request = compose.read(line.split())
    announce(Screen(json=False, quiet=False), request, *config.build(request.settings.to_json()), num_ranks)
    assert ("steps this small gain nothing from ranks" in " ".join(capsys.readouterr().err.split())) is small


def said(capsys: pytest.CaptureFixture[str], seconds: float, steps: int, *, quiet: bool = False) -> list[str]:
    """What is said of a training whose steps take so long."""
    now = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metafunc_cli.display.progress.time.monotonic", lambda: now[0])
        estimate = progress.Estimate(Screen(json=False, quiet=quiet), "try --quick")
        for step in range(1, min(steps, 60) + 1):
            now[0] += seconds if step > 1 else 1000.0
            estimate(Event("train", step, steps, {"loss": 1.0}))
            estimate(Event("log", step, steps))
    return capsys.readouterr().err.splitlines()


def test_after_twenty_steps_or_five_seconds_it_is_said_how_long_the_others_take(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said(capsys, 0.1, 1021) == ["about 100 s for the other 1,000 steps"]
    assert said(capsys, 0.1, 60_021) == ["about 100 min for the other 60,000 steps", "try --quick"]
    assert said(capsys, 3.0, 60_003) == ["about 2.1 days for the other 60,000 steps", "try --quick"]
    assert said(capsys, 0.001, 200) == ["under 1 s for the other 179 steps"]
    assert said(capsys, 0.1, 20) == [], "it is over by then"
    assert said(capsys, 0.1, 60_021, quiet=True) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "under 1 s"), (119.4, "119 s"), (119.6, "2 min"), (7199, "2 h"), (7200, "2 h"), (7261, "2 h 1 min")],
)
def test_durations_are_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
