r"""What points inside a circle say of it, and whether another point lies in it: the exact prediction of `circles`.

The n support points are uniform in their distance $d_i$ from the centre, or in the part of the circle that lies in the
square, of area $a(c, r)$, so that

$$p(c, r \mid D) \propto 1[\text{all points lie in it}]\; \textstyle\prod_i (r\, d_i)^{-1}
\quad\text{or}\quad 1[\text{all points lie in it}]\; a(c, r)^{-n},$$

for centres and radii of the prior. Of a query that is uniform in the square, the share of such circles that hold it is
its probability. A balanced one is of the circle with probability 1/2, and else uniform in the square of area $A$; its
place x tells something of the circle too, and

$$p(y = 1 \mid x, D) \propto \mathbb E\Big[\tfrac{1[x \in C]}{2\, a(c, r)} + \tfrac{1[x \in C]}{2 A}\Big], \qquad
p(y = 0 \mid x, D) \propto \mathbb E\Big[\tfrac{1[x \notin C]}{2 A}\Big].$$

The posterior may be as narrow as the points lie close. Its nodes are therefore polar around their middle: the distance
of the centre from there has nodes at equal ratios, the radius at ratios that grow, and each node's weight holds the
volume of its cell.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc.bayes.quadrature import equal_mass, midpoints, precise
from metafunc.bayes.untrained import untrained
from metafunc.types import Batch, Categorical, MetaLearner, Params, masked_mean

Span = tuple[float, float]
NODES = (64, 48, 24)
"""Of the centre's distance and direction, and of the radius."""
NEAREST = 1e-3
"""The smallest distance of a centre from the middle of the points, in units of the side of the square."""
KEPT = 16384
"""Circles that the posterior is made of; with an eighth of them a task's NLL is up to five times as far off."""


class Circles(NamedTuple):
    """Circles of equal mass: centres, radii, and the areas of their parts in the square."""

    centre: Float[Tensor, "nodes 2"]
    radius: Float[Tensor, " nodes"]
    area: Float[Tensor, " nodes"]


def area_in_square(centre: Float[Tensor, "*batch 2"], radius: Float[Tensor, "*batch"], plane: Span) -> Tensor:
    r"""The area of circles' parts in a square that holds their centres, (*batch).

    The circle, less what lies beyond each side, plus what was taken off twice, beyond two sides at a corner.

    Examples:
        >>> import torch
        >>> area_in_square(torch.tensor([1.0, 1.0]), torch.tensor(9.0), (0.0, 4.0)).round()  # the whole square
        tensor(16.)
        >>> area_in_square(torch.tensor([0.0, 2.0]), torch.tensor(1.0), (0.0, 4.0))  # half of the circle
        tensor(1.5708)
    """
    low, high = (centre - plane[0]), (plane[1] - centre)
    r = radius[..., None]
    # Distances to the four sides, cut to the radius, beyond which nothing is.
    left, right = low.clamp(max=r), high.clamp(max=r)

    def segment(d: Tensor) -> Tensor:
        return r.square() * torch.acos(d / r) - d * (r.square() - d.square()).clamp(min=0).sqrt()

    def corner(dx: Tensor, dy: Tensor) -> Tensor:
        top = (radius.square() - dy.square()).clamp(min=0).sqrt()
        rest = (radius.square() - dx.square()).clamp(min=0).sqrt()
        sector = radius.square() * (torch.asin((top / radius).clamp(max=1)) - torch.asin((dx / radius).clamp(max=1)))
        found = (sector - top * dy - dx * rest) / 2 + dx * dy
        return torch.where(dx.square() + dy.square() < radius.square(), found, 0.0)

    sides = (segment(left) + segment(right)).sum(-1)
    pairs = [(x, y) for x in (low[..., 0], high[..., 0]) for y in (low[..., 1], high[..., 1])]
    corners = torch.stack([corner(x, y) for x, y in pairs]).sum(0)
    return math.pi * radius.square() - sides + corners


def circle_learner(
    plane: Span,
    centres: Span,
    radii: Span,
    *,
    radial: bool,
    balanced: bool,
    nodes: tuple[int, int, int] = NODES,
    kept: int = KEPT,
) -> MetaLearner[Params, Circles]:
    """The learner that knows how circles, support points and queries are drawn.

    Args:
        plane: the side of the square, from and to.
        centres: the range of both coordinates of a centre.
        radii: the range of the radius.
        radial: whether support points are uniform in their distance from the centre, or in the circle.
        balanced: whether every other query is of the circle, or all are uniform in the square.
        nodes: of the centre's distance and direction, and of the radius.
        kept: circles that the posterior is made of.
    """
    side = plane[1] - plane[0]

    def condition(support: Batch) -> Circles:
        x = support.x.to(precise(support.x))
        present = x.new_ones(len(x)) if isinstance(support.mask, tuple) else support.mask.to(x)
        count = present.sum()
        middle = torch.stack([masked_mean(column, present) for column in x.unbind(1)])
        middle = torch.where(count > 0, middle, (centres[0] + centres[1]) / 2)
        log_distance = midpoints((math.log(NEAREST * side), math.log(math.sqrt(2) * side)), nodes[0], x)
        angle = midpoints((0.0, 2 * math.pi), nodes[1], x)
        distance = log_distance.exp()[:, None, None]
        steps = distance * torch.stack([angle.cos(), angle.sin()], -1)
        centre = (middle + steps).flatten(0, 1)
        # From the farthest point to the largest radius; nodes lie closest where the circle is hardly larger than that,
        # since a posterior of many points falls off from there as a power of the radius.
        gaps = (centre[:, None] - x).norm(dim=-1)
        least = (gaps * present).amax(1).clamp(min=radii[0])
        ratio = (radii[1] / least).log()
        place = midpoints((0.0, 1.0), nodes[2], x)
        radius = least[:, None] * (ratio[:, None] * place.square()).exp()
        inside = ((centre >= centres[0]) & (centre <= centres[1])).all(-1) & (ratio > 0)
        volume = (2 * log_distance)[:, None].expand(-1, nodes[1]).flatten() + ratio.clamp(min=1e-9).log()
        volume = torch.where(inside, volume, -torch.inf)[:, None] + radius.log() + place.log()
        area = area_in_square(centre.clamp(*plane)[:, None].expand(-1, nodes[2], 2), radius, plane)
        log_weights = volume - count * (radius if radial else area.clamp(min=1e-12)).log()
        if radial:
            log_weights = log_weights - (gaps.clamp(min=NEAREST**2).log() * present).sum(1)[:, None]
        chosen = equal_mass(log_weights.flatten(), kept)
        return Circles(centre[chosen // nodes[2]], radius.flatten()[chosen], area.flatten()[chosen])

    def predict(circles: Circles, x: Tensor) -> Categorical:
        at = x.to(circles.radius.dtype)
        within = ((at[:, None] - circles.centre).norm(dim=-1) <= circles.radius).to(at)
        of_circle = 1 / circles.area if balanced else torch.zeros_like(circles.area)
        positive = (within * (of_circle + 1 / side**2)).mean(1)
        negative = (1 - within).mean(1) / side**2
        # A place that no node, or every node, holds: half a node more decides.
        least = 0.5 / kept / side**2
        return Categorical(torch.stack([negative + least, positive + least], -1).log().to(x.dtype)[None])

    return untrained(condition, predict, footprint=16 * (math.prod(nodes) + 100 * kept))
