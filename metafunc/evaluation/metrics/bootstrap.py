r"""The uncertainty of a comparison: a bootstrap over training seeds and meta-test tasks, paired by task.

All methods and all their seeds are meta-tested on the same tasks, so seeds and tasks are crossed: a draw resamples the
seeds of every method, and once for all methods the tasks. With weights $w$ and $v$ that count how often each was drawn,

$$\bar x^* = \sum_{s=1}^S \sum_{t=1}^T \frac{w_s v_t}{S T} x_{st}, \qquad
w \sim \mathrm{Multinomial}(S, \tfrac1S), \quad v \sim \mathrm{Multinomial}(T, \tfrac1T).$$

What a hard task does to one method it does to the other, and the shared $v$ takes it out of their difference.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc.checks import at_least

CHUNK = 250
"""Draws at a time, whose weights over 1000 tasks take 2 MB: as fast as more, and nothing to worry about."""


class Interval(NamedTuple):
    """The 2.5 % and the 97.5 % quantile of a bootstrap's draws."""

    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of the width."""
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0


def mean_of(numbers: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch"]:
    """The statistic of a single number per task: the mean itself."""
    return numbers[..., 0]


def bootstrap(
    methods: Sequence[Float[Tensor, "_ tasks numbers"]],
    generator: Generator,
    *,
    statistic: Callable[[Tensor], Tensor] = mean_of,
    num_draws: int = 10_000,
) -> list[Float[Tensor, " draws"]]:
    """Resampled values of every method's statistic, over the same tasks in the same draw.

    A method with one seed is not resampled over seeds: its interval tells nothing about another training.

    Args:
        methods: one tensor each, (seeds, tasks, numbers); the tasks are the same.
        generator: of the draws.
        statistic: from the means over tasks (*batch, numbers) to a value for each seed (*batch), which is averaged over
            seeds: such as a calibration error of what the tasks have counted.
        num_draws: how many.

    Returns:
        For each method its draws (num_draws,), which belong together: differences of two methods are paired by task.

    Raises:
        ValueError: there is no method, no seed or no task, or methods have different tasks.

    Example:
        >>> import torch
        >>> hard = torch.randn(1, 500, 1, generator=torch.Generator().manual_seed(0))
        >>> first, second = bootstrap([hard, hard + 0.1], torch.Generator().manual_seed(1))
        >>> (second - first).std() < 1e-6 < first.std()  # tasks differ, the difference does not
        tensor(True)
    """
    if not methods or min(values.numel() for values in methods) == 0:
        raise ValueError("A bootstrap needs at least one method with at least one seed and one task.")
    at_least(1, num_draws=num_draws)
    num_tasks = methods[0].shape[1]
    if any(values.shape[1] != num_tasks for values in methods):
        raise ValueError(
            f"The methods have {', '.join(str(values.shape[1]) for values in methods)} tasks; paired differences need "
            "the same tasks for all."
        )
    # Generators of their own, so that no method's draws depend on which others are compared with it.
    base = int(torch.randint(2**31, (), generator=generator))
    generators = [Generator().manual_seed(base + i) for i in range(1 + len(methods))]
    draws: list[list[Tensor]] = [[] for _ in methods]
    for first in range(0, num_draws, CHUNK):
        size = min(CHUNK, num_draws - first)
        of_tasks = _weights(num_tasks, size, generators[0])
        for values, own, found in zip(methods, generators[1:], draws, strict=True):
            of_seeds = _weights(values.shape[0], size, own)
            over_tasks = torch.einsum("bt,stn->bsn", of_tasks, values.double())
            found.append((of_seeds * statistic(over_tasks)).sum(1))
    return [torch.cat(found) for found in draws]


def percentiles(draws: Float[Tensor, " draws"], estimate: float) -> Interval:
    """The interval that holds the middle 95 % of the draws, moved so that their mean is the estimate.

    A mean is where its draws are; an error that cannot be negative, such as a calibration error, is larger in a sample
    of the sample, and an interval of the draws as they are may lie above the estimate.

    Args:
        draws: resampled values.
        estimate: of the data themselves.

    Example:
        >>> import torch
        >>> interval = percentiles(torch.linspace(0, 1, 1001), 0.5)
        >>> round(interval.low, 3), round(interval.high, 3), interval.excludes_zero
        (0.025, 0.975, True)
    """
    shift = estimate - draws.mean().item()
    low, high = torch.quantile(draws.double(), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(low + shift, high + shift)


def _weights(count: int, num_draws: int, generator: Generator) -> Float[Tensor, "draws count"]:
    """How often each of `count` things comes up in a sample of as many, as shares."""
    chosen = torch.randint(count, (num_draws, count), generator=generator)
    times = torch.zeros(num_draws, count, dtype=torch.float64)
    return times.scatter_add(1, chosen, torch.ones_like(times)) / count
