r"""Active learning: query the label of the point that the adapted learner is least sure about, adapt again, and so on.

$$ x^* = \arg\max_{x \in \text{pool}} H\big[\tfrac1M \textstyle\sum_m p(y \mid x, \phi_m)\big] $$

The support set of a task is the pool, and the mask of its rows marks the labels that have been queried.

Reference: Yoon, Kim, Dia, Kim, Bengio, Ahn (2018), "Bayesian model-agnostic meta-learning", §5.3.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metafunc.bayes.gaussian import STANDARD_ENTROPY
from metafunc.checks import at_least
from metafunc.evaluation import metrics
from metafunc.evaluation.scoring import main_score
from metafunc.types import Batch, Categorical, M, MetaLearner, P, Predictive, Task


class ActiveLearningResult(NamedTuple):
    """The scores of an active learner, and the labels that it queried.

    Args:
        scores: the mean squared error or accuracy on the query set with `first`, `first` + 1, ... labels.
        order: the rows of the pool in the order in which their labels were queried, after the first.
    """

    scores: Float[Tensor, "tasks rounds"]
    order: Int64[Tensor, "tasks rounds"]


def entropy(predictive: Predictive) -> Float[Tensor, " n"]:
    r"""The entropy of the predictive distribution of each row, in nats.

    That of the mixture for classes; for numbers that of the normal distribution with the mixture's moments,
    $\frac12 \log (2 \pi e \sigma^2)$, the largest that these allow. Without a noise scale and with one particle it is
    the same for every row, minus infinity, and nothing can be chosen by it.

    Args:
        predictive: particles first.

    Returns:
        Entropies (n,).

    Example:
        >>> import torch
        >>> entropy(Categorical(torch.tensor([[[0.0, 0.0], [3.0, 0.0]]])))
        tensor([0.6931, 0.1909])
    """
    mixed = metrics.mixture(predictive)
    if isinstance(mixed, Categorical):
        log_probs = torch.log_softmax(mixed.logits[0], -1)
        return -(log_probs.exp() * log_probs).sum(-1)
    scale = torch.zeros_like(mixed.loc) if isinstance(mixed.scale, tuple) else mixed.scale.expand_as(mixed.loc)
    return (STANDARD_ENTROPY + scale[0].log()).sum(-1)


def in_order(predictive: Predictive) -> Float[Tensor, " n"]:
    """Query the rows of the pool as they come: random choice, where their order is random.

    Example:
        >>> import torch
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
        tasks: stacked and prepared; the support sets are the pools, of as many rows as may be queried and more.
        first: how many labels are known to begin with, those of the pool's first rows.
        num_labels: how many are known in the end.
        acquire: from the predictions at the pool's rows to a number each; the label of the largest that is left is
            queried.

    Returns:
        The scores after each query, and the rows that were queried.

    Raises:
        ValueError: fewer labels than to begin with, or more than the pool has.

    Example:
        >>> import torch
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> tasks = data.sinusoid(num_shots=20).test(torch.Generator().manual_seed(0), 4)
        >>> active_learning(learner, meta, tasks, first=2, num_labels=5, acquire=in_order).order[0]
        tensor([2, 3, 4])
    """
    num_tasks, size = tasks.support.x.shape[:2]
    at_least(1, first=first)
    if not first <= num_labels <= size:
        raise ValueError(
            f"num_labels is {num_labels}; it has to lie between first, {first}, and the pool's {size} rows."
        )

    def scored_and_best(task: Task, mask: Tensor) -> tuple[Tensor, Tensor]:
        pool: Batch = task.support._replace(mask=mask)
        params = learner.adapt(meta, pool)
        found = main_score(learner.predict(params, task.query.x), task.query)
        wanted = acquire(learner.predict(params, pool.x))
        best = wanted.nan_to_num(neginf=-1e30).masked_fill(mask > 0, -math.inf).argmax()
        return found, best

    mask = (torch.arange(size) < first).to(tasks.support.x.dtype).expand(num_tasks, size)
    if not isinstance(tasks.support.mask, tuple):
        raise ValueError(
            "The pools have a mask of their own, and rows that do not count cannot be queried: leave it out."
        )
    scores: list[Any] = []
    order: list[Any] = []
    with torch.no_grad():
        for known in range(first, num_labels + 1):
            now, best = torch.vmap(scored_and_best)(tasks, mask)
            scores.append(now)
            if known < num_labels:
                order.append(best)
                mask = mask + torch.nn.functional.one_hot(best, size)
    chosen = torch.stack(order, 1) if order else torch.empty(num_tasks, 0).long()
    return ActiveLearningResult(torch.stack(scores, 1), chosen)
