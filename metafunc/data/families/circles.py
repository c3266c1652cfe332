r"""Circles in the plane, known by points inside alone: PLATIPUS's ambiguous classification.

A point of $[0, 5]^2$ is positive if it lies in a circle of centre $U[1, 4]^2$ and radius $U[0.1, 2]$. The support holds
positive points only, so that many circles explain it.

Reference: Finn, Xu, Levine (2018), "Probabilistic model-agnostic meta-learning", §6.1. The text does not state how the
points are spread; here positive ones are uniform in the circle, and a query is one of these or, as often, uniform in
the square.
"""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc.checks import at_least
from metafunc.data.families.circle_posterior import circle_learner
from metafunc.data.sampling import between
from metafunc.data.shots import Shots, check_shots, most, ragged
from metafunc.recipe import built
from metafunc.types import Batch, Sampler, Task, TaskFamily

PLANE = (0.0, 5.0)
CENTRE = (1.0, 4.0)
RADIUS = (0.1, 2.0)
NUM_TRIES = 16
"""A point of a circle lies in the square with probability .6 at least (centre in a corner, largest radius), so that 16
tries fail once in two million; the centre, which is always inside, is taken then."""


@built
def circles(*, num_shots: Shots = 10, num_queries: int = 50, num_test_queries: int = 100) -> TaskFamily:
    """Tell the points of a circle (class 1) from those outside (class 0) after seeing points inside only.

    Args:
        num_shots: support points per task, a number or a range, all of them positive.
        num_queries: query points per task in meta-training; about half are positive.
        num_test_queries: query points per task in validation and meta-test.

    Returns:
        A family with inputs (tasks, points, 2) and labels (tasks, points).

    Raises:
        ValueError: a count is below 1, or a range is empty.

    Example:
        >>> import torch
        >>> tasks = circles().train(torch.Generator().manual_seed(0), 25)
        >>> tasks.support.x.shape, tasks.support.y.unique().tolist(), tasks.query.y.unique().tolist()
        (torch.Size([25, 10, 2]), [1], [0, 1])
    """
    check_shots(0, num_shots=num_shots)
    at_least(1, num_queries=num_queries, num_test_queries=num_test_queries)
    test = _draws(num_shots, num_test_queries)
    return TaskFamily(
        name="circles",
        kind="classification",
        input_shape=(2,),
        num_outputs=2,
        train=_draws(num_shots, num_queries),
        validation=test,
        test=test,
        info={"plane": PLANE, "centre": CENTRE, "radius": RADIUS},
        optima=dict.fromkeys(("train", "validation", "test"), circle_learner(PLANE, CENTRE, RADIUS)),
    )


def width(num_points: int) -> int:
    """How many uniform numbers a task takes: the first three are its circle."""
    return 3 + num_points * (2 * NUM_TRIES + 3)


def circle(uniforms: Float64[Tensor, "*batch 3"]) -> tuple[Tensor, Tensor]:
    """A circle's centre (*batch, 2) and radius (*batch)."""
    return between(uniforms[..., :2], *CENTRE), between(uniforms[..., 2], *RADIUS)


def _draws(shots: Shots, num_queries: int) -> Sampler:
    num_shots = most(shots)
    num_points = num_shots + num_queries
    tries = 2 * NUM_TRIES

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        centre, radius = circle(uniforms[:, :3])
        of_points = uniforms[:, 3:].reshape(len(uniforms), num_points, tries + 3)
        inside = _inside(of_points[..., :tries], centre[:, None, None], radius[:, None, None])
        anywhere = between(of_points[..., tries : tries + 2], *PLANE)
        positive = (of_points[..., -1:] < 0.5) | (torch.arange(num_points)[:, None] < num_shots)
        x = torch.where(positive, inside, anywhere)
        # The label is the place's, but rounding must not make a support point on the very boundary a negative one.
        y = ((x - centre[:, None]).norm(dim=-1) <= radius[:, None]) | positive[..., 0]
        x, y = x.float(), y.long()
        return Task(Batch(x[:, :num_shots], y[:, :num_shots]), Batch(x[:, num_shots:], y[:, num_shots:]))

    return ragged(width(num_points), draw, shots)


def _inside(uniforms: Tensor, centre: Tensor, radius: Tensor) -> Float64[Tensor, "t n 2"]:
    """The first of some points, uniform in the circle, that lies in the square; the centre if none does."""
    angle, area = uniforms.reshape(*uniforms.shape[:-1], NUM_TRIES, 2).unbind(-1)
    distance = radius * area.sqrt()
    steps = torch.stack([distance * torch.cos(2 * math.pi * angle), distance * torch.sin(2 * math.pi * angle)], -1)
    points = centre + steps
    fits = ((points >= PLANE[0]) & (points < PLANE[1])).all(-1)
    first = fits.long().argmax(-1)[..., None, None].expand(*fits.shape[:-1], 1, 2)
    return torch.where(fits.any(-1)[..., None], points.gather(-2, first)[..., 0, :], centre[..., 0, :])
