r"""Many tasks in few numbers: the mean with its uncertainty, and means that a few diverged tasks cannot spoil."""

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc.evaluation.metrics.intervals import Groups, interval
from metafunc.evaluation.metrics.table import higher_is_better


class Summary(NamedTuple):
    """One number per task, described over tasks: see `summary`."""

    mean: Tensor
    ci95: Tensor
    median: Tensor
    trimmed_mean: Tensor


def summary(
    values: Float[Tensor, "*batch tasks"],
    *,
    worst: Literal["largest", "smallest"] = "largest",
    groups: Groups = None,
) -> Summary:
    """The mean with its 95 % interval, the median, and the mean without the worst 1 % of the tasks.

    A learner trained for one step may diverge on a few tasks at ten, and its mean then tells nothing about the others.

    Args:
        values: one number per task, tasks last (such as steps × tasks).
        worst: whether large values are bad, as for errors, or small ones, as for accuracies. A value that is not a
            number is worse than all others.
        groups: which tasks or classes an episode is of, as in `interval`.

    Returns:
        A `Summary` of tensors without the task axis. Of fewer than 100 tasks none are left out.

    Examples:
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
    return Summary(*interval(values, groups), median=middle, trimmed_mean=ordered[..., : count - count // 100].mean(-1))


def summarise(metric: str, values: Tensor, groups: Groups = None) -> dict[str, float]:
    """One metric over tasks, of so many groups; an error that is not a number counts as infinite."""
    good = higher_is_better(metric)
    worst: Literal["smallest", "largest"] = "smallest" if good else "largest"
    values = values if good else values.nan_to_num(nan=inf, posinf=inf, neginf=-inf)
    numbers = summary(values.double(), worst=worst, groups=groups)
    return {name: number.item() for name, number in numbers._asdict().items()}


def json_safe(value: Any) -> Any:
    """A value in the form of strict JSON: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
