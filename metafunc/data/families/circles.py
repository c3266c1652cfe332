r"""Circles in the plane, known by points inside alone: PLATIPUS's ambiguous classification.

A point of $[0, 5]^2$ is positive if it lies in a circle of centre $U[1, 4]^2$ whose diameter is $U[.1, 2]$. The support
holds positive points only, so that many circles explain it. As the authors draw them, a support point's distance from
the centre is uniform up to the radius, and queries are uniform in the square. The text says none of this, and two other
readings are settings: support points uniform in the circle, and queries of which every other one is drawn like those.
A learner of such balanced queries learns their odds, which are not those of the square, and calls too much positive.

References:
    Finn, Xu, Levine (2018), "Probabilistic model-agnostic meta-learning", §6.1.
"""

import math
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc.checks import above, at_least, one_of
from metafunc.data.families.circle_posterior import circle_learner
from metafunc.data.sampling import between
from metafunc.data.shots import Shots, check_shots, most, ragged
from metafunc.recipe import built
from metafunc.types import Batch, Sampler, Task, TaskFamily

SupportOf: TypeAlias = Literal["radial", "area"]
QueriesOf: TypeAlias = Literal["plane", "balanced"]
Range: TypeAlias = tuple[float, float]

PLANE = (0.0, 5.0)
CENTRE = (1.0, 4.0)
LARGEST = {"radial": 1.0, "area": 2.0}
"""The largest radius: radial points have to find the whole circle in the square; of an area they may be drawn again."""
NUM_TRIES = 16
"""A point of a circle lies in the square with probability .6 at least (centre in a corner, largest radius), so that 16
tries fail once in two million; the centre, which is always inside, is taken then."""


@built
def circles(
    *,
    num_shots: Shots = 10,
    num_queries: int = 50,
    num_test_queries: int = 100,
    radius: Range = (0.05, 1.0),
    support: SupportOf = "radial",
    queries: QueriesOf = "plane",
) -> TaskFamily:
    """Tell the points of a circle (class 1) from those outside (class 0) after seeing points inside only.

    Args:
        num_shots: support points per task, a number or a range, all of them positive.
        num_queries: query points per task in meta-training.
        num_test_queries: query points per task in validation and meta-test.
        radius: the range of a circle's radius, uniform.
        support: support points are "radial", uniform in their distance from the centre, or uniform in the circle's
            "area".
        queries: query points are uniform in the "plane", or "balanced": with probability 1/2 uniform in the circle.

    Returns:
        A family with inputs (tasks, points, 2) and labels (tasks, points).

    Raises:
        ValueError: a count is below 1, a range is empty, a name is unknown, or circles are too large for the square.

    Examples:
        >>> import torch
        >>> tasks = circles().train(torch.Generator().manual_seed(0), 25)
        >>> tasks.support.x.shape, tasks.support.y.unique().tolist(), tasks.query.y.unique().tolist()
        (torch.Size([25, 10, 2]), [1], [0, 1])
    """
    check_shots(0, num_shots=num_shots)
    at_least(1, num_queries=num_queries, num_test_queries=num_test_queries)
    one_of(support, LARGEST, "support")
    one_of(queries, ("plane", "balanced"), "queries")
    above(0, smallest_radius=radius[0])
    if not radius[0] < radius[1] <= LARGEST[support]:
        raise ValueError(
            f"radius is {radius[0]} to {radius[1]}; with support={support!r} it needs two numbers, the first smaller, "
            f"the second at most {LARGEST[support]}."
        )
    test = _draws(num_shots, num_test_queries, radius, support, queries)
    exact = circle_learner(PLANE, CENTRE, radius, radial=support == "radial", balanced=queries == "balanced")
    return TaskFamily(
        name="circles",
        kind="classification",
        input_shape=(2,),
        num_outputs=2,
        train=_draws(num_shots, num_queries, radius, support, queries),
        validation=test,
        test=test,
        info={"plane": PLANE, "centre": CENTRE, "radius": radius, "support": support, "queries": queries},
        optima=dict.fromkeys(("train", "validation", "test"), exact),
    )


def width(num_points: int) -> int:
    """How many uniform numbers a task takes: the first three are its circle."""
    return 3 + num_points * (2 * NUM_TRIES + 3)


def circle(uniforms: Float64[Tensor, "*batch 3"], radius: Range) -> tuple[Tensor, Tensor]:
    """A circle's centre (*batch, 2) and radius (*batch)."""
    return between(uniforms[..., :2], *CENTRE), between(uniforms[..., 2], *radius)


def _draws(shots: Shots, num_queries: int, radii: Range, support: SupportOf, queries: QueriesOf) -> Sampler:
    num_shots = most(shots)
    num_points = num_shots + num_queries
    tries = 2 * NUM_TRIES

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        centre, radius = circle(uniforms[:, :3], radii)
        of_points = uniforms[:, 3:].reshape(len(uniforms), num_points, tries + 3)
        of_support = torch.arange(num_points)[:, None] < num_shots
        radial = of_support if support == "radial" else torch.zeros_like(of_support)
        inside = _inside(of_points[..., :tries], centre[:, None, None], radius[:, None, None], radial)
        anywhere = between(of_points[..., tries : tries + 2], *PLANE)
        positive = of_support | (of_points[..., -1:] < 0.5) if queries == "balanced" else of_support
        x = torch.where(positive, inside, anywhere)
        # The label is the place's, but rounding must not make a support point on the very boundary a negative one.
        y = ((x - centre[:, None]).norm(dim=-1) <= radius[:, None]) | positive[..., 0]
        x, y = x.float(), y.long()
        return Task(Batch(x[:, :num_shots], y[:, :num_shots]), Batch(x[:, num_shots:], y[:, num_shots:]))

    return ragged(width(num_points), draw, shots)


def _inside(uniforms: Tensor, centre: Tensor, radius: Tensor, radial: Tensor) -> Float64[Tensor, "t n 2"]:
    """The first of some points of the circle, radial or uniform, that lies in the square; the centre if none does."""
    angle, share = uniforms.reshape(*uniforms.shape[:-1], NUM_TRIES, 2).unbind(-1)
    distance = radius * torch.where(radial, share, share.sqrt())
    steps = torch.stack([distance * torch.cos(2 * math.pi * angle), distance * torch.sin(2 * math.pi * angle)], -1)
    points = centre + steps
    fits = ((points >= PLANE[0]) & (points < PLANE[1])).all(-1)
    first = fits.long().argmax(-1)[..., None, None].expand(*fits.shape[:-1], 1, 2)
    return torch.where(fits.any(-1)[..., None], points.gather(-2, first)[..., 0, :], centre[..., 0, :])
