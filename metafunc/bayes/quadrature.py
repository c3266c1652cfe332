r"""Posteriors over a few parameters by quadrature: weights on a grid, particles of equal mass, few of them per query.

A prior with density $\pi$ on a box becomes nodes $\theta_j$ at the midpoints of a grid's cells, and the posterior
$w_j \propto \pi(\theta_j)\, p(D \mid \theta_j)$. A predictive distribution takes its mean over nodes, and where the
grid is large most of them have next to no mass. So nodes are drawn from the posterior, deterministically: the range of
the cumulative weights is cut into strata of equal mass, in the order of the grid, and each stratum has one node, at a
place that moves by the golden ratio from one stratum to the next. That is exact in the limit whether the posterior is
one node or all of them; keeping the heaviest nodes is not. Where a density is asked for, its tails count as well, in
which nodes of equal mass are few: a lattice then draws nodes from the square root of the posterior, with weights.

For each query the nodes' Gaussians are then sorted by their means, and neighbours are put together, as one Gaussian
with the mean, the variance and the weight of theirs. Where a posterior is smooth and not narrow, Gauss and Legendre's
rule needs the fewest nodes.
"""

import math

import torch
from jaxtyping import Float, Int64
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from metafunc.types import Normal

KEPT = 2048
"""Nodes that a posterior is made of, of equal mass."""
PARTICLES = 64
"""Gaussians that a query's mixture is reduced to."""
GOLDEN = (math.sqrt(5) - 1) / 2


def precise(tensor: Tensor) -> torch.dtype:
    """The precision of log-likelihoods: sums of squares in units of the noise, of which the differences count."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def midpoints(span: tuple[float, float], number: int, like: Tensor) -> Float[Tensor, " number"]:
    """The centres of a range's cells.

    Examples:
        >>> import torch
        >>> midpoints((0.0, 1.0), 2, torch.zeros(1))
        tensor([0.2500, 0.7500])
    """
    low, high = span
    return low + (high - low) * (torch.arange(number, dtype=like.dtype, device=like.device) + 0.5) / number


def legendre(span: tuple[float, float], number: int, like: Tensor) -> tuple[Tensor, Tensor]:
    r"""Gauss and Legendre's nodes of a positive quantity, uniform in a range, by the range of its logarithm.

    $$\int_a^b f(\theta)\, \tfrac{d\theta}{b - a} =
    \int_{\log a}^{\log b} f(e^t)\, \tfrac{e^t}{b - a}\, dt \approx \textstyle\sum_j w_j f(\theta_j).$$

    Args:
        span: a and b, both above 0.
        number: of nodes; the rule is exact for polynomials in t of degree 2 `number` - 1.
        like: a tensor whose dtype and device they get.

    Returns:
        The nodes, and the logarithms of their weights, which add up to one but for the rule's error.

    Examples:
        >>> import torch
        >>> nodes, log_weights = legendre((0.1, 1.0), 8, torch.zeros((), dtype=torch.float64))
        >>> (log_weights.exp() @ nodes).round(decimals=6)  # the mean of the range
        tensor(0.5500, dtype=torch.float64)
    """
    low, high = span
    points, weights = leggauss(number)
    half = math.log(high / low) / 2
    nodes = low * (half * (like.new_tensor(points) + 1)).exp()
    return nodes, (like.new_tensor(weights) * half * nodes / (high - low)).log()


def equal_mass(log_weights: Float[Tensor, " nodes"], number: int = KEPT) -> Int64[Tensor, " number"]:
    r"""Nodes that stand for the posterior, each for the same mass, by inverting its distribution function in strata.

    Args:
        log_weights: $\log w_j$, but for a constant, in an order in which neighbours are alike.
        number: how many are drawn.

    Returns:
        Their indices, in order; a heavy node comes up as often as its weight demands.

    Examples:
        >>> import torch
        >>> equal_mass(torch.tensor([0.0, 1.0, 2.0]).log(), 3)
        tensor([1, 2, 2])
    """
    total = torch.softmax(log_weights, 0).cumsum(0)
    strata = torch.arange(number, dtype=total.dtype, device=total.device)
    places = (strata + (0.5 + GOLDEN * strata).frac()) / number * total[-1]
    return torch.searchsorted(total, places).clamp(max=len(total) - 1)


def on_lattice(
    log_weights: Float[Tensor, " nodes"], ends: Int64[Tensor, " rows"], number: int = KEPT
) -> tuple[Tensor, Tensor]:
    r"""Nodes of two axes that stand for the posterior and for its tails, with weights.

    $$q_j \propto w_j^{1/2}, \qquad u_k = \Big(\tfrac{k + 1/2}{N}, \big\{\varphi (k + \tfrac12)\big\}\Big), \qquad
    v_j \propto w_j^{1/2}.$$

    Node k is where the distribution function of q's rows reaches the first number of a lattice's point, and that within
    the row the second. Of 2048 nodes of equal mass two stand for a thousandth of it, and a density is as rough there;
    the square root has more of them in the tails, and the lattice spreads them in both directions.

    Args:
        log_weights: $\log w_j$, but for a constant, row by row.
        ends: the index after the last node of each row.
        number: N, how many are drawn.

    Returns:
        Their indices, and the logarithms of their weights, which add up to one.

    Examples:
        >>> import torch
        >>> nodes, log_weights = on_lattice(torch.tensor([1.0, 4.0, 16.0]).log(), torch.tensor([1, 2, 3]), 7)
        >>> nodes, (21 * log_weights.exp()).round()
        (tensor([0, 1, 1, 2, 2, 2, 2]), tensor([1., 2., 2., 4., 4., 4., 4.]))
    """
    total = torch.softmax(log_weights / 2, 0).cumsum(0)
    until = total[ends - 1]
    half = torch.arange(number, dtype=total.dtype, device=total.device) + 0.5
    row = torch.searchsorted(until, half / number * total[-1]).clamp(max=len(ends) - 1)
    mass = until.diff(prepend=until.new_zeros(1))
    chosen = torch.searchsorted(total, until[row] - mass[row] * (GOLDEN * half).frac()).clamp(max=len(total) - 1)
    return chosen, torch.log_softmax(log_weights[chosen] / 2, 0)


def merged(
    loc: Float[Tensor, "nodes n"],
    variance: Float[Tensor, "nodes n"],
    log_weights: Float[Tensor, " nodes"],
    number: int = PARTICLES,
    order: Int64[Tensor, "nodes n"] | None = None,
) -> Normal:
    r"""A mixture of Gaussians in fewer of them, for each query by itself.

    $$w = \textstyle\sum_{j \in \text{bin}} w_j, \qquad
    \bar\mu = \tfrac1w \sum_{j \in \text{bin}} w_j\, \mu_j, \qquad
    \bar\sigma^2 = \tfrac1w \sum_{j \in \text{bin}} w_j \big[\sigma_j^2 + (\mu_j - \bar\mu)^2\big].$$

    The bins are of equal size in the sum of rank and place, each in units of its range: none holds more than 2/`number`
    of the mass, but for a node's, and none is wider than 2/`number` of the nodes' range. Bins of equal mass alone are
    wide in the tails, and what the density loses there is hundreds of times larger.

    Args:
        loc: the nodes' means.
        variance: their variances, noise included.
        log_weights: the logarithms of their weights, which add up to one.
        number: particles, at most; as many nodes or fewer are returned as they are.
        order: which node is the first of each query by its mean, the second, ...; None: they are sorted here.

    Returns:
        Predictions (particles, n, 1), with weights of every query's own where there are fewer than nodes.

    Examples:
        >>> import torch
        >>> loc = torch.tensor([[0.0], [9.0], [2.0], [11.0], [1.0]])
        >>> found = merged(loc, torch.zeros(5, 1), torch.full((5,), 0.2).log(), 2)
        >>> found.loc.flatten(), found.log_weight.exp().flatten()
        (tensor([ 1., 10.]), tensor([0.6000, 0.4000]))
    """
    if len(loc) <= number:
        return Normal(loc[..., None], variance.sqrt()[..., None], log_weights[:, None])
    order = loc.argsort(0) if order is None else order
    ordered = loc.gather(0, order)
    weight = log_weights.exp()[order]
    ranks = weight.cumsum(0) - weight / 2
    width = ordered[-1:] - ordered[:1]
    places = (ordered - ordered[:1]) / torch.where(width > 0, width, 1.0)
    bins = ((ranks + places) / 2 * number).long().clamp(max=number - 1)
    nothing = loc.new_zeros((number, loc.shape[1]))

    def summed(values: Tensor) -> Tensor:
        return nothing.scatter_add(0, bins, weight * values)

    held = summed(torch.ones_like(ordered))
    share = held.clamp(min=1e-30)
    mean = summed(ordered) / share
    spread = summed((ordered - mean.gather(0, bins)).square() + variance.gather(0, order)) / share
    # A bin without a node has a Gaussian too, of next to no weight.
    spread = torch.where(held > 0, spread, 1.0)
    return Normal(mean[..., None], spread.sqrt()[..., None], share.log())
