"""What figures show of a finite number of tasks is each of them once."""

from pathlib import Path

import pytest
import torch

from metafunc.data import sinusoid
from metafunc.data.sampling import Grouped, generator_for, replayed
from metafunc.results.plot_run import functions
from metafunc.results.shown_tasks import each_once
from metafunc.results.units import task_names
from metafunc.training import config
from metafunc.types import Batch, Sampler, Task


def few(count: int) -> Sampler:
    return replayed(Task(*(Batch(torch.arange(float(count))[:, None], torch.zeros(count, 1)) for _ in range(2))))


@pytest.mark.parametrize(("count", "asked", "shown"), [(5, 3, 3), (3, 3, 3), (2, 3, 2), (1, 3, 1), (100, 4, 4)])
def test_the_first_episode_of_each_task_is_taken(count: int, asked: int, shown: int) -> None:
    once = each_once(few(count))
    assert isinstance(once, Grouped)
    for seed in range(20):
        found, many = (each(generator_for(seed, "figures", 0), n) for each, n in ((once, asked), (few(count), 200)))
        drawn = [*dict.fromkeys(many.query.x.flatten().tolist())][:asked]
        assert found.query.x.flatten().tolist() == drawn
        assert len(drawn) == shown
        assert once.groups(generator_for(seed, "figures", 0), asked).flatten().tolist() == drawn


def test_of_other_tasks_nothing_changes() -> None:
    family = sinusoid()
    assert each_once(family.test) is family.test


def test_a_table_with_few_tasks_to_test_on_shows_none_twice(tmp_path: Path) -> None:
    rows = [f"ward {t},{a},{a * t + t}" for t in range(20) for a in range(8)]
    (tmp_path / "T.csv").write_text("\n".join(["task,x,y", *rows]))
    tasks = {"name": "regression", "path": str(tmp_path / "T.csv"), "num_shots": 3}
    learner, family = config.build({"algorithm": {"name": "alpaca"}, "tasks": tasks})
    meta, seeds = learner.init(generator_for(0, "init", 0)), range(6)
    assert isinstance(family.test, Grouped)
    drawn = [family.test.groups(generator_for(seed, "figures", 0), 3).flatten().tolist() for seed in seeds]
    assert any(len({*each}) < 3 for each in drawn), "no seed shows a task twice by itself"
    for seed in seeds:
        shown = functions(learner, meta, tasks, seed, 3)
        wards = torch.tensor([float(name.rpartition(" ")[2]) for name in task_names(family, tasks, seed, 3)])
        assert len(wards) == len({*wards.tolist()}) == 3
        rise, run = (leaf[:, 1, 0] - leaf[:, 0, 0] for leaf in (shown.support.y, shown.support.x))
        found = rise / run  # in standard deviations, and a ward's is its number
        assert torch.allclose(found * wards.sum(), found.sum() * wards, atol=1e-3), "a title is another task's"
