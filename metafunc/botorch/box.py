r"""Bayesian optimisation of a continuous box: botorch maximises an acquisition of an adapted learner.

The box is searched in coordinates u of [0, 1], which lie evenly on each axis, or evenly in its logarithm,

$$x_j = l_j + u_j (h_j - l_j), \qquad x_j = l_j (h_j / l_j)^{u_j}.$$

Points of one proposal are chosen one after the other, and each is then taken to have turned out as predicted: the
learner adapts to it as well, and is surer near it (Ginsbourger et al., 2010; that needs no joint prediction). As
observations have noise, and some learners are never surer, the same point can still be the most promising once more.
So no coordinate box of half side

$$r = \min\left(\tfrac1{20}, \tfrac12 (2n)^{-1/d}\right)$$

around one of n points in d axes has another; these boxes take at most half of the space. Where nothing has been
evaluated, an improvement counts from the largest mean of a spread of points.

References:
    Ginsbourger, Le Riche and Carraro (2010), "Kriging Is Well-Suited to Parallelize Optimization".
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.logei import qLogExpectedImprovement
from botorch.acquisition.monte_carlo import qUpperConfidenceBound
from botorch.acquisition.objective import LinearMCObjective
from botorch.exceptions.warnings import OptimizationWarning
from botorch.generation.gen import gen_candidates_scipy
from botorch.generation.sampling import MaxPosteriorSampling
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.sampling import manual_seed
from jaxtyping import Float64
from torch import Tensor
from torch.quasirandom import SobolEngine

from metafunc.botorch.model import MetaModel
from metafunc.checks import at_least, one_of
from metafunc.evaluation.sequential.acquisition import ACQUISITIONS, KAPPA
from metafunc.types import Batch, MetaLearner

RESTARTS, SPREAD, DRAWS = 4, 128, 256
"""Starts of an optimisation, points that these are the best of, and draws that an acquisition is the mean of."""

APART = 0.05
"""The share of some side of the box by which points of one proposal differ, unless they are many."""


@dataclass(frozen=True)
class Axis:
    """One side of a box.

    Args:
        low: the least value.
        high: the greatest.
        log: whether its logarithm is what is spread evenly.
        mean: what the learner's inputs are centred by.
        scale: what they are divided by then.
    """

    low: float
    high: float
    log: bool = False
    mean: float = 0.0
    scale: float = 1.0

    def value(self, u: Tensor) -> Tensor:
        """The value at a coordinate."""
        return self.low * (self.high / self.low) ** u if self.log else self.low + u * (self.high - self.low)

    def coordinate(self, value: Tensor) -> Tensor:
        """The inverse of `value`; beyond 0 and 1 outside the box."""
        low, high, at = (torch.as_tensor(each, dtype=torch.float64) for each in (self.low, self.high, value))
        if self.log:
            low, high, at = low.log(), high.log(), at.log()
        return (at - low) / (high - low)


class Proposal(NamedTuple):
    """Points to try next.

    Args:
        values: in the units of the axes.
        inputs: the same as the learner takes them.
    """

    values: Float64[Tensor, "points axes"]
    inputs: Float64[Tensor, "points axes"]


def propose(
    learner: MetaLearner[Any, Any],
    meta: Any,
    known: Batch,
    box: Sequence[Axis],
    *,
    acquisition: str = "ei",
    sign: int = 1,
    num_points: int = 1,
    noise_scale: float | None = None,
    seed: int = 0,
) -> Proposal:
    """Where in a box to evaluate a task's target next.

    Args:
        learner: a regression's, of one target.
        meta: its meta-parameters.
        known: what has been evaluated, in the learner's units: inputs (n, axes), targets (n, 1); there may be no row.
        box: an axis for each input, in their order.
        acquisition: of `ACQUISITIONS`. `ei` is botorch's logarithm of the expected improvement, and `thompson` takes
            the best of a spread of points under one joint draw for each point that is proposed.
        sign: 1 where large targets are good, -1 where small ones are.
        num_points: how many points to propose; on some axis any two differ by r (see the module) or more.
        noise_scale: the observations' standard deviation, in the predictions' `unit`, if there is no noise model.
        seed: of all that is random.

    Returns:
        The points, the first one first.

    Raises:
        ValueError: there are not as many axes as inputs, or a row outside the domain of a logarithm has been evaluated.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> from metafunc.botorch import Axis, propose
        >>> learner = algorithms.dkt(nn.mlp((1,), 2, hidden=(8,)), likelihood.gaussian(), num_features=2, kernel="rbf")
        >>> x = torch.tensor([[0.1], [0.5], [1.0]])
        >>> known, meta = Batch(x, -x.square()), learner.init(torch.Generator().manual_seed(0))
        >>> found = propose(learner, meta, known, [Axis(1e-3, 1.0, log=True)], num_points=2)
        >>> found.values.shape, bool(((found.values >= 1e-3) & (found.values <= 1)).all())
        (torch.Size([2, 1]), True)
    """
    one_of(acquisition, ACQUISITIONS, "acquisition")
    one_of(str(sign), ("1", "-1"), "sign")
    at_least(1, num_points=num_points)
    if known.x.shape[1] != len(box):
        raise ValueError(f"The box has {len(box)} axes, and the inputs are {known.x.shape[1]}: give one for each.")
    mean, scale = (torch.tensor([getattr(axis, of) for axis in box]).double() for of in ("mean", "scale"))

    def values(u: Tensor) -> Tensor:
        return torch.stack([axis.value(part) for axis, part in zip(box, u.unbind(-1), strict=True)], -1)

    def inputs(u: Tensor) -> Tensor:
        return (values(u) - mean) / scale

    raw = known.x.double() * scale + mean
    u = torch.stack([axis.coordinate(part) for axis, part in zip(box, raw.unbind(-1), strict=True)], -1)
    if not bool(u.isfinite().all()):
        raise ValueError("A row that was evaluated is not positive on a logarithmic axis: give that axis without log.")
    engine = SobolEngine(len(box), scramble=True, seed=seed)  # type: ignore[no-untyped-call]  # torch has no types here
    spread = engine.draw(max(SPREAD, 8 * num_points), dtype=torch.float64)
    of_box = _of(learner, inputs)

    def model(u: Tensor, y: Tensor) -> MetaModel:
        ensemble = acquisition == "thompson"
        return MetaModel(of_box, meta, u, y, noise_scale=noise_scale, ensemble=ensemble, seed=seed)

    with manual_seed(seed):  # botorch draws from torch's global state, which is put back
        found = _best(model, u, known.y.double(), spread, acquisition, sign, num_points, seed)
    return Proposal(values(found), inputs(found))


def _of(learner: MetaLearner[Any, Any], inputs: Callable[[Tensor], Tensor]) -> MetaLearner[Any, Any]:
    """The learner of coordinates in the box."""

    def moved(rows: Batch) -> Batch:
        return rows._replace(x=inputs(rows.x))

    own = learner.joint
    return replace(
        learner,
        adapt=lambda meta, support: learner.adapt(meta, moved(support)),
        predict=lambda params, u: learner.predict(params, inputs(u)),
        joint=None if own is None else lambda params, query: own(params, moved(query)),
    )


def _best(
    model_of: Callable[[Tensor, Tensor], MetaModel],
    u: Tensor,
    y: Tensor,
    spread: Tensor,
    acquisition: str,
    sign: int,
    num_points: int,
    seed: int,
) -> Float64[Tensor, "points axes"]:
    """The points of the unit box that an acquisition likes best, one after the other."""
    model = model_of(u, y)
    best = (sign * (y if len(y) else _mean(model, spread))).amax()
    apart = min(APART, 0.5 * (2 * num_points) ** (-1 / spread.shape[1]))
    found = spread[:0]
    for _ in range(num_points):
        away = _apart(spread, found, apart)
        if acquisition == "random":
            point = away[:1]
        elif acquisition == "thompson":
            with torch.no_grad():
                point = MaxPosteriorSampling(model, objective=_signed(sign))(away, num_samples=1)
        else:
            point = _maximise(_acquire(model, acquisition, sign, best, seed), away, found, apart)
            expected = _mean(model, point)
            u, y, best = torch.cat([u, point]), torch.cat([y, expected]), best.maximum((sign * expected).amax())
            model = model_of(u, y)
        found = torch.cat([found, point])
    return found


def _acquire(model: MetaModel, acquisition: str, sign: int, best: Tensor, seed: int) -> AcquisitionFunction:
    sampler, objective = SobolQMCNormalSampler(torch.Size([DRAWS]), seed=seed), _signed(sign)
    if acquisition == "ucb":
        return qUpperConfidenceBound(model, KAPPA**2, sampler=sampler, objective=objective)
    return qLogExpectedImprovement(model, float(best), sampler=sampler, objective=objective)


def _maximise(acquire: AcquisitionFunction, spread: Tensor, found: Tensor, apart: float) -> Float64[Tensor, "1 axes"]:
    """The best point apart from those found: where gradients lead from the best of a spread, or one of these."""
    with torch.no_grad():
        starts = spread[acquire(spread[:, None]).topk(min(RESTARTS, len(spread))).indices]
    with warnings.catch_warnings(record=True) as raised:
        ends, _ = gen_candidates_scipy(starts[:, None], acquire, 0.0, 1.0)
    # A line search that ends at the limit of rounding does no harm: its point is no worse than its start, or not taken.
    for each in raised:
        if not issubclass(each.category, OptimizationWarning):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    points = torch.cat([ends[:, 0].detach(), starts])
    points = _apart(points, found, apart)
    with torch.no_grad():
        return points[acquire(points[:, None]).argmax()][None]


def _apart(points: Tensor, found: Tensor, least: float) -> Tensor:
    """The points that are so far from those found; the farthest, where there are none."""
    far = _distance(points, found)
    return points[far >= least] if bool((far >= least).any()) else points[far.argmax()][None]


def _distance(points: Tensor, found: Tensor) -> Tensor:
    """How far each point is from the nearest of those found, by the axis on which they differ most."""
    if not len(found):
        return points.new_full((len(points),), torch.inf)
    return torch.cdist(points, found, p=torch.inf).amin(1)


def _mean(model: MetaModel, points: Tensor) -> Float64[Tensor, "points 1"]:
    with torch.no_grad():
        found: Any = model.posterior(points[:, None])
        mean: Tensor = found.mean
    return mean[:, 0]


def _signed(sign: int) -> LinearMCObjective:
    return LinearMCObjective(torch.tensor([float(sign)], dtype=torch.float64))
