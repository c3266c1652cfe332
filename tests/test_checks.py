"""The wording that all messages share."""

from pathlib import Path

import pytest

from metafunc import data
from metafunc.checks import counted
from metafunc.training.validation_tasks import undecided


@pytest.mark.parametrize(
    ("number", "things", "said"),
    [
        (0, "tasks", "0 tasks"),
        (1, "tasks", "1 task"),
        (2000, "new tasks", "2,000 new tasks"),
        (1, "queries", "1 query"),
        (1, "classes", "1 class"),
        (1, "boxes", "1 box"),
        (1, "cases", "1 case"),
        (1, "sheep", "1 sheep"),
    ],
)
def test_one_thing_has_no_plural(number: int, things: str, said: str) -> None:
    assert counted(number, things) == said


def test_one_validation_task_is_one(tmp_path: Path) -> None:
    file = tmp_path / "tasks.csv"
    file.write_text("\n".join(["task,x,y", *(f"t{t},{x},{x * t}" for t in range(6) for x in range(6))]))
    family = data.regression(path=str(file), task_column="task", num_shots=2)
    assert undecided(family, 0, 100).startswith("There is 1 validation task, fewer than ")
