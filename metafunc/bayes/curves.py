r"""The exact predictive distribution of curves with two unknown numbers, of which one is a height.

$$y = a\, b(\theta, x) + c(\theta, x) + \epsilon, \qquad a \sim U, \quad \theta \sim U, \quad
\epsilon \sim \mathcal N(0, \sigma^2).$$

Sines are so, $b = \sin(x - \theta)$, and lines, $b = 1$ and $c = \theta x$. With residuals $r = y - c$ the likelihood
of all heights needs three sums over the support set only,

$$\log p(D \mid a, \theta) = -\tfrac{1}{2 \sigma^2} \big(\textstyle\sum r^2 - 2 a \sum b r + a^2 \sum b^2\big)
- n \log \sigma + \text{const},$$

so that a grid over both numbers costs as much for 50 rows as for 5. Several kinds of curves are equally likely.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metafunc import tree
from metafunc.bayes.quadrature import KEPT, merged, midpoints, on_lattice, precise
from metafunc.bayes.untrained import untrained
from metafunc.types import Batch, MetaLearner, Normal, Params, Scalar, masked_sum

Span = tuple[float, float]
NODES = 256
"""Nodes of an axis, at least."""
MOST_NODES = 2**22
"""Nodes of a kind of curves, at most: 32 MB of numbers."""


@dataclass(frozen=True)
class Curves:
    r"""One kind of curves.

    Args:
        curve: ($\theta$, inputs (n, inputs)) to $b$ and $c$, (n,) each.
        shape: the range of $\theta$; a single number twice where there is none.
        height: the range of $a$.
        steepness: how much y changes at most with $\theta$, and with $a$.
    """

    curve: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    shape: Span
    height: Span
    steepness: tuple[float, float] = (1.0, 1.0)


class CurveNodes(NamedTuple):
    """What a task is: curves by their kind, theta and height, with weights, and the rows that they were found from."""

    log_weights: Float[Tensor, " nodes"]
    kind: Int64[Tensor, " nodes"]
    theta: Float[Tensor, " nodes"]
    height: Float[Tensor, " nodes"]
    support: Batch


class _Grid(NamedTuple):
    """All curves of all kinds, and the logarithms of prior times likelihood, but for what all share; a row of them for
    each theta, and where it ends."""

    log_weights: Float[Tensor, " nodes"]
    ends: Int64[Tensor, " rows"]
    kind: Int64[Tensor, " nodes"]
    theta: Float[Tensor, " nodes"]
    height: Float[Tensor, " nodes"]


def nodes_for(kind: Curves, noise: float, num_rows: int) -> tuple[int, int]:
    """How many nodes each axis takes, so that no cell is wider than the posterior may be.

    Examples:
        >>> sine = lambda theta, x: (torch.sin(x[:, 0] - theta), 0 * x[:, 0])
        >>> sines = Curves(sine, (0.0, 3.0), (0.0, 5.0), steepness=(5.0, 1.0))
        >>> nodes_for(sines, 0.3, 5), nodes_for(sines, 0.05, 10)
        ((256, 256), (949, 317))
    """
    counts = [
        1 if low == high else max(NODES, math.ceil((high - low) * steepness * math.sqrt(num_rows) / noise))
        for (low, high), steepness in zip((kind.shape, kind.height), kind.steepness, strict=True)
    ]
    return counts[0], counts[1]


def affordable(kinds: Sequence[Curves], noise: float, num_rows: int) -> bool:
    """Whether there is noise, and enough of it for a grid of bearable size."""
    return noise > 0 and all(math.prod(nodes_for(kind, noise, num_rows)) <= MOST_NODES for kind in kinds)


def curve_learner(
    kinds: Sequence[Curves], noise: float, *, num_rows: int, refine: float = 1.0, kept: int = KEPT
) -> MetaLearner[Params, CurveNodes]:
    r"""The learner that knows how curves are drawn, and predicts $p(y \mid x, D)$.

    Args:
        kinds: what curves there are, equally likely.
        noise: $\sigma$, in units of y.
        num_rows: rows of a support set, at most, which the grid's cells are made for.
        refine: nodes of an axis in units of the usual number.
        kept: nodes that the posterior is made of.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, metrics
        >>> lines = Curves(lambda tilt, x: (torch.ones_like(x[:, 0]), tilt * x[:, 0]), (-3.0, 3.0), (-3.0, 3.0))
        >>> learner = curve_learner([lines], 0.1, num_rows=2)
        >>> task = learner.adapt({}, Batch(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])))
        >>> metrics.mixture(learner.predict(task, torch.tensor([[0.5]]))).loc[0].round(decimals=1)  # y = 1 + x
        tensor([[1.5000]])
    """

    def sizes(rows: int) -> list[tuple[int, ...]]:
        counts = [nodes_for(kind, noise, rows) for kind in kinds]
        return [tuple(max(1, math.ceil(refine * count)) if count > 1 else 1 for count in pair) for pair in counts]

    def grid(batch: Batch, rows: int) -> _Grid:
        x, y = batch.x, batch.y[:, 0]
        found: list[_Grid] = []
        before = 0
        for number, (kind, size) in enumerate(zip(kinds, sizes(rows), strict=True)):
            thetas, heights = midpoints(kind.shape, size[0], x), midpoints(kind.height, size[1], x)

            def sums(theta: Tensor, kind: Curves = kind) -> tuple[Tensor, Tensor, Tensor]:
                b, c = kind.curve(theta, x)
                rest = y - c
                return tuple(masked_sum(each, batch.mask) for each in (rest.square(), b * rest, b.square()))  # type: ignore[return-value]

            constant, linear, square = (each[:, None] for each in torch.vmap(sums)(thetas))
            fit = (constant - 2 * heights * linear + heights.square() * square) / (-2 * noise**2)
            # Each kind has the same share of the prior, whatever its number of nodes.
            log_weights = fit.flatten() - math.log(fit.numel())
            of_kind = torch.full_like(log_weights, number, dtype=torch.int64)
            theta, height = thetas[:, None].expand(size).flatten(), heights.expand(size).flatten()
            ends = before + size[1] * (1 + torch.arange(size[0], device=x.device))
            before += fit.numel()
            found.append(_Grid(log_weights, ends, of_kind, theta, height))
        return _Grid(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def condition(support: Batch) -> CurveNodes:
        rows = precisely(support)
        every = grid(rows, num_rows)
        chosen, log_weights = on_lattice(every.log_weights, every.ends, kept)
        return CurveNodes(log_weights, every.kind[chosen], every.theta[chosen], every.height[chosen], rows)

    def predict(nodes: CurveNodes, x: Tensor) -> Normal:
        inputs = x.to(nodes.theta.dtype)
        loc = torch.zeros_like(nodes.theta)[:, None].expand(-1, x.shape[0])
        for number, kind in enumerate(kinds):
            b, c = torch.vmap(kind.curve, in_dims=(0, None))(nodes.theta, inputs)
            loc = torch.where(nodes.kind[:, None] == number, nodes.height[:, None] * b + c, loc)
        found = merged(loc, torch.full_like(loc, noise**2), nodes.log_weights)
        return tree.map(lambda leaf: leaf.to(x.dtype), found)

    def joint(nodes: CurveNodes, query: Batch, /) -> Scalar:
        """The ratio of two evidences, on a grid that is fine enough for all rows."""
        asked = precisely(query)
        both = tree.map(lambda *parts: torch.cat(parts), nodes.support, asked)
        fits = [torch.logsumexp(grid(rows, len(both.x)).log_weights, 0) for rows in (both, nodes.support)]
        rest = asked.mask.sum() * (math.log(noise) + 0.5 * math.log(2 * math.pi))
        ratio: Tensor = fits[0] - fits[1] - rest
        return ratio.to(query.y.dtype)

    # Double precision counts twice; four such arrays exist at a time, of the grid or of the nodes times the queries.
    footprint = 8 * (sum(math.prod(size) for size in sizes(num_rows)) + 100 * kept)
    return untrained(condition, predict, joint=joint, footprint=footprint)


def precisely(batch: Batch) -> Batch:
    """A batch of regression in the precision of log-likelihoods, with a mask."""
    dtype = precise(batch.x)
    mask = batch.x.new_ones(len(batch.x)) if isinstance(batch.mask, tuple) else batch.mask
    return Batch(batch.x.to(dtype), batch.y.to(dtype), mask.to(dtype))


def optimal(
    splits: Sequence[str], kinds: Sequence[Curves], noise: float, num_rows: int
) -> dict[str, MetaLearner[Params, CurveNodes]]:
    """The optimum of a family's splits, for its `optima`; none where the grid would not be `affordable`."""
    if not affordable(kinds, noise, num_rows):
        return {}
    return dict.fromkeys(splits, curve_learner(kinds, noise, num_rows=num_rows))
