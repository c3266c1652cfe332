r"""Bayesian optimisation of a continuous box: botorch maximises an acquisition of an adapted learner.

The box is searched in coordinates u of [0, 1], which lie evenly on each axis, or evenly in its logarithm,

$$x_j = l_j + u_j (h_j - l_j), \qquad x_j = l_j (h_j / l_j)^{u_j}.$$

Points of one proposal are chosen one after the other, each with those before it pending. Where nothing has been
evaluated, an improvement counts from the largest mean of a spread of points.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.logei import qLogExpectedImprovement
from botorch.acquisition.monte_carlo import qUpperConfidenceBound
from botorch.acquisition.objective import LinearMCObjective
from botorch.generation.sampling import MaxPosteriorSampling
from botorch.optim.optimize import optimize_acqf
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
        num_points: how many points to propose.
        noise_scale: the observations' standard deviation, for a learner without a noise model.
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
    model = MetaModel(
        _of(learner, inputs), meta, u, known.y, noise_scale=noise_scale, ensemble=acquisition == "thompson", seed=seed
    )
    engine = SobolEngine(len(box), scramble=True, seed=seed)  # type: ignore[no-untyped-call]  # torch has no types here
    spread = engine.draw(max(SPREAD, num_points), dtype=torch.float64)
    with manual_seed(seed):  # botorch draws from torch's global state, which is put back
        found = _best(model, known.y.double(), spread, acquisition, sign, num_points, seed)
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
    model: MetaModel, y: Tensor, spread: Tensor, acquisition: str, sign: int, num_points: int, seed: int
) -> Float64[Tensor, "points axes"]:
    """The points of the unit box that an acquisition likes best."""
    if acquisition == "random":
        return spread[:num_points]
    objective = LinearMCObjective(torch.tensor([float(sign)], dtype=torch.float64))
    if acquisition == "thompson":
        with torch.no_grad():
            drawn: Tensor = MaxPosteriorSampling(model, objective=objective)(spread, num_samples=num_points)
        return drawn
    sampler = SobolQMCNormalSampler(torch.Size([DRAWS]), seed=seed)
    acquire: AcquisitionFunction
    if acquisition == "ucb":
        acquire = qUpperConfidenceBound(model, KAPPA**2, sampler=sampler, objective=objective)
    else:
        with torch.no_grad():
            found: Any = model.posterior(spread[:, None])
            values = y if len(y) else found.mean
        best = float((sign * values).amax())
        acquire = qLogExpectedImprovement(model, best, sampler=sampler, objective=objective)
    ends = torch.stack([torch.zeros(spread.shape[1]), torch.ones(spread.shape[1])]).double()
    best_points, _ = optimize_acqf(
        acquire, ends, q=num_points, num_restarts=RESTARTS, raw_samples=SPREAD, sequential=True, options={"seed": seed}
    )
    points: Tensor = best_points.detach()
    return points
