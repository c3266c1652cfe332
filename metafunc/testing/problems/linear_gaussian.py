r"""Tasks whose posterior is known: lines with Gaussian coefficients and Gaussian noise.

$$w_i \sim \mathcal N(\mu, \tau^2 I), \; y = w_i^\top (x, 1) + \epsilon, \; \epsilon \sim \mathcal N(0, \sigma^2)$$

A learner that meta-learns should find the prior, and one that is Bayesian should then predict as the true posterior
does: `against_truth` measures how far it is from that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from metafunc import tree
from metafunc.bayes import linear_regression
from metafunc.bayes.linear_regression import MatrixNormal, condition
from metafunc.bayes.untrained import untrained
from metafunc.data.sampling import between, generator_for, sampler, split_points, standard_normal
from metafunc.evaluation import metrics
from metafunc.evaluation.metrics.scores import required_scale
from metafunc.testing.numerics.report import Report, compare, summarise
from metafunc.testing.numerics.rounding import ROUNDING, bounded
from metafunc.testing.problems.cases import QuadraticCase
from metafunc.types import Batch, M, MetaLearner, Normal, P, Params, Sampler, Scalar, Task, TaskFamily


@dataclass(frozen=True)
class Lines:
    r"""Tasks of lines: $\mu$ (slope, intercept), $\tau$, $\sigma$, and points of a task; $x \sim U[-2, 2]$.

    Examples:
        >>> import torch
        >>> lines = Lines()
        >>> task = lines.tasks(5)(torch.Generator().manual_seed(0), 1)
        >>> lines.truth(tree.at(task, 0).support, torch.zeros(2, 1)).loc.shape
        torch.Size([1, 2, 1])
    """

    mean: tuple[float, float] = (1.0, -1.0)
    scale: float = 1.0
    noise: float = 0.5
    num_shots: int = 3

    def tasks(self, num_queries: int) -> Sampler:
        """Draws stacked tasks."""
        num_points = self.num_shots + num_queries

        def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
            weights = uniforms.new_tensor(self.mean) + self.scale * standard_normal(uniforms[:, :2])
            x = between(uniforms[:, 2 : 2 + num_points], -2.0, 2.0)
            y = weights[:, :1] * x + weights[:, 1:] + self.noise * standard_normal(uniforms[:, 2 + num_points :])
            return split_points(x, y, self.num_shots)

        return sampler(2 + 2 * num_points, draw)

    @property
    def family(self) -> TaskFamily:
        """The lines as a task family."""
        few, many = self.tasks(10), self.tasks(50)
        optima = dict.fromkeys(("train", "validation", "test"), self.optimum)
        return TaskFamily("lines", "regression", (1,), 1, few, many, many, optima=optima)

    @property
    def optimum(self) -> MetaLearner[Params, "LineWeights"]:
        """The learner that knows how the lines are drawn."""
        return untrained(self._posterior, self._prediction, joint=self._joint)

    def truth(self, support: Batch, x: Float[Tensor, "n 1"]) -> Normal:
        r"""The predictive distribution by Bayes' theorem: $\mathcal N(m^\top (x, 1), \sigma^2 + (x, 1)^\top S (x, 1))$.

        $S^{-1} = \tau^{-2} I + \sigma^{-2} \Phi^\top \Phi$ and $m = S (\tau^{-2} \mu + \sigma^{-2} \Phi^\top y)$.
        """
        return self._prediction(self._posterior(support), x)

    def _posterior(self, support: Batch) -> "LineWeights":
        phi = _with_one(support.x)
        counted = phi if isinstance(support.mask, tuple) else phi * support.mask[:, None]
        covariance = torch.linalg.inv(torch.eye(2).to(phi) / self.scale**2 + counted.mT @ phi / self.noise**2)
        pull = phi.new_tensor(self.mean)[:, None] / self.scale**2 + counted.mT @ support.y / self.noise**2
        return LineWeights(covariance @ pull, covariance)

    def _joint(self, weights: "LineWeights", query: Batch) -> Scalar:
        precision = self.noise**2 * torch.linalg.inv(weights.covariance)
        prior, noise = MatrixNormal(weights.mean, precision), query.y.new_tensor(self.noise)
        return linear_regression.log_evidence(prior, _with_one(query.x), query.y, noise, query.mask)

    def _prediction(self, weights: "LineWeights", x: Float[Tensor, "n 1"]) -> Normal:
        at = _with_one(x)
        variance = self.noise**2 + ((at @ weights.covariance) * at).sum(1)
        return Normal((at @ weights.mean)[None], variance.sqrt()[None, :, None])


class LineWeights(NamedTuple):
    """The posterior of a line's two coefficients."""

    mean: Float[Tensor, "2 1"]
    covariance: Float[Tensor, "2 2"]


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)


class Agreement(NamedTuple):
    """How a learner's predictions compare with the true posterior's, over tasks.

    Args:
        mean_error: root mean square of the difference of the two means, in units of y.
        spread: the learner's standard deviation over the true one, noise included, root mean square of each.
        coverage: how often the learner's central 90 % interval holds the observation.
        nll: the learner's negative log-likelihood beyond the truth's, in nats per row: at least 0 but for chance.
    """

    mean_error: float
    spread: float
    coverage: float
    nll: float


def against_truth(
    learner: MetaLearner[M, P], meta: M, lines: Lines, *, num_tasks: int = 500, seed: int = 0
) -> Agreement:
    """Meta-test a learner on tasks whose posterior is known.

    Args:
        learner: a learner of regression whose predictions have a scale, as under `likelihood.gaussian(scale=...)`.
        meta: its trained meta-parameters.
        lines: where the tasks come from.
        num_tasks: how many.
        seed: what they are drawn with.

    Returns:
        The comparison; the truth itself has a mean error of 0, a spread of 1, a coverage of .9 and no excess NLL.
    """
    tasks = lines.family.test(generator_for(seed, "test", 0), num_tasks)
    prepared = learner.prepare(meta, tasks, generator_for(seed, "prepare", 0), step=None, num_steps=0)

    def of_task(prepared: Task, task: Task) -> tuple[Tensor, ...]:
        given = learner.predict(learner.adapt(meta, prepared.support), task.query.x)
        if not isinstance(given, Normal):
            raise ValueError("The true posterior is known of a regression, and the learner predicts classes.")
        scale = required_scale(given, "coverage")
        found, true = given._replace(scale=scale.expand_as(given.loc)), lines.truth(task.support, task.query.x)
        whole = metrics.mixture(found)
        assert isinstance(whole, Normal)  # A mixture of normals is reported as one.
        excess = metrics.nll(found, task.query.y) - metrics.nll(true, task.query.y)
        covered = metrics.coverage(found, task.query.y, levels=(0.9,))[0]
        squares = [(whole.loc - true.loc), whole.scale, true.scale]
        return (*(value.square().mean() for value in squares), covered, excess)

    with torch.no_grad():
        values = torch.vmap(of_task)(prepared, tasks)
    error, own, true, covered, excess = (float(value.mean()) for value in values)
    return Agreement(math.sqrt(error), math.sqrt(own / true), covered, excess)


def bayesian_regression(
    case: QuadraticCase, *, solve: Callable[[MatrixNormal, Tensor, Tensor], MatrixNormal] = condition
) -> Report:
    r"""The weights' posterior predicts as a Gaussian process does: the closed form against its function-space form.

    With the kernel $k(x, x') = x^\top x' / \lambda$ and unit noise the mean is
    $X^q \theta + k^q (k + I)^{-1} (y - X \theta)$. The one solves a system of the size of the weights, the other one of
    the size of the data.
    """
    support, query = tree.at(case.tasks, 0)
    size = len(case.params)
    prior = MatrixNormal(case.params[:, None], case.strength * torch.eye(size).to(case.params))

    def predictions(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
        return (at @ solve(prior, x, y[:, None]).mean)[:, 0]

    found, bound = bounded(predictions, support.x, support.y, query.x, passes=4)
    gram = support.x @ support.x.mT / case.strength + torch.eye(len(support.x)).to(case.params)
    residual = torch.linalg.solve(gram, support.y - support.x @ case.params)
    expected = query.x @ case.params + query.x @ support.x.mT @ residual / case.strength
    claim = "The closed form is not the posterior."
    return summarise("bayesian_regression", [compare(found, expected, bound, claim)], ROUNDING, str(case))
