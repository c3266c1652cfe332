r"""What a support set says of a sine about a line, and of new targets: the exact prediction of `trend`.

$$y = b\,x + c + A\, g_s(x) + \epsilon, \qquad g_s(x) = \sin(\omega (x - s)), \qquad
b \sim \mathcal N(m_b, v_b), \quad c \sim \mathcal N(m_c, v_c), \quad \epsilon \sim \mathcal N(0, \sigma^2).$$

The line is a Gaussian process of mean $m_b x + m_c$ and covariance $v_b x z + v_c$. Its Gram matrix
$K = X \operatorname{diag}(v_b, v_c) X^\top + \sigma^2 I$ is the same for all A and s, so that with the targets less the
line's mean, r, one factorisation gives the likelihood of all amplitudes and shifts,

$$\log p(D \mid A, s) = -\tfrac12 \big(r^\top K^{-1} r - 2 A\, g_s^\top K^{-1} r + A^2\, g_s^\top K^{-1} g_s\big)
- \tfrac12 \log \lvert 2 \pi K \rvert,$$

on a grid over both. Given A and s the prediction is a Gaussian of which the mean alone depends on them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.bayes import gaussian_process
from metafunc.bayes.curves import Span, precisely
from metafunc.bayes.gaussian_process import Conditioned
from metafunc.bayes.quadrature import KEPT, merged, midpoints, on_lattice
from metafunc.bayes.untrained import untrained
from metafunc.types import Batch, MetaLearner, Normal, Params, Scalar

NODES = 128
"""Nodes of an axis, at least."""
MOST_NODES = 2**22
"""Nodes of the grid, at most: 32 MB of numbers."""
TAILS = 6.0
"""How far the shift's nodes reach, in standard deviations of its prior."""


class Trends(NamedTuple):
    """The prior of sines about lines.

    Args:
        frequency: of all sines, in radians per unit of x.
        amplitude: the range of A.
        shift: mean and standard deviation of s.
        rate: mean and standard deviation of b.
        offset: mean and standard deviation of c.
        noise: standard deviation of the targets about the function.
    """

    frequency: float
    amplitude: Span
    shift: Span
    rate: Span
    offset: Span
    noise: float

    def wave(self, shift: Tensor, x: Float[Tensor, " n"]) -> Tensor:
        """The sine of amplitude 1 at all inputs, for each shift: (n, shifts)."""
        return torch.sin(self.frequency * (x[:, None] - shift))

    def mean(self, x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The mean of all lines."""
        return self.rate[0] * x + self.offset[0]

    def covariance(self, x: Float[Tensor, " n"], z: Float[Tensor, " m"]) -> Float[Tensor, "n m"]:
        """The covariance of all lines."""
        return self.rate[1] ** 2 * x[:, None] * z + self.offset[1] ** 2


class TrendNodes(NamedTuple):
    """What a task is: amplitudes and shifts with weights, the lines given each of them, and the rows they are of."""

    log_weights: Float[Tensor, " nodes"]
    amplitude: Float[Tensor, " nodes"]
    shift: Float[Tensor, " nodes"]
    lines: Conditioned
    support: Batch


class _Grid(NamedTuple):
    """All amplitudes and shifts, the logarithms of prior times likelihood, and the lines that the data leave."""

    log_weights: Float[Tensor, "shifts amplitudes"]
    amplitude: Float[Tensor, " amplitudes"]
    shift: Float[Tensor, " shifts"]
    lines: Conditioned


def nodes_for(prior: Trends, num_rows: int) -> tuple[int, int]:
    """How many shifts and amplitudes there are to be, so that no cell is wider than the posterior may be.

    Examples:
        >>> prior = Trends(1.5, (0.7, 1.3), (0.0, 0.1), (0.5, 0.2), (5.0, 0.1), 0.1)
        >>> nodes_for(prior, 5), nodes_for(prior._replace(noise=0.01), 20)
        ((128, 128), (1047, 269))
    """
    low, high = prior.amplitude
    widths = 2 * TAILS * prior.shift[1] * prior.frequency * high, high - low
    shifts, amplitudes = (max(NODES, math.ceil(width * math.sqrt(num_rows) / prior.noise)) for width in widths)
    return shifts, amplitudes


def affordable(prior: Trends, num_rows: int) -> bool:
    """Whether there is noise, and enough of it for a grid of bearable size."""
    return prior.noise > 0 and math.prod(nodes_for(prior, num_rows)) <= MOST_NODES


def trend_learner(
    prior: Trends, *, num_rows: int, refine: float = 1.0, kept: int = KEPT
) -> MetaLearner[Params, TrendNodes]:
    r"""The learner that knows how sines about lines are drawn, and predicts $p(y \mid x, D)$.

    Args:
        prior: of all numbers that a task has.
        num_rows: rows of a support set, at most, which the grid's cells are made for.
        refine: nodes of an axis in units of the usual number.
        kept: nodes that the posterior is made of.

    Examples:
        >>> prior = Trends(1.5, (0.7, 1.3), (0.0, 0.1), (0.5, 0.2), (5.0, 0.1), 0.1)
        >>> learner = trend_learner(prior, num_rows=1)
        >>> task = learner.adapt({}, Batch(torch.zeros(1, 1), torch.full((1, 1), 5.0)))
        >>> learner.predict(task, torch.zeros(3, 1)).loc.shape  # 64 particles
        torch.Size([64, 3, 1])
    """
    variance = prior.noise**2
    grid = _grid_of(prior, refine)

    def condition(support: Batch) -> TrendNodes:
        rows = precisely(support)
        every = grid(rows, num_rows)
        numbers, columns = every.log_weights.shape
        ends = columns * (1 + torch.arange(numbers, device=rows.x.device))
        chosen, log_weights = on_lattice(every.log_weights.flatten(), ends, kept)
        shifts, amplitudes = chosen // columns, every.amplitude[chosen % columns]
        solved = every.lines.weights[:, :1] - amplitudes * every.lines.weights[:, 1:][:, shifts]
        return TrendNodes(log_weights, amplitudes, every.shift[shifts], every.lines._replace(weights=solved), rows)

    def predict(nodes: TrendNodes, x: Tensor) -> Normal:
        at, seen = x[:, 0].to(nodes.shift.dtype), nodes.support.x[:, 0]
        cross = prior.covariance(at, seen)
        loc = prior.mean(at)[:, None] + nodes.amplitude * prior.wave(nodes.shift, at)
        loc = (loc + gaussian_process.mean(nodes.lines, cross)).mT
        left = gaussian_process.variance(nodes.lines, cross, prior.covariance(at, at).diagonal())
        found = merged(loc, (left + variance).expand_as(loc), nodes.log_weights)
        return tree.map(lambda leaf: leaf.to(x.dtype), found)

    def joint(nodes: TrendNodes, query: Batch, /) -> Scalar:
        """The ratio of two evidences, on a grid that is fine enough for all rows."""
        both = tree.map(lambda *parts: torch.cat(parts), nodes.support, precisely(query))
        fits = [torch.logsumexp(grid(rows, len(both.x)).log_weights.flatten(), 0) for rows in (both, nodes.support)]
        return (fits[0] - fits[1]).to(query.y.dtype)

    # Double precision counts twice; four such arrays exist at a time, of the grid or of the nodes times the queries.
    footprint = 8 * (math.prod(nodes_for(prior, num_rows)) + 100 * kept)
    return untrained(condition, predict, joint=joint, footprint=footprint)


def _grid_of(prior: Trends, refine: float) -> Callable[[Batch, int], _Grid]:
    """From rows, and the number of rows that its cells are made for, to the grid."""

    def grid(rows: Batch, num_rows: int) -> _Grid:
        x = rows.x[:, 0]
        numbers = [math.ceil(refine * number) for number in nodes_for(prior, num_rows)]
        deviation = midpoints((-TAILS, TAILS), numbers[0], x)
        shift, amplitude = prior.shift[0] + prior.shift[1] * deviation, midpoints(prior.amplitude, numbers[1], x)
        wave, residual = prior.wave(shift, x), rows.y - prior.mean(x)[:, None]
        lines = gaussian_process.condition(
            prior.covariance(x, x), torch.cat([residual, wave], 1), x.new_tensor(prior.noise**2), rows.mask, jitter=0.0
        )
        alone = gaussian_process.log_evidence(lines._replace(weights=lines.weights[:, :1]), residual)
        solved = lines.weights[:, 1:] * lines.present[:, None]
        linear, square = (solved * residual).sum(0), (solved * wave).sum(0)
        fit = amplitude * linear[:, None] - amplitude.square() * square[:, None] / 2
        log_prior = torch.log_softmax(-deviation.square() / 2, 0)[:, None] - math.log(numbers[1])
        return _Grid(log_prior + alone + fit, amplitude, shift, lines)

    return grid
