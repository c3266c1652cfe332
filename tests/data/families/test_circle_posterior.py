"""The exact prediction of circles, against drawing circles from their prior."""

import math

import pytest
import torch

from metafunc import tree
from metafunc.bayes.untrained import log_density
from metafunc.data import circles, generator_for
from metafunc.data.families.circle_posterior import NODES, area_in_square, circle_learner
from metafunc.data.families.circles import CENTRE, PLANE
from metafunc.types import Batch

META = {"nothing": torch.empty(0)}
PROTOCOLS = {
    "radial": {},
    "area": {"support": "area", "queries": "balanced", "radius": (0.1, 2.0)},
    "mixed": {"support": "area", "radius": (0.05, 1.0)},
}
every_protocol = pytest.mark.parametrize("name", PROTOCOLS)


def protocol(name, num_shots=3):
    family = circles(num_shots=num_shots, **PROTOCOLS[name])
    return family, family.optima["test"]


def scored(learner, tasks):
    def of_task(task):
        return -log_density(learner.predict(learner.adapt(META, task.support), task.query.x), task.query.y).mean()

    return torch.vmap(of_task, chunk_size=5)(tasks)


def drawn(number, low=0.1, high=2.0):
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(number, 3, generator=generator, dtype=torch.float64)
    return 1 + 3 * u[:, :2], low + (high - low) * u[:, 2]


def test_areas_are_those_of_many_points():
    centre, radius = drawn(200)
    side = (torch.arange(1000, dtype=torch.float64) + 0.5) / 200
    found = area_in_square(centre, radius, PLANE)
    for c, r, area in zip(centre, radius, found, strict=True):
        half = (r**2 - (side - c[0]).square()).clamp(min=0).sqrt()
        chords = ((c[1] + half).clamp(max=5) - (c[1] - half).clamp(min=0)).clamp(min=0)
        assert area == pytest.approx((chords.sum() / 200).item(), abs=2e-3)


@every_protocol
def test_agrees_with_circles_drawn_from_the_prior(name):
    family, exact = protocol(name)
    centre, radius = drawn(600_000, *family.info["radius"])
    area = area_in_square(centre, radius, PLANE)
    balanced = family.info["queries"] == "balanced"
    for task in tree.unstack(family.test(generator_for(0, "test", 0), 3)):
        x, at = task.support.x.double(), task.query.x.double()
        gaps = torch.stack([(row - centre).norm(dim=1) for row in x])
        holds = (gaps <= radius).all(0)
        # Only circles that hold the points count; there are enough of them.
        c, r, a = centre[holds], radius[holds], area[holds]
        weight = a**-3.0 if family.info["support"] == "area" else 1 / (r**3 * gaps[:, holds].prod(0))
        weight = weight / weight.sum()
        assert 1 / weight.square().sum() > 100
        within = (at[:, None] - c).norm(dim=-1) <= r
        positive = (within * weight * (1 / a * balanced + 1 / 25)).sum(1)
        negative = (~within * weight).sum(1) / 25
        expected = positive / (positive + negative)
        found = exact.predict(exact.adapt(META, task.support), task.query.x).logits[0].softmax(-1)[:, 1].double()
        assert (found - expected).abs().mean() < 0.01
        assert (found - expected).abs().max() < 0.08


@every_protocol
def test_halving_the_grid_changes_little(name):
    """A grid that is much too coarse, the wrong twin, does not pass."""
    family = circles(num_shots=10, num_test_queries=30, **PROTOCOLS[name])
    tasks = family.test(generator_for(0, "test", 0), 100)
    usual = scored(family.optima["test"], tasks)
    known = {"radial": family.info["support"] == "radial", "balanced": family.info["queries"] == "balanced"}

    def change(part):
        nodes = tuple(number // part for number in NODES)
        return scored(circle_learner(PLANE, CENTRE, family.info["radius"], **known, nodes=nodes), tasks) - usual

    assert abs(change(2).mean()) < 1e-3
    assert change(8).abs().mean() > 1e-3


@every_protocol
def test_predicted_probabilities_come_true(name):
    family, exact = protocol(name)
    tasks = family.test(generator_for(0, "test", 0), 100)

    def of_task(task):
        found = exact.predict(exact.adapt(META, task.support), task.query.x).logits[0].softmax(-1)[:, 1]
        return found.mean() - task.query.y.float().mean(), (found * (task.query.y - found)).mean()

    for surplus in torch.vmap(of_task, chunk_size=10)(tasks):
        assert abs(surplus.mean()) < 3.3 * surplus.std() / math.sqrt(100)


def test_queries_as_likely_everywhere_would_be_overrated():
    """The wrong twin: one who forgets that half of the queries are of the circle."""
    family, exact = protocol("area")
    tasks = family.test(generator_for(0, "test", 0), 100)

    def forgetful(task):
        nodes = exact.adapt(META, task.support)
        within = (task.query.x.double()[:, None] - nodes.centre).norm(dim=-1) <= nodes.radius
        share = within.double().mean(1).clamp(1e-3, 1 - 1e-3)
        return -torch.where(task.query.y == 1, share, 1 - share).log().mean()

    wrong = torch.vmap(forgetful, chunk_size=10)(tasks)
    assert (wrong - scored(exact, tasks)).mean() > 0.02


def test_points_taken_for_uniform_in_the_circle_would_mislead():
    """The wrong twin of radial points."""
    family, exact = protocol("radial", 10)
    tasks = family.test(generator_for(0, "test", 0), 100)
    wrong = circle_learner(PLANE, CENTRE, family.info["radius"], radial=False, balanced=False)
    worse = scored(wrong, tasks) - scored(exact, tasks)
    assert worse.mean() > 3 * worse.std() / 10


@every_protocol
def test_masked_rows_are_absent_rows(name):
    family, exact = protocol(name)
    task = tree.at(family.test(generator_for(0, "test", 0), 1), 0)
    masked = Batch(
        torch.cat([task.support.x, torch.tensor([[4.9, 0.1]])]),
        torch.cat([task.support.y, torch.tensor([1])]),
        torch.tensor([1.0, 1, 1, 0]),
    )
    found, alone = (exact.predict(exact.adapt(META, s), task.query.x).logits for s in (masked, task.support))
    assert torch.allclose(found, alone)
