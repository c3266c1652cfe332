"""What a search has found, in tables and pictures."""

import csv
import io
from pathlib import Path

import pytest

from metafunc.results import search_report
from metafunc.results.figures.search import importance, limits, slices
from metafunc.training.tried import Found, State, Tried


def tried(number: int, state: State, score: float | None) -> Tried:
    values = {
        "algorithm.inner_lr": 10.0**-number,
        "model.hidden": (4, 8) if number % 2 else (4,),
        "training.clip": None,
    }
    return Tried(number, values, state, score, None if score is None else 5, Path(f"study/trial-{number:05d}"))


FOUND = Found(
    "accuracy",
    (
        tried(0, "complete", 0.5),
        tried(1, "complete", 0.75),
        tried(2, "pruned", 0.25),
        tried(3, "diverged", None),
        tried(4, "running", 0.9),
    ),
    {"algorithm.inner_lr": 0.75, "model.hidden": 0.25},
)


def test_the_best_is_a_complete_trial_of_the_highest_accuracy() -> None:
    assert [one.number for one in FOUND.ranked] == [1, 0]
    assert search_report.described(FOUND)["best"] == 1
    assert search_report.described(FOUND._replace(tried=FOUND.tried[2:]))["best"] is None
    errors = FOUND._replace(metric="mse")
    assert [one.number for one in errors.ranked] == [0, 1]


def test_tables_have_every_trial_or_the_best() -> None:
    rows = list(csv.reader(io.StringIO(search_report.to_csv(FOUND))))
    assert rows[0] == ["trial", "state", "accuracy", "step", "inner_lr", "model.hidden", "clip"]
    assert rows[2] == ["1", "complete", "0.75", "5", "0.1", "4x8", "None"]
    assert len(rows) == 6
    assert search_report.to_markdown(FOUND).splitlines()[2] == "| 1 | 0.75 | 0.1 | 4x8 | None |"
    assert search_report.counted(FOUND) == "5 trials: 2 complete, 1 pruned, 1 diverged, 1 running"


def test_pictures_are_drawn_of_what_there_is_the_same_each_time(tmp_path: Path) -> None:
    one, two = (search_report.draw(FOUND, tmp_path / name, of="maml on glyphs") for name in ("one", "two"))
    assert [path.name for path in one] == ["importance.png", "slices.png"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    nothing = FOUND._replace(tried=(tried(0, "diverged", None),), importance={})
    assert search_report.draw(nothing, tmp_path, of="") == []


def test_a_panel_for_each_setting_with_every_scored_trial() -> None:
    panels = slices(FOUND).axes
    assert [axes.get_xlabel() for axes in panels] == ["inner_lr", "model.hidden", "clip"]
    assert all(len(axes.lines) == 4 for axes in panels)
    assert panels[0].get_xscale() == "log"
    assert [label.get_text() for label in panels[1].get_xticklabels()] == ["4", "4x8"]


def test_scores_far_from_the_good_half_do_not_squeeze_it() -> None:
    assert limits("mse", [1.0, 1.1, 1.2, 1e9]) == (1.0, pytest.approx(1.4))
    assert limits("accuracy", [0.9, 0.8, 0.0]) == (pytest.approx(0.5), 0.9)
    assert limits("mse", [2.0, 2.0]) == (1.5, 2.5)


def test_without_shares_or_scores_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="fewer than two trials"):
        importance({})
    with pytest.raises(ValueError, match="no trial has reached"):
        slices(FOUND._replace(tried=(tried(3, "diverged", None),)))
