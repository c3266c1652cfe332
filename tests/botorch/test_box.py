"""The search of a box: coordinates, units, acquisitions, and what is pending."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc.bayes.untrained import untrained
from metafunc.types import Batch, MetaLearner, Normal

pytest.importorskip("botorch")
META = {"nothing": torch.zeros(())}
MEAN, SCALE = 0.3, 0.2
BEST = 0.01
"""Where on an axis from .001 to 10 the target is best."""


def in_units(x: Tensor) -> Tensor:
    return (x - MEAN) / SCALE


def peaked(*places: float) -> MetaLearner[Any, Any]:
    """A particle for each place, which knows that the target is best there, in inputs of its own units."""

    def predict(support: Batch, x: Tensor) -> Normal:
        raw = (x * SCALE + MEAN).clamp(min=1e-6)
        loc = torch.stack([1 - (raw / place).log().square() for place in places])
        return Normal(loc, x.new_full((), 0.01))

    return untrained(lambda support: support, predict)


def known(*x: float) -> Batch:
    rows = torch.tensor(x).reshape(-1, 1)
    return Batch(in_units(rows), 1 - (rows / BEST).log().square(), torch.ones(len(rows)))


def axes(**settings: Any) -> Any:
    from metafunc.botorch import Axis

    return [Axis(**{"low": 1e-3, "high": 10.0, "log": True, "mean": MEAN, "scale": SCALE, **settings})]


def found(learner: MetaLearner[Any, Any], rows: Batch, box: Any, **settings: Any) -> Any:
    from metafunc.botorch import propose

    return propose(learner, META, rows, box, **settings)


@pytest.mark.parametrize("log", [True, False])
def test_coordinates_are_even_on_the_axis_or_on_its_logarithm(log: bool) -> None:
    (axis,) = axes(log=log)
    u = torch.tensor([-0.1, 0.0, 0.5, 1.0], dtype=torch.float64)
    assert axis.value(u)[1:].tolist() == pytest.approx([1e-3, 0.1 if log else 5.0005, 10.0])
    assert axis.coordinate(axis.value(u)).tolist() == pytest.approx(u.tolist())


@pytest.mark.parametrize("acquisition", ["ei", "ucb"])
def test_the_best_place_is_found_in_the_units_of_the_axis(acquisition: str) -> None:
    got = found(peaked(BEST), known(1.0, 0.2), axes(), acquisition=acquisition)
    assert got.values.item() == pytest.approx(BEST, rel=0.02)
    assert got.inputs.item() == pytest.approx(in_units(got.values).item())
    worst = found(peaked(BEST), known(1.0, 0.2), axes(), acquisition=acquisition, sign=-1)
    assert worst.values.item() == pytest.approx(10.0, rel=1e-3)
    plain = found(peaked(BEST), known(1.0, 0.2), axes(log=False, mean=0.0, scale=1.0), acquisition=acquisition)
    assert plain.values.item() != pytest.approx(BEST, rel=0.5), "the wrong twin, which forgets the learner's units"


def test_points_of_one_proposal_are_apart_and_none_needs_an_evaluation() -> None:
    from metafunc import algorithms, likelihood, nn

    learner = algorithms.dkt(nn.mlp((1,), 2, hidden=(8,)), likelihood.gaussian(), num_features=2, kernel="rbf")
    meta = learner.init(torch.Generator().manual_seed(0))
    from metafunc.botorch import propose

    before = torch.random.get_rng_state()
    two, again = (propose(learner, meta, known(), axes(log=False), num_points=2) for _ in range(2))
    assert torch.equal(two.values, again.values)
    assert torch.equal(before, torch.random.get_rng_state()), "the global state is put back"
    assert (two.values[0] - two.values[1]).abs().item() > 0.5


def unsure_far_away() -> MetaLearner[Any, Any]:
    """Points are independent; the deviation at one is its distance from the nearest row."""

    def predict(support: Batch, x: Tensor) -> Normal:
        rows = torch.where(support.mask[:, None] > 0, support.x, 1e3)
        return Normal(torch.zeros_like(x)[None], (0.01 + torch.cdist(x, rows).amin(1, keepdim=True))[None])

    return untrained(lambda support: support, predict)


@pytest.mark.parametrize("acquisition", ["ei", "ucb", "thompson", "random"])
def test_a_learner_that_is_never_less_sure_still_has_no_point_twice(acquisition: str) -> None:
    got = found(peaked(BEST), known(1.0, 0.2), axes(), acquisition=acquisition, num_points=3)
    u = axes()[0].coordinate(got.values[:, 0])
    assert (u[:, None] - u).abs().fill_diagonal_(1.0).min() >= 0.05
    if acquisition != "random":
        at = axes()[0].coordinate(torch.tensor(BEST))
        assert ((u - at).abs() < 0.15).all(), "the best of those that are left"
        assert u[0].item() == pytest.approx(at.item(), abs=0.01)


def test_a_point_counts_as_evaluated_for_the_next() -> None:
    rows = Batch(torch.tensor([[-1.0], [0.0]]), torch.zeros(2, 1), torch.ones(2))
    got = found(unsure_far_away(), rows, axes(low=-1.0, high=2.0, log=False, mean=0.0, scale=1.0), num_points=2)
    assert got.values[0].item() == pytest.approx(2.0)
    assert got.values[1].item() == pytest.approx(1.0, abs=0.05), "halfway between, and not as near as is allowed"


def test_where_every_point_is_as_good_nothing_is_warned_of() -> None:
    def nowhere_better(support: Batch, x: Tensor) -> Normal:
        return Normal(0 * x[None], 1 + 0 * x[None])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = found(untrained(lambda support: support, nowhere_better), known(), axes(), num_points=2)
    assert got.values.isfinite().all()


def test_thompson_takes_the_best_place_of_one_function() -> None:
    places = {0.01: 0, 1.0: 0}
    for seed in range(8):
        got = found(peaked(*places), known(0.1), axes(), acquisition="thompson", seed=seed).values.item()
        near = [place for place in places if abs(got / place - 1) < 0.2]
        assert near, f"{got} is best of neither function: rows were not drawn together"
        places[near[0]] += 1
    assert all(places.values()), "both functions come up"


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="2 axes"):
        found(peaked(BEST), known(1.0), axes() * 2)
    with pytest.raises(ValueError, match="not positive on a logarithmic axis"):
        found(peaked(BEST), Batch(in_units(torch.tensor([[-1.0]])), torch.ones(1, 1)), axes())
    with pytest.raises(ValueError, match="acquisition"):
        found(peaked(BEST), known(1.0), axes(), acquisition="pi")


def test_where_no_point_is_apart_the_farthest_is_taken() -> None:
    from metafunc.botorch import box

    found, points = torch.tensor([[0.5]]), torch.tensor([[0.45], [0.58], [0.5]])
    assert box._apart(points, found, 0.06).equal(points[1:2])
    assert box._apart(points, found, 0.5).equal(points[1:2])
    assert len(box._apart(points, found[:0], 0.5)) == 3
