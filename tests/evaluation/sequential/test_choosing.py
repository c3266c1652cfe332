"""The loop against one that adapts to the chosen rows alone, and its regret beside random choice."""

import math

import pytest
import torch

from metafunc import Task, algorithms, tree
from metafunc.bayes import kernels
from metafunc.bayes.gaussian_process_mixture import known, process_learner
from metafunc.evaluation.sequential import acquisition, choosing
from metafunc.nn import likelihood
from metafunc.types import Batch

KERNEL = kernels.rbf(lengthscale=0.7)
EXACT = process_learner(KERNEL, known(KERNEL, 1), 0.05, num_rows=30)
"""Knows how the functions below are drawn."""


def functions(num_tasks: int, size: int = 30) -> Task:
    """Draws of that process at random inputs."""
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(num_tasks, size, 1, generator=generator, dtype=torch.float64) * 4 - 2
    given = tree.map(torch.Tensor.double, KERNEL.init(generator, 1))
    gram = torch.vmap(lambda rows: KERNEL.gram(given, rows, rows))(x) + 0.0025 * torch.eye(size)
    noise = torch.randn(num_tasks, size, 1, generator=generator, dtype=torch.float64)
    y = torch.linalg.cholesky(gram) @ noise
    return Task(Batch(x, y), Batch(x, y))


TASKS = functions(40)


def regret_of(name: str, sign: int = 1, rounds: int = 7) -> torch.Tensor:
    found = choosing.run(
        EXACT, {}, TASKS, acquire=acquisition.ACQUISITIONS[name], num_evaluations=rounds, sign=sign, chunk_size=20
    )
    return choosing.regret(TASKS.support.y[..., 0], found.order, sign=sign)


@pytest.mark.parametrize(("name", "sign"), [("ei", 1), ("ei", -1), ("ucb", 1), ("ucb", -1), ("thompson", 1)])
def test_the_exact_process_finds_the_best_sooner_than_chance(name: str, sign: int) -> None:
    gain = (regret_of("random", sign) - regret_of(name, sign))[:, 2:].mean(1)
    assert gain.mean() > 2 * gain.std() / math.sqrt(len(gain)), "paired over tasks"


def test_looking_for_the_smallest_is_no_way_to_the_largest() -> None:
    """The wrong twin: a sign that is forgotten."""
    wrong = choosing.run(EXACT, {}, TASKS, acquire=acquisition.ei, num_evaluations=7, sign=-1)
    regret = choosing.regret(TASKS.support.y[..., 0], wrong.order, sign=1)[:, -1]
    assert regret.mean() > 4 * regret_of("ei")[:, -1].mean()


@pytest.mark.parametrize("name", ["ei", "thompson", "random"])
def test_the_same_seed_chooses_the_same_rows_whatever_the_chunk(name: str) -> None:
    few = tree.at(TASKS, slice(0, 5))
    acquire = acquisition.ACQUISITIONS[name]
    runs = [
        choosing.run(EXACT, {}, few, acquire=acquire, num_evaluations=6, seed=7, chunk_size=size).order
        for size in (None, None, 2)
    ]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])
    other = choosing.run(EXACT, {}, few, acquire=acquisition.random_row, num_evaluations=6, seed=8).order
    assert not torch.equal(other, runs[0])


def test_a_choice_is_that_of_adapting_to_the_chosen_rows_alone() -> None:
    few = tree.at(TASKS, slice(0, 3))
    found = choosing.run(EXACT, {}, few, acquire=acquisition.ei, num_evaluations=5, first=1)
    for task, order in zip(tree.unstack(few), found.order.tolist(), strict=True):
        rows = [0]
        for chosen in order:
            params = EXACT.adapt({}, Batch(task.support.x[rows], task.support.y[rows]))
            worth = acquisition.expected_improvement(EXACT.predict(params, task.support.x), task.support.y[rows].max())
            left = [row for row in range(30) if row not in rows]
            assert chosen == left[int(worth[left].argmax())]
            rows.append(chosen)


def test_rows_that_are_not_there_are_not_chosen_and_have_no_regret() -> None:
    there = torch.ones(40, 30).double()
    there[:, 8:] = 0.0
    masked = Task(TASKS.support._replace(mask=there), TASKS.query)
    found = choosing.run(EXACT, {}, masked, acquire=acquisition.random_row, num_evaluations=8)
    assert bool((found.order < 8).all())
    regret = choosing.regret(TASKS.support.y[..., 0], found.order, there)
    assert bool((regret[:, -1] == 0).all())
    assert bool((regret >= 0).all())
    assert bool((choosing.regret(TASKS.support.y[..., 0], found.order)[:, -1] > 0).any()), "of all rows it is another"


def test_regret_of_a_flat_task_is_zero_and_never_rises() -> None:
    assert choosing.regret(torch.ones(1, 3), torch.tensor([[0, 1]])).tolist() == [[0.0, 0.0]]
    assert bool((regret_of("random").diff(dim=1) <= 0).all())


def test_ranks_add_up() -> None:
    ranks = choosing.mean_ranks(torch.rand(4, 9, 5, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(ranks.sum(0), torch.full((5,), 10.0))


def test_a_suggestion_is_the_first_choice_of_the_loop() -> None:
    pool = tree.at(TASKS.support, 0)
    mask = torch.zeros(30).double()
    mask[:2] = 1.0
    worth, predicted = choosing.suggest(EXACT, {}, pool._replace(mask=mask), acquire=acquisition.ei, sign=-1)
    chosen = choosing.run(
        EXACT, {}, tree.at(TASKS, slice(0, 1)), acquire=acquisition.ei, num_evaluations=3, first=2, sign=-1
    ).order
    assert worth.masked_fill(mask > 0, -1.0).argmax() == chosen[0, 0]
    params = EXACT.adapt({}, pool._replace(mask=mask))
    assert torch.allclose(predicted.loc, EXACT.predict(params, pool.x).loc), "in the units of the targets"


def test_what_cannot_be_chosen_is_refused() -> None:
    with pytest.raises(ValueError, match="num_evaluations is 31; it has to lie between first, 0, and the pool's 30"):
        choosing.run(EXACT, {}, TASKS, acquire=acquisition.ei, num_evaluations=31)
    with pytest.raises(ValueError, match="sign must be one of"):
        choosing.run(EXACT, {}, TASKS, acquire=acquisition.ei, num_evaluations=3, sign=0)
    two = Task(TASKS.support._replace(y=TASKS.support.y.expand(-1, -1, 2)), TASKS.query)
    several = algorithms.gp_support(likelihood.gaussian(2))
    with pytest.raises(ValueError, match="There are 2 targets, and one has to be the best"):
        choosing.run(several, {}, two, acquire=acquisition.ei, num_evaluations=3)
