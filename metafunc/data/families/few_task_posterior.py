r"""What a support set says of a sine curve, and of its value elsewhere: the exact prediction of `few_task_sinusoid`.

$$y = A\,(s + \sigma \epsilon), \qquad s = \sin(f x - \varphi), \qquad \epsilon \sim \mathcal N(0, 1),$$

all three numbers uniform. Of one over the amplitude, $a = 1 / A$, the likelihood is a Gaussian times a power,

$$\log p(D \mid a, f, \varphi) =
n \log a - \tfrac{1}{2 \sigma^2} \big(a^2 \textstyle\sum y^2 - 2 a \sum y s + \sum s^2\big) + \text{const},$$

and its three sums follow from five over the support set for each f alone. The amplitude is therefore integrated on a
line of its own, and a grid has the frequency and the phase. Rows have a noise of a hundredth, so that a posterior may
be as narrow as a cell: nodes are drawn from the cells at the square root of their weight, each at a place of its own
within its cell and at an amplitude that the rows leave, and are weighed by what the likelihood is there.

A query is the curve itself, without noise. It has a density, since the three numbers are not known, and nodes have
none: each becomes a Gaussian, as wide as its amplitude is uncertain, or else as its neighbours lie apart. More than
three queries have no density together, as three numbers give them all; the joint is that of each alone.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.bayes.curves import Span, precisely
from metafunc.bayes.quadrature import merged, midpoints, on_lattice
from metafunc.bayes.untrained import untrained
from metafunc.types import Batch, MetaLearner, Normal, Params, masked_sum

NODES = 128
"""Nodes of an axis, at least."""
MOST_NODES = 2**22
"""Nodes of the grid, at most: 32 MB of numbers."""
KEPT = 16384
"""Curves that the posterior is made of."""
PARTICLES = 128
"""Gaussians of a query; with fewer, the density would have their ripples."""
AMPLITUDES = 64
"""Nodes of the amplitude's line, which is eight standard deviations long to each side."""
NARROW = 0.05
"""How uncertain an amplitude may be, in units of itself, for a Gaussian to stand for it; else each node draws one."""


class Sines(NamedTuple):
    """The prior of sine curves.

    Args:
        amplitude: the range of A.
        frequency: of f.
        phase: of phi.
        noise: standard deviation of a row in units of its amplitude.
        farthest: the largest input, in absolute value.
    """

    amplitude: Span
    frequency: Span
    phase: Span
    noise: float
    farthest: float


class SineNodes(NamedTuple):
    """What a task is: curves with weights, and how uncertain each one's amplitude is."""

    log_weights: Float[Tensor, " nodes"]
    amplitude: Float[Tensor, " nodes"]
    spread: Float[Tensor, " nodes"]
    frequency: Float[Tensor, " nodes"]
    phase: Float[Tensor, " nodes"]


class _Sums(NamedTuple):
    """What the likelihood needs: of the support set how many rows it has and the sum of y squared, and for each f and
    phi the sums of y s and of s squared."""

    num_rows: Tensor
    energy: Tensor
    linear: Tensor
    square: Tensor


def nodes_for(prior: Sines, num_rows: int) -> tuple[int, int]:
    """How many frequencies and phases there are to be, so that no cell is wider than twice what the posterior may be.

    Examples:
        >>> nodes_for(Sines((0.1, 5.0), (0.5, 2.0), (0.0, 6.28), 0.01, 5.0), 5)
        (839, 703)
    """
    widths = (prior.farthest * (prior.frequency[1] - prior.frequency[0]), prior.phase[1] - prior.phase[0])
    frequencies, phases = (max(NODES, math.ceil(width * math.sqrt(num_rows) / 2 / prior.noise)) for width in widths)
    return frequencies, phases


def affordable(prior: Sines, num_rows: int) -> bool:
    """Whether the grid is of bearable size."""
    return math.prod(nodes_for(prior, num_rows)) <= MOST_NODES


def sine_learner(
    prior: Sines, *, num_rows: int, refine: float = 1.0, kept: int = KEPT
) -> MetaLearner[Params, SineNodes]:
    r"""The learner that knows how sine curves are drawn, and predicts where they pass, $p(f(x) \mid D)$.

    Args:
        prior: of all numbers that a task has.
        num_rows: rows of a support set, at most, which the grid's cells are made for.
        refine: nodes of an axis in units of the usual number.
        kept: curves that the posterior is made of.

    Examples:
        >>> learner = sine_learner(Sines((0.1, 5.0), (0.5, 2.0), (0.0, 6.28), 0.01, 5.0), num_rows=1)
        >>> task = learner.adapt({}, Batch(torch.zeros(1, 1), torch.ones(1, 1)))
        >>> found = learner.predict(task, torch.zeros(1, 1))
        >>> (found.log_weight.exp() * found.loc[..., 0]).sum().round(decimals=2)  # A row is its curve but for noise.
        tensor(1.)
    """
    sizes = tuple(math.ceil(refine * number) for number in nodes_for(prior, num_rows))
    spans = (prior.frequency, prior.phase)

    def condition(support: Batch) -> SineNodes:
        rows = precisely(support)
        axes = [midpoints(span, size, rows.x) for span, size in zip(spans, sizes, strict=True)]
        # The cells' weights, at the amplitude that fits best: nodes are drawn by them, and weighed by the integral.
        cells = _sums(rows, *axes, apart=False)
        best = _best(prior, cells)
        log_cells = ((cells.num_rows - 2) * best.log() + _fit(prior, best, cells)).flatten()
        ends = sizes[1] * (1 + torch.arange(sizes[0], device=rows.x.device))
        chosen, _ = on_lattice(log_cells, ends, kept)
        places = _places(kept, rows.x)
        frequency, phase = (
            axis[index] + (place - 0.5) * (span[1] - span[0]) / size
            for axis, index, place, span, size in zip(
                axes, (chosen // sizes[1], chosen % sizes[1]), places[:2], spans, sizes, strict=True
            )
        )
        evidence, amplitude, spread = _on_line(prior, _sums(rows, frequency, phase, apart=True), places[2:])
        return SineNodes(torch.log_softmax(evidence - log_cells[chosen] / 2, 0), amplitude, spread, frequency, phase)

    # Double precision counts twice; four such arrays exist at a time, of the grid or of the nodes times the queries.
    footprint = 8 * (math.prod(sizes) + 100 * kept)
    return untrained(condition, _predict, footprint=footprint)


def _places(number: int, like: Tensor) -> Float[Tensor, "4 number"]:
    """Numbers in [0, 1) for each node, spread as evenly as those of the lattice that draws its cell."""
    half = torch.arange(number, dtype=like.dtype, device=like.device) + 0.5
    return torch.stack([(math.sqrt(prime) * half).frac() for prime in (2, 3, 7, 11)])


def _sums(rows: Batch, frequency: Tensor, phase: Tensor, *, apart: bool) -> _Sums:
    """For each pair of a frequency and a phase, (frequencies, phases); or, apart, for the first, the second, ... ."""
    angle = frequency[:, None] * rows.x[:, 0]
    sine, cosine = angle.sin() * rows.mask, angle.cos() * rows.mask
    of_frequency = (sine @ rows.y, cosine @ rows.y, sine.square().sum(1, True), (sine * cosine).sum(1, True))
    y_sine, y_cosine, sines, both = (each[:, 0] if apart else each for each in of_frequency)
    cos, sin, count = phase.cos(), phase.sin(), rows.mask.sum()
    square = sines * cos.square() - 2 * both * sin * cos + (count - sines) * sin.square()
    energy = masked_sum(rows.y[:, 0].square(), rows.mask).clamp(min=1e-30)
    return _Sums(count, energy, y_sine * cos - y_cosine * sin, square)


def _best(prior: Sines, sums: _Sums) -> Tensor:
    """The a that fits best."""
    return (sums.linear / sums.energy).clamp(1 / prior.amplitude[1], 1 / prior.amplitude[0])


def _fit(prior: Sines, a: Tensor, sums: _Sums) -> Tensor:
    return (a.square() * sums.energy - 2 * a * sums.linear + sums.square) / (-2 * prior.noise**2)


def _on_line(prior: Sines, sums: _Sums, places: Float[Tensor, "2 nodes"]) -> tuple[Tensor, Tensor, Tensor]:
    """The evidence of curves of all amplitudes, and for each an amplitude, and how uncertain it is."""
    low, high = 1 / prior.amplitude[1], 1 / prior.amplitude[0]
    reach = 8 * prior.noise / sums.energy.sqrt()
    first, last = ((_best(prior, sums) + end).clamp(low, high).log() for end in (-reach, reach))
    step = (last - first) / AMPLITUDES
    line = first[:, None] + (last - first)[:, None] * midpoints((0.0, 1.0), AMPLITUDES, first)
    each = sums._replace(linear=sums.linear[:, None], square=sums.square[:, None])
    # Uniform amplitudes are a density of a^-2, and a step of log a is another a.
    weights = (sums.num_rows - 1) * line + _fit(prior, line.exp(), each)
    share, amplitudes = torch.softmax(weights, 1), (-line).exp()
    mean = (share * amplitudes).sum(1)
    spread = (share * (amplitudes - mean[:, None]).square()).sum(1).sqrt()
    total = share.cumsum(1)
    reached = torch.searchsorted(total, places[0][:, None] * total[:, -1:])[:, 0].clamp(max=AMPLITUDES - 1)
    drawn, narrow = (-first - step * (reached + places[1])).exp(), spread < NARROW * mean
    evidence = torch.logsumexp(weights, 1) + step.log()
    return evidence, torch.where(narrow, mean, drawn), torch.where(narrow, spread, 0.0)


def _predict(nodes: SineNodes, x: Tensor) -> Normal:
    at = x[:, 0].to(nodes.phase.dtype)
    sine = torch.sin(nodes.frequency[:, None] * at - nodes.phase[:, None])
    loc = nodes.amplitude[:, None] * sine
    ordered, order = loc.sort(0)
    # As many curves beside it as a particle has, on the nearer side: the other one may be beyond a gap.
    beside = max(1, len(loc) // PARTICLES)
    padded = torch.nn.functional.pad(ordered.mT, (beside, beside), value=torch.inf).mT
    above, below = padded[2 * beside :] - ordered, ordered - padded[: -2 * beside]
    apart = torch.zeros_like(loc).scatter(0, order, torch.minimum(above, below.abs()) / 2)
    scale = torch.maximum(nodes.spread[:, None] * sine.abs(), apart).clamp(min=1e-6)
    found = merged(loc, scale.square(), nodes.log_weights, PARTICLES, order)
    return tree.map(lambda leaf: leaf.to(x.dtype), found)
