r"""Active learning: query the label of the point that the adapted learner is least sure about, adapt again, and so on.

$$ x^* = \arg\max_{x \in \text{pool}} H\big[\tfrac1M \textstyle\sum_m p(y \mid x, \phi_m)\big] $$

The support set of a task is the pool, and the mask of its rows marks the labels that have been queried: the loop of
`sequential.choosing` with the score of a query set beside.

Reference: Yoon, Kim, Dia, Kim, Bengio, Ahn (2018), "Bayesian model-agnostic meta-learning", §5.3.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metafunc.checks import at_least, counted
from metafunc.evaluation.scoring import main_score
from metafunc.evaluation.sequential import choosing
from metafunc.evaluation.sequential.acquisition import entropy as entropy
from metafunc.types import M, MetaLearner, P, Predictive, Task


class ActiveLearningResult(NamedTuple):
    """The scores of an active learner, and the labels that it queried.

    Args:
        scores: the mean squared error or accuracy on the query set with `first`, `first` + 1, ... labels.
        order: the rows of the pool in the order in which their labels were queried, after the first.
    """

    scores: Float[Tensor, "tasks rounds"]
    order: Int64[Tensor, "tasks rounds"]


def in_order(predictive: Predictive) -> Float[Tensor, " n"]:
    """Query the rows of the pool as they come: random choice, where their order is random.

    Examples:
        >>> import torch
        >>> from metafunc.types import Categorical
        >>> in_order(Categorical(torch.zeros(1, 3, 2)))
        tensor([-0., -1., -2.])
    """
    mean = predictive[0].mean(0)
    return -torch.arange(mean.shape[0], dtype=mean.dtype, device=mean.device)


def active_learning(
    learner: MetaLearner[M, P],
    meta: M,
    tasks: Task,
    *,
    first: int,
    num_labels: int,
    acquire: Callable[[Predictive], Tensor] = entropy,
) -> ActiveLearningResult:
    """Query labels of a pool one by one, for many tasks at a time.

    Args:
        learner: adapts again from its meta-parameters after every label.
        meta: its meta-parameters.
        tasks: stacked and prepared; the support sets are the pools, of as many rows as may be queried and more; a mask
            says which rows there are.
        first: how many labels are known to begin with, those of the pool's first rows.
        num_labels: how many are known in the end.
        acquire: from the predictions at the pool's rows to a number each; the label of the largest that is left is
            queried.

    Returns:
        The scores after each query, and the rows that were queried.

    Raises:
        ValueError: fewer labels than to begin with, or more than the pool has.

    Examples:
        >>> import torch
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> tasks = data.sinusoid(num_shots=20).test(torch.Generator().manual_seed(0), 4)
        >>> active_learning(learner, meta, tasks, first=2, num_labels=5, acquire=in_order).order[0]
        tensor([2, 3, 4])
    """
    size = tasks.support.x.shape[1]
    at_least(1, first=first)
    if not first <= num_labels <= size:
        raise ValueError(
            f"num_labels is {num_labels}; it has to lie between first, {first}, and the pool's {counted(size, 'rows')}."
        )

    def judge(params: P, task: Task) -> Tensor:
        return main_score(learner.predict(params, task.query.x), task.query)

    found = choosing.run(
        learner,
        meta,
        tasks,
        acquire=lambda at: acquire(at.predictive),
        num_evaluations=num_labels,
        first=first,
        judge=judge,
    )
    return ActiveLearningResult(found.scores, found.order)
