"""Support sets that are cut: nested, of the same tasks, and class by class."""

import pytest
import torch

from metafunc import data
from metafunc.data.episodes import Rows, episodes
from metafunc.data.fewer_shots import fewer_shots
from metafunc.data.sampling import generator_for
from metafunc.types import TaskFamily

ROWS = Rows(torch.rand(60, 2), torch.arange(0, 60, 10), torch.full((6,), 10))


def drawn(family, number=9):
    return family.test(generator_for(0, "test", 0), number)


def of_classes(num_shots):
    sampler = episodes(ROWS, torch.arange(6), num_ways=3, num_shots=num_shots, num_queries=2)
    return TaskFamily("own", "classification", (2,), 3, sampler, sampler, sampler)


def test_the_first_rows_stay_and_the_query_sets_are_the_same():
    family = data.sinusoid(num_shots=6)
    whole = drawn(family)
    for shots in (1, 3, 6):
        few = drawn(fewer_shots(family, shots))
        assert torch.equal(few.support.x, whole.support.x[:, :shots])
        assert torch.equal(few.support.y, whole.support.y[:, :shots])
        assert few.support.mask == ()
        assert torch.equal(few.query.y, whole.query.y)
    few = fewer_shots(family, 2)
    assert few.variants["phase"](generator_for(0, "test", 0), 3).support.x.shape == (3, 2, 1)


def test_of_classes_the_first_rows_of_each_stay():
    whole, few = drawn(of_classes(4)), drawn(fewer_shots(of_classes(4), 2))
    assert torch.equal(few.support.y, torch.arange(3).repeat_interleave(2).expand(9, -1))
    by_class = whole.support.x.reshape(9, 3, 4, 2)
    assert torch.equal(few.support.x, by_class[:, :, :2].flatten(1, 2))


def test_classes_may_stand_in_any_order():
    sampler = of_classes(4).test
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))

    def mixed(generator, num_tasks):
        tasks = sampler(generator, num_tasks)
        support = tasks.support._replace(x=tasks.support.x[:, order], y=tasks.support.y[:, order])
        return tasks._replace(support=support)

    few = drawn(fewer_shots(TaskFamily("own", "classification", (2,), 3, mixed, mixed, mixed), 3))
    assert (few.support.y[:, :, None] == torch.arange(3)).sum(1).eq(3).all()


def test_no_shots_are_a_row_that_does_not_count():
    none = drawn(fewer_shots(data.sinusoid(num_shots=4), 0)).support
    assert none.x.shape == (9, 1, 1)
    assert none.mask.sum() == 0


def test_masked_rows_are_no_support_rows():
    """Rows in front that do not count are passed over."""
    sampler = data.sinusoid(num_shots=4).test

    def holed(generator, num_tasks):
        tasks = sampler(generator, num_tasks)
        mask = torch.tensor([0.0, 1.0, 0.0, 1.0]).expand(num_tasks, -1)
        return tasks._replace(support=tasks.support._replace(mask=mask))

    family = TaskFamily("own", "regression", (1,), 1, holed, holed, holed)
    few, whole = drawn(fewer_shots(family, 2)), drawn(family)
    assert torch.equal(few.support.x, whole.support.x[:, [1, 3]])
    with pytest.raises(ValueError, match="3 shots are more than the 2 support rows that a task has"):
        drawn(fewer_shots(family, 3))


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (lambda: data.sinusoid(num_shots=4), "5 shots are more than the 4 support rows that a task has: draw tasks"),
        (lambda: data.sinusoid(num_shots=(2, 9)), "5 shots are more than the 2 support rows that a task has"),
        (lambda: of_classes(4), "5 shots are more than the 4 support rows of a class that a task has"),
        (lambda: data.navigation(), "navigation is control"),
    ],
)
def test_tasks_with_fewer_rows_are_refused(family, message):
    with pytest.raises(ValueError, match=message):
        drawn(fewer_shots(family(), 5), 60)


def test_fewer_shots_are_of_the_same_groups() -> None:
    family = data.pose(num_shots=4, num_queries=2, num_test_queries=2)
    few = fewer_shots(family, 1)
    assert isinstance(family.test, data.Grouped)
    assert isinstance(few.test, data.Grouped)
    groups = [one.test.groups(data.generator_for(0, "test", 0), 5) for one in (family, few)]
    assert torch.equal(*groups)
    assert few.test.of == "characters"
