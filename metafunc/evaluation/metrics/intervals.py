r"""The uncertainty of a mean over new tasks and new trainings: jackknife variances and Student's quantiles.

A meta-test has a number $x_{st}$ for each training seed s and each of n episodes t, and S and n are not all that is
uncertain: episodes that come from the same few tasks, or from the same few classes, are not independent. Let an episode
belong to one or several of G groups (the task of a table that it was drawn from; the classes of which it is made). With
$\bar x_{(g)}$ the mean without the episodes of group g, and k groups in an episode,

$$V_{\text{tasks}} = \tfrac{G - 1}{G} \textstyle\sum_g (\bar x_{(g)} - \bar x)^2 - \tfrac{k - 1}{n} s^2, \qquad
V_{\text{seeds}} = \tfrac1S\, \mathrm{var}_s(\bar x_s) - V_{\text{both}}, \qquad
V_{\text{both}} = \tfrac{1}{S (S - 1)} \sum_s V_{\text{tasks}}(r_s),$$

where $r_{st} = x_{st} - \bar x_s - \bar x_t + \bar x$ is what neither the seed nor the task explains. The subtracted
term of the first is about what leaving out an episode k times counts too often; with few classes it is more, and the
interval wider than it has to be. Where every episode is a task of its own that variance is $s^2 / n$. Each source has
few degrees of freedom of its own, and the interval is

$$\bar x \pm \sqrt{t_{S - 1}^2 V_{\text{seeds}} + t_{G - 1}^2 V_{\text{tasks}}},$$

with $t_\nu$ the 97.5 % quantile of Student's distribution. A difference of two methods that were tested on the same
episodes is the same with the differences $x_{st} - x'_{s't}$ for the tasks, and each method's own seeds.

References:
    Efron, Stein (1981), "The jackknife estimate of variance". Arvesen (1969), "Jackknifing U-statistics": episodes made
    of several classes. Davison, Hinkley (1997), section 2.7: a statistic of means by its first derivative.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

Groups: TypeAlias = "Int64[Tensor, 'tasks memberships'] | None"
"""The numbers of the groups that each episode belongs to; None: each is a group of its own."""
Statistic: TypeAlias = Callable[[Tensor], Tensor]
"""From means over tasks (*batch, numbers) to a metric (*batch)."""


class Interval(NamedTuple):
    """A 95 % interval."""

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


def interval(
    values: Float[Tensor, "*batch tasks"], groups: Groups = None
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    r"""The mean over episodes and the half-width of its 95 % confidence interval, $t_{G - 1} \sqrt{V}$.

    Args:
        values: one number per episode, episodes last (such as steps × tasks).
        groups: of which tasks or classes an episode is; None: each is a task of its own, and $V = s^2 / n$.

    Returns:
        The mean and the half-width; the latter is not a number where there is one group only, for the spread of others
        is unknown.

    Examples:
        >>> import torch
        >>> values = torch.tensor([0.0, 1.0, 0.0, 1.0])
        >>> interval(values)
        (tensor(0.5000), tensor(0.9187))
        >>> interval(values, torch.tensor([[0], [1], [0], [1]]))  # two tasks, drawn twice: one degree of freedom
        (tensor(0.5000), tensor(6.3531))
    """
    variance, num_groups = _over_groups(values, groups)
    return values.mean(-1), student(num_groups - 1) * variance.sqrt()


def half_width(methods: Sequence[Float64[Tensor, "_ tasks"]], groups: Groups = None) -> float:
    r"""The half-width of the 95 % interval of a sum of means over seeds and tasks.

    Args:
        methods: for each method (seeds, tasks); one, or the first and minus the second for their paired difference.
            The tasks are the same, the seeds each method's own. A method with one seed says nothing about another
            training, and its interval is over tasks alone.
        groups: of which tasks or classes an episode is.

    Raises:
        ValueError: there is no method, no seed or no task, or methods have different tasks.

    Examples:
        >>> import torch
        >>> hard = torch.randn(500, generator=torch.Generator().manual_seed(0)).double()
        >>> half_width([hard[None] + 0.1, -hard[None]]) < half_width([hard[None]])  # tasks are hard for both
        True
    """
    if not methods or min(values.numel() for values in methods) == 0:
        raise ValueError("An interval needs at least one method with at least one seed and one task.")
    counts = [values.shape[1] for values in methods]
    if len({*counts}) > 1:
        raise ValueError(
            f"The methods have {', '.join(map(str, counts))} tasks; paired differences need the same tasks for all."
        )
    of_tasks, num_groups = _over_groups(torch.stack([values.mean(0) for values in methods]).sum(0), groups)
    square = student(num_groups - 1) ** 2 * float(of_tasks)
    for values in methods:
        if (num_seeds := len(values)) > 1:
            square += student(num_seeds - 1) ** 2 * max(_over_seeds(values, groups), 0.0)
    return math.sqrt(square)


def influence(numbers: Float64[Tensor, "seeds tasks numbers"], statistic: Statistic) -> Float64[Tensor, "seeds tasks"]:
    r"""What each task adds to a statistic of means over tasks: $f(\bar x_s) + f'(\bar x_s) (x_{st} - \bar x_s)$.

    Its mean over tasks is the statistic of a seed, and its variance that of the statistic to first order. A number
    whose mean it is the statistic of is its own influence. An error that cannot be negative, such as a calibration
    error, is larger in a sample than in truth; an interval by this derivative is one of the error in such samples.

    Examples:
        >>> import torch
        >>> counts = torch.tensor([[[1.0, 2.0], [3.0, 2.0]]]).double()
        >>> influence(counts, lambda mean: mean[..., 0] / mean[..., 1])  # a ratio of means
        tensor([[0.5000, 1.5000]], dtype=torch.float64)
    """
    if statistic is mean_of:
        return numbers[..., 0]
    means = numbers.mean(1)
    gradients = torch.func.vmap(torch.func.grad(statistic))(means)
    found: Tensor = statistic(means)[:, None] + ((numbers - means[:, None]) * gradients[:, None]).sum(-1)
    return found


def count_groups(groups: Groups, num_tasks: int) -> int:
    """How many groups some episodes come from."""
    return num_tasks if groups is None else 1 + int(numbered(groups).max())


def numbered(groups: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """The same groups with the numbers 0, 1, 2, ... for names."""
    numbers: Tensor = torch.unique(groups, return_inverse=True)[1]
    return numbers


@functools.cache
def student(degrees: int) -> float:
    r"""The 97.5 % quantile of Student's distribution; not a number without a degree of freedom.

    Examples:
        >>> [round(student(degrees), 3) for degrees in (1, 2, 10, 599)]
        [12.706, 4.303, 2.228, 1.964]
    """
    if degrees < 1:
        return math.nan
    # The density integrated by Gauss-Legendre from 0 to a bound, which bisection moves to where .475 lies below it.
    nodes, weights = np.polynomial.legendre.leggauss(200)
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(degrees * math.pi)
    low, high = 0.0, 16.0
    for _ in range(60):
        middle = (low + high) / 2
        at = middle * (nodes + 1) / 2
        below = scale * middle / 2 * float(weights @ (1 + at**2 / degrees) ** (-(degrees + 1) / 2))
        low, high = (middle, high) if below < 0.475 else (low, middle)
    return low


def _over_seeds(values: Float64[Tensor, "seeds tasks"], groups: Groups) -> float:
    """The variance of the mean that the seeds explain, without what tasks do in it; noise may make it negative."""
    num_seeds, of_seeds, of_tasks = len(values), values.mean(1), values.mean(0)
    rest = values - of_seeds[:, None] - of_tasks + values.mean()
    both, _ = _over_groups(rest, groups)
    return float(of_seeds.var() / num_seeds - both.sum() / (num_seeds * (num_seeds - 1)))


def _over_groups(values: Float[Tensor, "*batch tasks"], groups: Groups) -> tuple[Float[Tensor, "*batch"], int]:
    """The variance of the mean over episodes, and the number of their groups; not a number for one group."""
    count = values.shape[-1]
    num_groups = count_groups(groups, count)
    if num_groups < 2:
        return torch.full_like(values.mean(-1), math.nan), num_groups
    deviations = values - values.mean(-1, keepdim=True)
    simple = deviations.square().sum(-1) / (count - 1) / count
    if groups is None:
        return simple, num_groups
    member = _members(groups)
    left = count - member.sum(0)
    # The mean without a group, less the mean; a group that is in every episode leaves none, and nothing is known.
    moved = torch.where(left > 0, (deviations.to(member.dtype) @ member) / left, math.nan)
    jackknife = (num_groups - 1) / num_groups * moved.square().sum(-1)
    more = float(member.sum()) / count - 1
    variance = torch.maximum(jackknife - more * simple, simple) if more else jackknife
    return variance.to(values.dtype), num_groups


def _members(groups: Int64[Tensor, "tasks memberships"]) -> Float64[Tensor, "tasks groups"]:
    """Which episode belongs to which group: 1, however often the group comes up in it, or 0."""
    number = numbered(groups)
    member = torch.zeros(len(groups), int(number.max()) + 1, dtype=torch.float64)
    return member.scatter(1, number, 1.0)
