"""Numbers of support rows that differ from task to task: their counts, and what a range leaves as it was."""

import math

import pandas as pd
import pytest
import torch

from metafunc import data, tree
from metafunc.data.episodes import Rows, episodes
from metafunc.data.sampling import generator_for
from metafunc.data.shots import check_shots, ragged
from metafunc.types import Batch, Task

FAMILIES = {
    "sinusoid": data.sinusoid,
    "sine_or_line": data.sine_or_line,
    "nme_sinusoid": data.nme_sinusoid,
    "circles": data.circles,
    "pose": data.pose,
}
"""Those of which every task is a new draw, and whose shots count rows, not rows of a class."""


def drawn(sampler, number, step=0):
    return sampler(generator_for(0, "test", step), number)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_range_masks_what_is_beyond_a_task_s_own_count(name):
    family = FAMILIES[name](num_shots=(2, 4), num_test_queries=3)
    tasks = drawn(family.test, 60)
    counts = tasks.support.mask.sum(1)
    assert counts.unique().tolist() == [2, 3, 4]
    assert torch.equal(tasks.support.mask, (torch.arange(4) < counts[:, None]).float())
    assert tasks.query.mask == ()
    few = drawn(family.test, 7)
    assert all(torch.equal(a, b[:7]) for a, b in zip(tree.leaves(few), tree.leaves(tasks), strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_number_draws_without_a_mask_and_a_range_draws_the_same_rows_after_one_uniform(name):
    """A generator that has given one number is where a task of the plain sampler begins."""
    plain = FAMILIES[name](num_shots=4, num_test_queries=3).test
    ranged = FAMILIES[name](num_shots=(2, 4), num_test_queries=3).test
    generator = generator_for(0, "test", 0)
    first = torch.rand(1, dtype=torch.float64, generator=generator)
    expected, found = plain(generator, 1), drawn(ranged, 1)
    assert expected.support.mask == ()
    assert found.support.mask.sum() == 2 + math.floor(3 * first)
    assert all(torch.equal(getattr(a, f), getattr(b, f)) for a, b in zip(found, expected, strict=True) for f in "xy")


def test_counts_of_few_tasks_stay_with_them():
    family = data.few_task_sinusoid(num_train_tasks=5, num_shots=(1, 5))
    tasks = drawn(family.train, 200)
    counts = {}
    for first, mask in zip(tasks.support.x[:, 0, 0].tolist(), tasks.support.mask, strict=True):
        counts.setdefault(first, set()).add(mask.sum().item())
    assert len(counts) == 5
    assert all(len(each) == 1 for each in counts.values())


def test_classes_of_a_task_have_one_count():
    rows = Rows(torch.rand(60, 2), torch.arange(0, 60, 10), torch.full((6,), 10))
    tasks = drawn(episodes(rows, torch.arange(6), num_ways=3, num_shots=(1, 4), num_queries=2), 80)
    per_class = tasks.support.mask.reshape(80, 3, 4)
    assert (tasks.support.y.reshape(80, 3, 4) == torch.arange(3)[:, None]).all()
    counts = per_class.sum(-1)
    assert (counts == counts[:, :1]).all()
    assert counts.unique().tolist() == [1, 2, 3, 4]
    assert (per_class == (torch.arange(4) < counts[..., None])).all()


@pytest.fixture
def table(tmp_path):
    """Task t has rows of the value 100 t + i, and 3, 5 or 40 of them."""
    cells = [(f"t{t}", 100.0 * t + i, 100.0 * t + i) for t in range(30) for i in range((3, 5, 40)[t % 3])]
    pd.DataFrame(cells, columns=["task", "x", "y"]).to_csv(tmp_path / "table.csv", index=False)
    return str(tmp_path / "table.csv")


def test_a_range_takes_tasks_of_three_rows_and_of_forty(table):
    settings = {"num_test_queries": 4, "standardise": False}
    with pytest.raises(ValueError, match="tasks have no row left to predict beside num_shots = 20"):
        data.regression(table, num_shots=20, **settings)
    tasks = drawn(data.regression(table, num_shots=(1, 20), **settings).train, 600)
    support, query = tasks.support, tasks.query
    task = (support.x[:, 0, 0] / 100).long()
    size = torch.tensor([3, 5, 40])[task % 3]
    count = support.mask.sum(1)
    for rows, most in ((3, 2), (5, 4), (40, 20)):
        assert count[size == rows].unique().tolist() == list(range(1, most + 1))
    assert torch.equal(query.mask.sum(1), (size - count).clamp(max=10))
    for t in range(600):
        of_support = support.x[t, support.mask[t] > 0, 0].tolist()
        of_query = query.x[t, query.mask[t] > 0, 0].tolist()
        both = of_support + of_query
        assert len({*both}) == len(both), "a row is in support and query"
        assert all(100 * task[t] <= value < 100 * task[t] + size[t] for value in both)


def test_a_sampler_of_a_number_is_the_plain_one():
    def draw(uniforms):
        return Task(Batch(uniforms[:, :3], uniforms[:, :3]), Batch(uniforms[:, 3:], uniforms[:, 3:]))

    found = ragged(5, draw, 3)(generator_for(0, "test", 0), 4)
    assert torch.equal(
        found.query.x, torch.rand(4, 5, dtype=torch.float64, generator=generator_for(0, "test", 0))[:, 3:]
    )
    assert found.support.mask == ()


@pytest.mark.parametrize(
    ("shots", "message"),
    [
        ((5, 3), "num_shots runs from 5 to 3: give the smaller number first."),
        ((-1, 3), "num_shots must be at least 0, not -1."),
        (0, "num_shots must be at least 1, not 0."),
        (-1, "num_shots must be at least 1, not -1."),
        ((0, 0), "num_shots must be at least 1, not 0."),
        ((1, 2, 3), "num_shots has 3 numbers: give one, or the smallest and the largest of a range."),
    ],
)
def test_ranges_that_are_none_are_refused(shots, message):
    with pytest.raises(ValueError, match="num_shots") as error:
        check_shots(0, num_shots=shots)
    assert str(error.value) == message
