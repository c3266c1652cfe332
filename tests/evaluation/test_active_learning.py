"""Querying labels: against a plain loop over one task, and the least certain label is the one queried."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc import algorithms, data, nn, tree
from metafunc.data import generator_for
from metafunc.evaluation import active_learning
from metafunc.nn import likelihood
from metafunc.types import Batch, Categorical, MetaLearner, Normal, Task

MAML = algorithms.maml(nn.mlp((1,), 1, hidden=(6,)), likelihood.gaussian(scale=0.3), inner_lr=0.05, num_steps=2)
META = MAML.init(generator_for(0, "init", 0))
POOLS = data.sinusoid(num_shots=9, num_test_queries=7).test(generator_for(0, "test", 0), 3)


def farthest() -> MetaLearner[Any, Any]:
    """Its parameters are the support set, and its spread at a point is the distance to the nearest queried one."""

    def adapt(meta: Any, support: Batch) -> Batch:
        return support

    def predict(params: Batch, x: Tensor) -> Normal:
        gaps = (x - params.x.T).abs() + 100 * (1 - params.mask)
        return Normal(torch.zeros(1, len(x), 1), (0.01 + gaps.amin(1))[None, :, None])

    return MetaLearner(
        init=lambda generator: {},
        prepare=MAML.prepare,
        adapt=adapt,
        path=MAML.path,
        task_loss=MAML.task_loss,
        predict=predict,
    )


def test_the_score_is_that_of_adapting_to_the_queried_rows_alone() -> None:
    found = active_learning.active_learning(MAML, META, POOLS, first=2, num_labels=6, acquire=active_learning.in_order)
    for index, task in enumerate(tree.unstack(POOLS)):
        for column, count in enumerate(range(2, 7)):
            few = Batch(task.support.x[:count], task.support.y[:count])
            predicted = MAML.predict(MAML.adapt(META, few), task.query.x)
            error = (predicted.loc[0] - task.query.y).square().mean()
            assert found.scores[index, column].item() == pytest.approx(error.item(), rel=1e-4)
    assert found.order.tolist() == [[2, 3, 4, 5]] * 3


def test_what_is_queried_is_the_least_certain_row_that_is_left() -> None:
    """With a learner that is unsure far from what it has seen, that is the farthest point of the pool."""
    found = active_learning.active_learning(farthest(), {}, POOLS, first=1, num_labels=9)
    for x, order in zip(POOLS.support.x[..., 0], found.order.tolist(), strict=True):
        queried = [0]
        for row in order:
            left = [i for i in range(9) if i not in queried]
            gaps = {i: min(abs(float(x[i] - x[j])) for j in queried) for i in left}
            assert row == max(gaps, key=lambda i: gaps[i])
            queried.append(row)
        assert sorted(queried) == list(range(9)), "no row is queried twice"


def test_the_entropy_of_classes_is_that_of_the_mixture() -> None:
    """Two particles that are sure of different classes are, together, unsure: a mean of entropies would not see it."""
    logits = torch.tensor([[[30.0, 0.0], [30.0, 0.0]], [[0.0, 30.0], [30.0, 0.0]]])
    split, agreed = active_learning.entropy(Categorical(logits)).tolist()
    assert split == pytest.approx(math.log(2), abs=1e-5)
    assert agreed == pytest.approx(0, abs=1e-5)


def test_the_entropy_of_numbers_is_a_normal_distributions() -> None:
    normal = torch.distributions.Normal(torch.tensor(0.0), torch.tensor([0.5, 2.0]))
    one = Normal(torch.zeros(1, 2, 1), torch.tensor([0.5, 2.0])[None, :, None])
    assert torch.allclose(active_learning.entropy(one), normal.entropy())
    apart = Normal(torch.tensor([[[0.0], [1.0]], [[0.0], [-1.0]]]), torch.tensor(0.5))
    wide = torch.distributions.Normal(0.0, math.sqrt(0.25 + 1))
    assert active_learning.entropy(apart)[1].item() == pytest.approx(wide.entropy().item(), rel=1e-6)


def test_a_learner_that_is_equally_unsure_everywhere_queries_in_order() -> None:
    found = active_learning.active_learning(MAML, META, POOLS, first=1, num_labels=4)
    assert found.order.tolist() == [[1, 2, 3]] * 3


def test_what_cannot_be_queried_is_refused() -> None:
    with pytest.raises(ValueError, match="num_labels is 10; it has to lie between first, 1, and the pool's 9 rows"):
        active_learning.active_learning(MAML, META, POOLS, first=1, num_labels=10)
    with pytest.raises(ValueError, match=r"first must be .*not 0"):
        active_learning.active_learning(MAML, META, POOLS, first=0, num_labels=3)


def test_rows_that_are_not_there_are_never_queried() -> None:
    there = torch.ones(3, 9)
    there[:, 6:] = 0.0
    masked = Task(POOLS.support._replace(mask=there), POOLS.query)
    found = active_learning.active_learning(farthest(), {}, masked, first=1, num_labels=6)
    assert [sorted(order) for order in found.order.tolist()] == [[1, 2, 3, 4, 5]] * 3
