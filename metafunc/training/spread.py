r"""How sure a trained learner may be: one temperature of its scales, found on tasks that it was not trained on.

A network trained on a few tasks is too sure of new ones, and one held back by a prior not sure enough. Of a
cross-validation every task has a learner that never saw it, so that scales times T are judged without another training,

$$\hat T^{(j)} = \arg\max_T\; \textstyle\sum_{i \notin j} \frac1{m_i} \sum_{y \in i} \log p_T^{(-i)}(y)
- \tfrac12 \big(\tfrac{\log T}{s}\big)^2,$$

over the tasks i of the folds other than j, each of which counts as one observation however many rows it has, with s =
`PRIOR_SPREAD` about T = 1. It tests the learner of fold j, none of whose tasks it has seen. Where the best T is worth
less than one nat, which is what one more number costs by Akaike's criterion, T is 1.

References:
    Guo, Pleiss, Sun, Weinberger (2017), "On Calibration of Modern Neural Networks". Akaike (1974), "A New Look at the
    Statistical Model Identification".
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc.algorithms.stacking import LEAST
from metafunc.evaluation.held_out import RowDensities

TEMPERATURES: Float64[Tensor, " temperatures"] = 2.0 ** (torch.arange(-16, 17, dtype=torch.float64) / 8)
"""From a quarter to four times the scale, in steps of 9 %."""
PLAIN = len(TEMPERATURES) // 2
"""Where T is 1."""
PRIOR_SPREAD = 0.5
"""Of log T before any task is seen: two thirds of all learners are within a factor of 1.6."""
LEAST_GAIN = 1.0
"""Nats that a temperature has to be worth."""


def best_temperature(densities: Sequence[RowDensities], num_tasks: Sequence[int]) -> int:
    """The place in `TEMPERATURES` of the one that makes held-out tasks likeliest.

    Args:
        densities: fold by fold, of rows at every temperature.
        num_tasks: different tasks of each fold, whose episodes are draws of the same rows.

    Examples:
        >>> wide = -3.0 + 0.0 * TEMPERATURES[:, None] - (TEMPERATURES.log2()[:, None] - 1.0).square()
        >>> found = best_temperature([RowDensities(wide, torch.ones(1))], [40])
        >>> round(float(TEMPERATURES[found]), 1)
        2.0
        >>> best_temperature([RowDensities(wide, torch.ones(1))], [0]) == PLAIN
        True
    """
    worth = -0.5 * (TEMPERATURES.log() / PRIOR_SPREAD).square()
    for rows, number in zip(densities, num_tasks, strict=True):
        values = rows.values.double().nan_to_num(nan=LEAST).clamp(min=LEAST)
        worth = worth + number * (values @ rows.shares.double()) / rows.shares.double().sum()
    best = int(worth.argmax())
    return best if float(worth[best] - worth[PLAIN]) >= LEAST_GAIN else PLAIN
