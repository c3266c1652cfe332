"""The ranking-weighted ensemble: its weights against a plain count, and whom it trusts."""

import pytest
import torch
from torch import Tensor

from metafunc import Task, tree
from metafunc.bayes import ranked_ensemble
from metafunc.bayes.ranked_ensemble import rgpe
from metafunc.types import Batch

X = torch.linspace(-1, 1, 12, dtype=torch.float64)[:, None]
SHAPES = torch.stack([torch.sin(3 * X), -torch.sin(3 * X), X.square()])
LEARNER = rgpe(Batch(X.expand(3, 12, 1), SHAPES), num_draws=200)
META = LEARNER.init(torch.Generator())


def adapted(y: Tensor, rows: list[int]) -> ranked_ensemble.Ensemble:
    mask = torch.zeros(1, 12, dtype=torch.float64)
    mask[:, rows] = 1.0
    task = Task(Batch(X[None], y[None], mask), Batch(X[None], y[None]))
    prepared = LEARNER.prepare(META, task, torch.Generator().manual_seed(0), step=None, num_steps=0)
    found: ranked_ensemble.Ensemble = LEARNER.adapt(META, tree.at(prepared.support, 0))
    return found


def test_the_task_that_ranks_alike_is_trusted_in_any_unit() -> None:
    found = adapted(40 * torch.sin(3 * X) - 7, [0, 4, 6, 8])
    assert found.weights[0] > 0.4
    assert found.weights[0] > found.weights[2]
    assert found.weights[1] == 0, "the reversed one is never the best"
    error = (LEARNER.predict(found, X).loc[0] - 40 * torch.sin(3 * X) + 7).abs().max()
    assert error < 40, "predictions are in the units of the support set"


def test_the_new_task_is_trusted_alone_where_no_other_ranks_as_it_does() -> None:
    wave = torch.cos(9 * X)
    assert adapted(wave, list(range(12))).weights[-1] > 0.9


def test_weights_are_those_of_a_plain_count() -> None:
    """All draws, pairs and models one after the other."""
    rows = [1, 5, 7, 10]
    found = adapted(X.square() + 0.3 * X, rows)
    few = ranked_ensemble.first_rows(_prepared(X.square() + 0.3 * X, rows), 64)
    y = few.y[:4, 0]
    losses = []
    for model in range(3):
        other = tree.at(META, model)
        given = ranked_ensemble._given(other.log_lengthscale)
        gram = ranked_ensemble.KERNEL.gram
        prior, cross = gram(given, X[rows], X[rows]), gram(given, X[rows], X)
        inner = gram(given, X, X) + (other.noise_variance + 1e-6) * torch.eye(12)
        standard = (SHAPES[model, :, 0] - SHAPES[model].mean()) / SHAPES[model].std(correction=0)
        mean = cross @ torch.linalg.solve(inner, standard)
        spread = prior - cross @ torch.linalg.solve(inner, cross.T)
        drawn = mean + few.extra[0][:, :4] @ torch.linalg.cholesky(spread + 1e-6 * torch.eye(4)).T
        losses.append([sum((f[j] < f[k]) != (y[j] < y[k]) for j in range(4) for k in range(4)) for f in drawn])
    own, standard = found.own, (y - y.mean()) / y.std(correction=0)
    gram = ranked_ensemble.KERNEL.gram(ranked_ensemble._given(own.log_lengthscale), X[rows], X[rows])
    noisy = gram + (own.noise_variance + 1e-6) * torch.eye(4)
    mine = []
    for noise in few.extra[1][:, :4]:
        wrong = 0
        for j in range(4):
            left = [k for k in range(4) if k != j]
            solved = torch.linalg.solve(noisy[left][:, left], noisy[left, j])
            mean, spread = solved @ standard[left], noisy[j, j] - solved @ noisy[left, j]
            value = mean + spread.sqrt() * noise[j]
            wrong += sum(int((value < standard[k]) != (y[j] < y[k])) for k in left)
        mine.append(wrong)
    every = torch.tensor([*losses, mine], dtype=torch.float64)
    every[:3][every[:3].median(1).values > every[3].sort().values[189]] = torch.inf
    votes = torch.zeros(4, dtype=torch.float64)
    for column in every.T:
        best = (column == column.min()).nonzero().flatten()
        votes[best if 3 not in best else torch.tensor([3])] += 1 / (len(best) if 3 not in best else 1)
    assert torch.allclose(found.weights, votes / 200, atol=1e-6)


def test_a_process_that_ranks_all_other_targets_rightly_makes_no_mistake() -> None:
    y = torch.tensor([3.0, 1.0, 2.0, 0.0], dtype=torch.float64)
    present = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    drawn = torch.stack([y - 0.1, y + 0.1, -y])
    found = ranked_ensemble._mistakes(drawn, y.expand(3, 4), y, present)
    assert found.tolist() == [0, 0, 3], "a draw below its own target is no mistake"


def test_a_new_task_that_predicts_itself_is_trusted_before_one_that_ranks_as_well() -> None:
    learner = rgpe(Batch(X[None], X[None]), num_draws=200)
    meta = learner.init(torch.Generator())
    task = Task(Batch(X[None], 5 * X[None]), Batch(X[None], X[None]))
    prepared = learner.prepare(meta, task, torch.Generator().manual_seed(0), step=None, num_steps=0)
    assert learner.adapt(meta, tree.at(prepared.support, 0)).weights[-1] > 0.9, "ties are the new task's"


def _prepared(y: Tensor, rows: list[int]) -> Batch:
    mask = torch.zeros(1, 12, dtype=torch.float64)
    mask[:, rows] = 1.0
    task = Task(Batch(X[None], y[None], mask), Batch(X[None], y[None]))
    prepared = LEARNER.prepare(META, task, torch.Generator().manual_seed(0), step=None, num_steps=0)
    batch: Batch = tree.at(prepared.support, 0)
    return batch


def test_two_targets_are_no_ranking_and_all_training_tasks_count_alike() -> None:
    assert torch.allclose(adapted(X, [2, 9]).weights, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0.0]).double())


def test_the_prediction_is_one_gaussian_of_the_weighted_means() -> None:
    found = adapted(SHAPES[0], [0, 4, 6, 8])
    parts = [ranked_ensemble._predict(model, X) for model in (*tree.unstack(META), found.own)]
    mean = sum(w * part[0] for w, part in zip(found.weights, parts, strict=True))
    square = sum(w**2 * part[1] for w, part in zip(found.weights, parts, strict=True))
    predicted = LEARNER.predict(found, X)
    assert torch.allclose(predicted.loc[0, :, 0], found.own.mean + found.own.scale * mean)
    assert torch.allclose(predicted.scale[0, :, 0], found.own.scale * square.sqrt())


def test_two_targets_per_row_are_refused() -> None:
    with pytest.raises(ValueError, match="ranks one target, and there are 2"):
        rgpe(Batch(X.expand(3, 12, 1), SHAPES.expand(3, 12, 2)))
