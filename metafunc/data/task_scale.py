r"""How the targets of tasks spread about their own means: what a task of few rows is standardised with.

With the squares $S_i = \sum_j (y_{ij} - \bar y_i)^2$ of a training task of $n_i = d_i + 1$ rows, tasks' variances are
taken as draws of $\sigma_i^{-2} \sim \chi^2_\nu / (\nu s_0^2)$. Their logarithms decide $\nu$ and $s_0$ by moments,

$$e_i = \log \frac{S_i}{d_i} - \psi\Big(\frac{d_i}2\Big) + \log \frac{d_i}2, \qquad
\psi'\Big(\frac\nu2\Big) = \operatorname{var} e - \overline{\psi'\Big(\frac{d_i}2\Big)}, \qquad
\log s_0^2 = \bar e + \psi\Big(\frac\nu2\Big) - \log\frac\nu2,$$

so that $\nu$ says how many rows the pooled scale $s_0$ is worth: many where tasks spread alike, few where each has a
unit of its own. The variance of a further task of n rows is then $(\nu s_0^2 + S) / (\nu + n - 1)$.

References:
    Smyth (2004), "Linear Models and Empirical Bayes Methods for Assessing Differential Expression in Microarray
    Experiments", section 6.2.
"""

from typing import Literal, TypeAlias, TypedDict

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

Standardise: TypeAlias = Literal[True, False, "task"]
"""Whether columns have the units of all training tasks, and whether a learner sees each task in its own as well."""
FEWEST, MOST = 0.5, 1e4
"""The rows that a pooled scale is worth, at least, where units differ a thousandfold, and at most."""
ALIKE = 1e-12
"""Deviations of that share of the largest target are the rounding of a mean."""
HALVINGS = 60
"""Of the logarithm of the interval between them, to the last bit."""


class TaskScale(TypedDict):
    """The pooled scale of tasks about their means, and how many rows it is worth, target by target."""

    scale: list[float]
    rows: list[float]


def task_scale(values: Float64[Tensor, "n targets"], of_row: Int64[Tensor, " n"]) -> TaskScale:
    """The pooled scale of training tasks.

    Tasks of one row, and those whose rows are all alike, tell nothing of it; where none does, the scale is 1. One task
    alone, however many rows it has, tells a scale and not whether others have it: the scale is worth one row then.

    Args:
        values: the targets of the training tasks.
        of_row: the number of each row's task.

    Examples:
        >>> noise = torch.randn(900, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> tasks = torch.arange(900) // 9
        >>> found = task_scale(100 * tasks[:, None] + 2 * noise, tasks)
        >>> round(found["scale"][0], 1), found["rows"]
        (2.0, [10000.0])
        >>> task_scale(10.0 ** (tasks[:, None] % 4) * noise, tasks)["rows"][0] < 1
        True
    """
    found = [_of_target(column, of_row) for column in values.unbind(1)]
    return {"scale": [scale for scale, _ in found], "rows": [rows for _, rows in found]}


def _of_target(y: Float64[Tensor, " n"], of_row: Int64[Tensor, " n"]) -> tuple[float, float]:
    count = of_row.bincount()
    mean = y.new_zeros(len(count)).index_add(0, of_row, y) / count
    squares = y.new_zeros(len(count)).index_add(0, of_row, (y - mean[of_row]).square())
    telling = (count > 1) & (squares > (ALIKE * y.abs().amax()).square())
    half = (count[telling] - 1).double() / 2
    if not len(half):
        return 1.0, 1.0
    if len(half) == 1:
        return (squares[telling] / (2 * half)).sqrt().item(), 1.0
    logs = (squares[telling] / (2 * half)).log() - half.digamma() + half.log()
    rows = _rows_of(logs.var() - torch.polygamma(1, half).mean())
    return (0.5 * (logs.mean() + (rows / 2).digamma() - (rows / 2).log())).exp().item(), rows.item()


def _rows_of(excess: Tensor) -> Tensor:
    r"""The $\nu$ whose $\psi'(\nu / 2)$ is the variance of logarithms beyond that of few rows, by bisection."""
    ends = torch.tensor([FEWEST, MOST], dtype=torch.float64)
    if excess <= torch.polygamma(1, ends[1] / 2):
        return ends[1]
    low, high = ends.log()[0], ends.log()[1]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        smaller = torch.polygamma(1, middle.exp() / 2) < excess
        low, high = torch.where(smaller, low, middle), torch.where(smaller, middle, high)
    found: Tensor = low.exp()
    return found
