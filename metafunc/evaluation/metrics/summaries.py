r"""Many tasks in few numbers: the mean with its uncertainty, and means that a few diverged tasks cannot spoil."""

import math
from collections.abc import Mapping
from math import isfinite
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Summary(NamedTuple):
    """One number per task, described over tasks: see `summary`."""

    mean: Tensor
    ci95: Tensor
    median: Tensor
    trimmed_mean: Tensor


def interval(values: Float[Tensor, "*batch tasks"]) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    r"""The mean over tasks and the half-width of its 95 % confidence interval, $1.96 \, s / \sqrt n$.

    The normal approximation of the mean's distribution, with $s$ the sample standard deviation (divisor $n - 1$).

    Args:
        values: one number per task, tasks last (such as steps × tasks).

    Returns:
        The mean and the half-width; the latter is not a number for a single task, whose spread is unknown.

    Example:
        >>> import torch
        >>> interval(torch.tensor([0.0, 1.0, 0.0, 1.0]))
        (tensor(0.5000), tensor(0.5658))
    """
    count = values.shape[-1]
    mean = values.mean(-1)
    square = (values - mean[..., None]).square().sum(-1)
    spread = (square / (count - 1)).sqrt() if count > 1 else torch.full_like(mean, math.nan)
    return mean, 1.96 * spread / math.sqrt(count)


def summary(values: Float[Tensor, "*batch tasks"], *, worst: Literal["largest", "smallest"] = "largest") -> Summary:
    """The mean with its 95 % interval, the median, and the mean without the worst 1 % of the tasks.

    A learner trained for one step may diverge on a few tasks at ten, and its mean then tells nothing about the others.

    Args:
        values: one number per task, tasks last (such as steps × tasks).
        worst: whether large values are bad, as for errors, or small ones, as for accuracies. A value that is not a
            number is worse than all others.

    Returns:
        A `Summary` of tensors without the task axis. Of fewer than 100 tasks none are left out.

    Example:
        >>> import torch
        >>> errors = torch.ones(100).index_fill(0, torch.tensor([7]), 1e6)
        >>> result = summary(errors)
        >>> result.median, result.trimmed_mean
        (tensor(1.), tensor(1.))
    """
    count = values.shape[-1]
    sign = 1 if worst == "largest" else -1
    ordered = sign * torch.sort(sign * values, dim=-1).values
    middle = (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2
    return Summary(*interval(values), median=middle, trimmed_mean=ordered[..., : count - count // 100].mean(-1))


def json_safe(value: Any) -> Any:
    """A value in the form of strict JSON: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
