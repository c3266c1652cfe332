"""What statistics has for a table of many small data sets, fitted on the training tasks: the baselines of `tables`.

Each says what a new task's targets are, before any of them is known, as a Gaussian of all rows together,

    y ~ N(m(x), C(x, x) + noise^2 I),

and the prediction of query rows is that Gaussian given the support rows, in closed form. They are

* `constant`: a mean of its own for each task, whose variances within and between tasks are those of an analysis of
  variance;
* `mixed_lm`: statsmodels' MixedLM (`pip install statsmodels`, for this alone), restricted maximum likelihood: fixed
  effects of a cubic B-spline, random slopes and intercepts, and the fixed effects' standard errors;
* `hierarchical_gp`: a Gaussian process that all tasks share, and one of each task's own with an intercept, by the
  marginal likelihood of the training rows, at most 400 of them and ten of a task.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metafunc.data.sampling import generator_for
from metafunc.evaluation.meta_test import Evaluation
from metafunc.evaluation.metrics.table import METRICS
from metafunc.evaluation.scoring import BLOCK, origin_of, score
from metafunc.types import Batch, Normal, TaskFamily

DOUBLE = torch.float64
ROWS, ROWS_OF_TASK = 400, 10
"""Of a Gaussian process's training, whose cost is cubic."""


class Rows(NamedTuple):
    """Rows of the training tasks: one input, one target, and which task."""

    x: Tensor
    y: Tensor
    task: Tensor


@dataclass(frozen=True)
class Baseline:
    """What the targets of a new task are before any is known.

    Args:
        mean: from inputs (n,) to (n,).
        covariance: from inputs (n,) to (n, n), without noise.
        noise: the standard deviation of a row around its function.
    """

    mean: Callable[[Tensor], Tensor]
    covariance: Callable[[Tensor], Tensor]
    noise: float

    def given(self, support: Batch, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n,) and covariance (n, n) of observations at query inputs, noise included."""
        known = torch.ones(len(support.x)) if isinstance(support.mask, tuple) else support.mask
        seen = support.x[known > 0].double()[:, 0]
        rows, count = torch.cat([seen, x.double()[:, 0]]), len(seen)
        mean = self.mean(rows)
        whole = self.covariance(rows) + (self.noise**2 + 1e-9) * torch.eye(len(rows), dtype=DOUBLE)
        factor = torch.linalg.cholesky(whole[:count, :count])
        cross = whole[:count, count:]
        shift = torch.cholesky_solve((support.y[known > 0].double()[:, 0] - mean[:count])[:, None], factor)
        left = torch.linalg.solve_triangular(factor, cross, upper=False)
        return mean[count:] + (cross.mT @ shift)[:, 0], whole[count:, count:] - left.mT @ left


def training_rows(family: TaskFamily) -> Rows:
    """All rows of the training tasks, of a family whose draws take all of a task."""
    draws = 12 * family.info["tasks"]["train"]
    groups = family.train.groups(generator_for(0, "rows", 0), draws)[:, 0]
    tasks = family.train(generator_for(0, "rows", 0), draws)
    parts = []
    for group in groups.unique().tolist():
        index = int((groups == group).nonzero()[0])
        x, y = (torch.cat([getattr(side, name)[index] for side in tasks])[:, 0].double() for name in "xy")
        query = (
            tasks.query.mask[index] > 0
            if not isinstance(tasks.query.mask, tuple)
            else tasks.query.y[index, :, 0] < np.inf
        )
        keep = torch.cat([torch.ones(len(tasks.support.x[index]), dtype=torch.bool), query])
        parts.append((x[keep], y[keep], torch.full((int(keep.sum()),), group)))
    return Rows(*(torch.cat(part) for part in zip(*parts, strict=True)))


def constant(rows: Rows) -> Baseline:
    """A mean for each task, between and within variances by an analysis of variance."""
    each = [rows.y[rows.task == task] for task in rows.task.unique()]
    means, sizes = torch.stack([own.mean() for own in each]), torch.tensor([float(len(own)) for own in each])
    within = sum(float((own - own.mean()).square().sum()) for own in each) / max(1, len(rows.y) - len(each))
    between = max(1e-4, float(means.var()) - within * float((1 / sizes).mean()))
    centre = float(means.mean())
    return Baseline(
        lambda x: torch.full_like(x, centre),
        lambda x: torch.full((len(x), len(x)), between * (1 + 1 / len(each)), dtype=DOUBLE),
        within**0.5,
    )


def mixed_lm(rows: Rows) -> Baseline:
    """The linear mixed model: B-splines, random slopes and intercepts (or the latter alone where that fails)."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    features = _splines(rows.x)
    fixed = features(rows.x).numpy()
    found = None
    for lines in (True, False):
        varying = _varying(rows.x, lines=lines).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = MixedLM(rows.y.numpy(), fixed, rows.task.numpy(), exog_re=varying).fit(reml=True)
            except np.linalg.LinAlgError:
                continue
        if np.isfinite(found.scale) and np.isfinite(found.cov_re).all():
            break
    if found is None:
        raise ValueError("The linear mixed model cannot be fitted.")
    effects, own = torch.tensor(found.fe_params), torch.tensor(np.asarray(found.cov_re))
    errors = torch.tensor(np.asarray(found.cov_params())[: len(effects), : len(effects)]).nan_to_num()
    lines = len(own) > 1

    def covariance(x: Tensor) -> Tensor:
        z, b = _varying(x, lines=lines), features(x)
        return z @ own @ z.mT + b @ errors @ b.mT

    return Baseline(lambda x: features(x) @ effects, covariance, float(found.scale) ** 0.5)


def _varying(x: Tensor, *, lines: bool) -> Tensor:
    return torch.stack([torch.ones_like(x), x], 1) if lines else torch.ones_like(x)[:, None]


def _splines(x: Tensor) -> Callable[[Tensor], Tensor]:
    """Cubic B-splines over the range of the training inputs; a line where there are fewer than four inputs."""
    from patsy import build_design_matrices, dmatrix

    distinct = len(x.unique())
    if distinct < 4:
        return lambda new: torch.stack([torch.ones_like(new), new], 1)
    low, high = float(x.min()), float(x.max())
    formula = f"bs(x, df={min(distinct, 6)}, degree=3, include_intercept=True, lower_bound=low, upper_bound=high) - 1"
    design = dmatrix(formula, {"x": x.numpy(), "low": low, "high": high}).design_info

    def features(new: Tensor) -> Tensor:
        inside = new.clamp(low, high).numpy()
        (found,) = build_design_matrices([design], {"x": inside, "low": low, "high": high})
        return torch.tensor(np.asarray(found))

    return features


def hierarchical_gp(rows: Rows) -> Baseline:
    """A function that all tasks share and one of each task's own, both Gaussian processes."""
    rows = _some(rows)
    same = (rows.task[:, None] == rows.task).double()
    gap, eye = (rows.x[:, None] - rows.x).square(), torch.eye(len(rows.x), dtype=DOUBLE)
    logs = torch.tensor([0.0, 0.0, -1.0, 0.0, -1.0, -1.0], dtype=DOUBLE, requires_grad=True)

    def kernels(gap: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
        """Shared, and of a task: amplitudes and lengths, an intercept; the noise comes last."""
        of_all, length, own, own_length, intercept, _ = logs.exp().unbind()
        shared = of_all**2 * torch.exp(-gap / (2 * length**2))
        return shared, own**2 * torch.exp(-gap / (2 * own_length**2)) + intercept**2

    def covariance_of_rows(logs: Tensor) -> Tensor:
        shared, own = kernels(gap, logs)
        whole = shared + own * same
        # What rounding takes away grows with the amplitudes, which the search may try to make very large.
        return whole + (torch.exp(2 * logs[-1]) + 1e-6 * (1 + whole.diagonal().mean())) * eye

    optimiser = torch.optim.LBFGS([logs], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        factor = torch.linalg.cholesky(covariance_of_rows(logs))
        alpha = torch.linalg.solve_triangular(factor, rows.y[:, None], upper=False)
        prior = 0.5 * (logs / 2).square().sum()  # a factor of e squared either way is one standard deviation
        value = 0.5 * alpha.square().sum() + factor.diagonal().log().sum() + prior
        value.backward()
        return value

    optimiser.step(closure)
    found = logs.detach()
    factor = torch.linalg.cholesky(covariance_of_rows(found))
    alpha = torch.cholesky_solve(rows.y[:, None], factor)[:, 0]

    def shared_with(x: Tensor) -> Tensor:
        return kernels((x[:, None] - rows.x).square(), found)[0]

    def covariance(x: Tensor) -> Tensor:
        shared, own = kernels((x[:, None] - x).square(), found)
        left = torch.linalg.solve_triangular(factor, shared_with(x).mT, upper=False)
        return shared + own - left.mT @ left

    return Baseline(lambda x: shared_with(x) @ alpha, covariance, float(found[-1].exp()))


def _some(rows: Rows) -> Rows:
    """At most ten rows of a task and four hundred in all, by a seeded shuffle."""
    shuffled = torch.randperm(len(rows.x), generator=generator_for(0, "some", 0))
    kept: list[int] = []
    counts: dict[int, int] = {}
    for index in shuffled.tolist():
        task = int(rows.task[index])
        if counts.get(task, 0) < ROWS_OF_TASK and len(kept) < ROWS:
            counts[task] = counts.get(task, 0) + 1
            kept.append(index)
    return Rows(*(part[torch.tensor(sorted(kept))] for part in rows))


BASELINES: Mapping[str, Callable[[Rows], Baseline]] = {
    "constant": constant,
    "linear mixed model": mixed_lm,
    "hierarchical GP": hierarchical_gp,
}


def tested(baseline: Baseline, family: TaskFamily, *, num_tasks: int, seed: int) -> Evaluation:
    """The meta-test of a baseline, on the episodes that `metafunc.evaluate` draws by this seed."""
    found: list[dict[str, Tensor]] = []
    for start in range(0, num_tasks, BLOCK):
        size = min(BLOCK, num_tasks - start)
        tasks = family.test(generator_for(seed, "test", start // BLOCK), size)
        for index in range(size):
            support, query = (_one(side, index) for side in tasks)
            found.append(_scored(*baseline.given(support, query.x), query))
    joined = {name: torch.stack([each[name] for each in found])[None] for name in found[0]}
    pools = {name: METRICS[name].pooled for name in joined}
    counts = {name: joined[name] for name, pool in pools.items() if pool is not None}
    pooled = {name: tuple(pool(counts[name].sum(1)).tolist()) for name, pool in pools.items() if pool is not None}
    values = {name: each for name, each in joined.items() if name not in counts}
    origin = origin_of(family.test, seed, "test", num_tasks)
    about: Any = ("test", seed, family.kind, family.num_outputs, "none")
    return Evaluation(*about, values, {}, counts, pooled, origin=origin)


def _one(side: Batch, index: int) -> Batch:
    mask = side.mask if isinstance(side.mask, tuple) else side.mask[index]
    return Batch(side.x[index], side.y[index], mask)


def _scored(mean: Tensor, covariance: Tensor, query: Batch) -> dict[str, Tensor]:
    spread = covariance.diagonal().clamp(min=1e-12).sqrt()
    found = score(Normal(mean[None, :, None].float(), spread[None, :, None].float()), query)
    known = torch.ones(len(mean)) > 0 if isinstance(query.mask, tuple) else query.mask > 0
    together = torch.distributions.MultivariateNormal(mean[known], covariance[known][:, known])
    joint = -together.log_prob(query.y[known, 0].double()) / known.sum()
    return {**found, "joint_nll": joint.float()}
