r"""The best row on average: what a list of good configurations says, in the order of their mean score so far.

$$\bar y(x) = \frac{1}{|I(x)|} \sum_{i \in I(x)} \frac{y_i(x) - \mu_i}{\sigma_i},$$

over the training tasks I(x) that have a row with the inputs x, each in units of its own mean and standard deviation.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc.bayes.untrained import untrained
from metafunc.evaluation.autoregressive import whole
from metafunc.types import Batch, MetaLearner, Normal


def average(training: Batch) -> MetaLearner[Any, Batch]:
    """The learner that predicts a row by its mean over training tasks, whatever the support set.

    Args:
        training: the rows of every training task, tasks first; one target, rows may be masked.

    Returns:
        The learner, whose predictions have no scale; a row that no training task has is 0, which is an average one.

    Examples:
        >>> import torch
        >>> x = torch.tensor([[[0.0], [1.0]], [[1.0], [2.0]]])
        >>> learner = average(Batch(x, torch.tensor([[[0.0], [1.0]], [[5.0], [3.0]]])))
        >>> learner.predict(Batch(x[0], x[0]), torch.tensor([[0.0], [1.0], [2.0], [3.0]])).loc.flatten()
        tensor([-1.,  1., -1.,  0.])
    """
    mask = torch.vmap(whole)(training) > 0
    inputs, mean = by_inputs(training.x, standard(training.y[..., 0], mask), mask)

    def predict(support: Batch, x: Tensor) -> Normal:
        equal = (x.flatten(1)[:, None] == inputs).all(-1).to(mean)
        return Normal((equal @ mean)[None, :, None].to(x.dtype))

    return untrained(lambda support: support, predict)


def has_rows(training: Batch, pools: Batch) -> bool:
    """Whether every row of some pools is one of the training tasks' too."""
    ours, theirs = (rows.x[torch.vmap(whole)(rows) > 0].flatten(1) for rows in (pools, training))
    both, known = torch.unique(torch.cat([theirs, ours]), dim=0), torch.unique(theirs, dim=0)
    return len(both) == len(known)


def standard(y: Float[Tensor, "tasks n"], mask: Tensor) -> Float[Tensor, "tasks n"]:
    """Targets in units of each task's own mean and standard deviation."""
    count = mask.sum(1, keepdim=True)
    mean = (y * mask).sum(1, keepdim=True) / count
    square = ((y - mean).square() * mask).sum(1, keepdim=True) / count
    return (y - mean) / torch.where(square > 0, square, 1.0).sqrt()


def by_inputs(x: Tensor, y: Float[Tensor, "tasks n"], mask: Tensor) -> tuple[Tensor, Float[Tensor, " rows"]]:
    """The different inputs, and the mean of the targets that each has."""
    inputs, number = torch.unique(x[mask].flatten(1), dim=0, return_inverse=True)
    total = y.new_zeros(len(inputs)).index_add(0, number, y[mask])
    return inputs, total / number.bincount(minlength=len(inputs))
