"""Validation before training against validation since: beyond the interval of few tasks, and by the metric's side."""

import dataclasses

import pytest
import torch

from metafunc.data import sinusoid
from metafunc.data.sampling import Grouped
from metafunc.evaluation.metrics.table import METRICS
from metafunc.evaluation.validation import of_table, worse

FAMILY = sinusoid()
NUMBER = 40
HARD = torch.linspace(0, 9, NUMBER)
NOISE = 0.2 * (-1.0) ** torch.arange(NUMBER)


def in_groups(count, of="tasks"):
    """The family as a table with so many validation tasks."""
    groups = lambda generator, n: (torch.arange(n) % count)[:, None]  # noqa: E731
    return dataclasses.replace(FAMILY, validation=Grouped(FAMILY.validation, groups, of))


def test_it_is_said_where_the_paired_difference_is_beyond_its_interval():
    said = worse({"nll": HARD}, {"nll": HARD + 0.2 + NOISE}, FAMILY, 0)
    assert said is not None
    assert "better before training (nll 4.5 at the start, 4.7 now)" in said
    assert worse({"nll": HARD}, {"nll": HARD + 0.02 + NOISE}, FAMILY, 0) is None
    assert worse({"nll": HARD}, {"nll": HARD - 0.2 + NOISE}, FAMILY, 0) is None
    # As if the two were of different tasks, a difference of .2 would be far within the tasks' own spread.
    assert worse({"nll": HARD}, {"nll": HARD.flip(0) + 0.2}, FAMILY, 0) is None


def test_an_interval_counts_the_tasks_that_there_are():
    # Two of four tasks are worse: beyond the interval of forty draws, and not beyond that of four tasks.
    change = (torch.arange(NUMBER) % 4 < 2).float()
    pair = {"nll": HARD}, {"nll": HARD + change}
    assert worse(*pair, FAMILY, 0) is not None
    assert worse(*pair, in_groups(4), 0) is None
    assert worse(*pair, in_groups(1), 0) is None


@pytest.mark.parametrize("metric", ["accuracy", "nll"])
def test_the_side_that_is_worse_is_the_metric_s(metric):
    better = 0.5 if METRICS[metric].higher_is_better else -0.5
    before = {metric: HARD}
    assert worse(before, {metric: HARD - better + NOISE}, FAMILY, 0)
    assert worse(before, {metric: HARD + better + NOISE}, FAMILY, 0) is None


def test_only_tasks_of_a_table_are_looked_at():
    assert of_table(in_groups(3))
    assert not of_table(in_groups(3, "classes"))
    assert not of_table(FAMILY)
