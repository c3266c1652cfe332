"""Intervals against closed forms, plain loops and simulated coverage, with twins that count too much failing."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from metafunc.evaluation import metrics
from metafunc.evaluation.metrics.intervals import half_width, influence, interval, mean_of, student


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("degrees", [1, 2, 3, 7, 29, 599, 10_000])
def test_students_quantile_is_that_of_scipy(degrees: int) -> None:
    assert student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)
    assert math.isnan(student(0))


def test_independent_tasks_have_students_interval() -> None:
    values = randn(3, 40)
    mean, half = interval(values)
    for row, m, h in zip(values, mean, half, strict=True):
        low, high = stats.t.interval(0.95, 39, row.mean(), stats.sem(row))
        assert (m - h).item() == pytest.approx(low)
        assert (m + h).item() == pytest.approx(high)
    assert math.isnan(interval(torch.ones(1))[1])


def test_equally_large_groups_have_students_interval_over_their_means() -> None:
    groups = torch.arange(60)[:, None] % 6
    values = randn(60) + randn(6, seed=1)[groups[:, 0]]
    means = torch.stack([values[groups[:, 0] == g].mean() for g in range(6)])
    assert interval(values, groups)[1].item() == pytest.approx(stats.t.ppf(0.975, 5) * stats.sem(means))
    # Numbers of groups are names, and their order says nothing.
    assert torch.equal(interval(values, 100 - 7 * groups)[1], interval(values, groups)[1])


def left_out_one_by_one(values: Tensor, groups: Tensor) -> float:
    """The variance by leaving out every episode in which a group comes up, group by group."""
    names = groups.unique()
    kept = [values[(groups != name).all(1)].mean().item() for name in names]
    count, per_episode = len(names), sum(len(row.unique()) for row in groups) / len(groups)
    jackknife = (count - 1) / count * sum((one - values.mean().item()) ** 2 for one in kept)
    simple = values.var().item() / len(values)
    return max(jackknife - (per_episode - 1) * simple, simple) if per_episode > 1 else jackknife


@pytest.mark.parametrize("ways", [1, 2, 3])
def test_groups_are_left_out_one_by_one(ways: int) -> None:
    generator = torch.Generator().manual_seed(3)
    groups = torch.stack([torch.randperm(9, generator=generator)[:ways] for _ in range(80)])
    values = randn(80) + randn(9, seed=1)[groups].sum(1)
    half = interval(values, groups)[1].item()
    assert (half / stats.t.ppf(0.975, 8)) ** 2 == pytest.approx(left_out_one_by_one(values, groups))
    twice = torch.cat([groups, groups[:, :1]], 1)
    assert interval(values, twice)[1].item() == pytest.approx(half), "a class that comes up twice is one class"


def test_one_group_and_groups_in_every_episode_have_no_interval() -> None:
    assert math.isnan(interval(randn(20), torch.zeros(20, 1).long())[1])
    assert math.isnan(interval(randn(20), torch.arange(5).expand(20, 5))[1])


def covered(draw: Callable[[int], tuple[list[Tensor], Tensor | None]], repetitions: int = 400) -> float:
    """How often the interval holds 0, the truth."""
    hits = 0
    for trial in range(repetitions):
        methods, groups = draw(trial)
        hits += abs(sum(one.mean().item() for one in methods)) <= half_width(methods, groups)
    return hits / repetitions


def redrawn(trial: int) -> tuple[list[Tensor], Tensor]:
    """600 episodes of 8 tasks, whose variance is as large between tasks as within them."""
    of = torch.randint(8, (600, 1), generator=torch.Generator().manual_seed(trial))
    return [(randn(8, seed=3 * trial)[of[:, 0]] + randn(600, seed=3 * trial + 1))[None]], of


def test_episodes_of_eight_tasks_cover_the_truth_as_often_as_they_say() -> None:
    assert 0.90 < covered(redrawn) < 0.98
    # The twin that takes episodes for tasks.
    assert covered(lambda trial: (redrawn(trial)[0], None)) < 0.4


def test_episodes_of_two_of_twenty_classes_cover_the_truth_as_often_as_they_say() -> None:
    def draw(trial: int) -> tuple[list[Tensor], Tensor]:
        generator = torch.Generator().manual_seed(trial)
        pairs = torch.stack([torch.randperm(20, generator=generator)[:2] for _ in range(200)])
        return [(0.5 * randn(20, seed=2 * trial)[pairs].sum(1) + randn(200, seed=2 * trial + 1))[None]], pairs

    assert 0.90 < covered(draw, 200) < 0.99
    assert covered(lambda trial: (draw(trial)[0], None), 200) < 0.7


def test_classes_that_are_all_alike_cost_little() -> None:
    """Five of 40 classes: the interval is wider than that of independent episodes, but not by more than half."""
    pairs = torch.stack([torch.randperm(40, generator=torch.Generator().manual_seed(i))[:5] for i in range(400)])
    ratios = [float(interval(x, pairs)[1] / interval(x)[1]) for x in (randn(400, seed=seed) for seed in range(20))]
    assert 1 <= sum(ratios) / 20 < 1.5


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.1, 0.3])
def test_few_seeds_cover_the_truth_as_often_as_they_say(seeds: int, spread: float) -> None:
    """60 tasks with a difficulty of their own; by a bootstrap over seeds and tasks .895 with three seeds."""

    def draw(trial: int) -> tuple[list[Tensor], None]:
        noise = 0.3 * randn(seeds, 60, seed=3 * trial) + randn(1, 60, seed=3 * trial + 1)
        return [noise + spread * randn(seeds, 1, seed=3 * trial + 2)], None

    # Of 1000 experiments the share that covers is known to .007.
    assert 0.93 - 0.01 < covered(draw, 1000) < 0.97 + 0.01


def test_a_paired_difference_takes_out_what_tasks_have_in_common() -> None:
    def draw(trial: int) -> tuple[list[Tensor], None]:
        hard = 3 * randn(1, 30, seed=5 * trial)
        methods = [
            hard + 0.3 * randn(n, 30, seed=5 * trial + i) + 0.2 * randn(n, 1, seed=5 * trial + i + 2)
            for i, n in ((1, 3), (2, 4))
        ]
        return [methods[0], -methods[1]], None

    assert 0.92 < covered(draw) < 0.99
    (first, second), _ = draw(0)
    apart = math.hypot(half_width([first]), half_width([second]))
    assert half_width([first, second]) < 0.5 * apart


@given(shift=st.floats(-3, 3), scale=st.floats(0.1, 10))
def test_an_interval_stretches_with_the_values(shift: float, scale: float) -> None:
    x = randn(3, 30)
    assert half_width([scale * x + shift]) == pytest.approx(scale * half_width([x]), rel=1e-6)


def test_a_statistic_is_as_uncertain_as_its_first_derivative_says() -> None:
    """A ratio of means, against its spread over new samples; without the derivative it is another's."""

    def ratio(means: Tensor) -> Tensor:
        return means[..., 0] / means[..., 1]

    def sample(seed: int) -> Tensor:
        rows = 5 + randn(1, 200, 1, seed=2 * seed)
        return torch.cat([2 * rows + 0.1 * randn(1, 200, 1, seed=2 * seed + 1), rows], -1)

    spread = torch.stack([ratio(sample(seed).mean(1))[0] for seed in range(300)]).std().item()
    half = half_width([influence(sample(0), ratio)])
    assert half == pytest.approx(1.96 * spread, rel=0.2)
    assert half_width([sample(0)[..., 0] / 5]) > 3 * half
    assert torch.equal(influence(sample(0)[..., :1], mean_of), sample(0)[..., 0])


def test_a_statistic_is_taken_of_each_seed_before_they_are_averaged() -> None:
    """Two seeds that err in opposite directions are both wrong; their pooled counts would be right."""
    off = torch.tensor([1.0, -1.0]).double()[:, None, None].expand(2, 30, 1)
    assert torch.allclose(influence(off, lambda means: means[..., 0].abs()), torch.ones(2, 30).double())


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ([], "at least one method"),
        ([torch.zeros(0, 4)], "at least one seed"),
        ([torch.zeros(1, 4), torch.zeros(1, 5)], "have 4, 5 tasks"),
    ],
)
def test_what_has_no_interval_is_refused(methods: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        metrics.half_width([one.double() for one in methods])
