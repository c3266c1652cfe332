r"""An adapted learner as a botorch `Model`: its posterior at any inputs, differentiable in them.

A learner that states a joint density of one Gaussian has the posterior $\mathcal N(\mu(X), \Sigma(X))$ of all q points
of a batch together, with the covariance that `bayes.joint_normal` finds. Of any other learner points are independent
given a particle, and the posterior is the mixture's mean and variance, or with `ensemble=True` the particles' means
as an ensemble. Observations are what is predicted: the noise is part of the variance.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import Model
from botorch.posteriors.ensemble import EnsemblePosterior
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.posteriors.posterior import Posterior
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from torch import Tensor

from metafunc import tree
from metafunc.bayes import joint_normal
from metafunc.bayes.mixtures import log_weights
from metafunc.data.sampling import generator_for
from metafunc.evaluation.metrics.scores import mixture
from metafunc.types import Batch, Categorical, MetaLearner, Normal, Task


class MetaModel(Model):
    """A meta-learner that has adapted to the observations of one task.

    Args:
        learner: a regression's.
        meta: its meta-parameters; taken to double precision, in which botorch optimises.
        x: what was observed (n, d); none for the prior.
        y: the targets (n, outputs).
        noise_scale: the observations' standard deviation, in the predictions' `unit`, if there is no noise model.
        ensemble: give the particles' means as an ensemble, where a learner has several, and not their moments.
        seed: of the noise that some learners draw.

    Raises:
        ValueError: inputs and targets do not fit each other, or the learner predicts classes.

    Examples:
        >>> import torch
        >>> from botorch.acquisition import LogExpectedImprovement
        >>> from botorch.optim import optimize_acqf
        >>> from metafunc import algorithms, likelihood, nn
        >>> from metafunc.botorch import MetaModel
        >>> learner = algorithms.dkt(nn.mlp((1,), 2, hidden=(8,)), likelihood.gaussian(), num_features=2, kernel="rbf")
        >>> x = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
        >>> model = MetaModel(learner, learner.init(torch.Generator().manual_seed(0)), x, -x.square())
        >>> box = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)
        >>> best, _ = optimize_acqf(LogExpectedImprovement(model, best_f=0.0), box, q=1, num_restarts=2, raw_samples=16)
        >>> best.shape, bool((best.abs() <= 2).all())
        (torch.Size([1, 1]), True)

    References:
        Balandat et al. (2020), "BoTorch: A Framework for Efficient Monte-Carlo Bayesian Optimization".
    """

    def __init__(
        self,
        learner: MetaLearner[Any, Any],
        meta: Any,
        x: Tensor,
        y: Tensor,
        *,
        noise_scale: float | None = None,
        ensemble: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
            raise ValueError(f"x is {tuple(x.shape)} and y {tuple(y.shape)}: they have to be (n, d) and (n, outputs).")
        self.learner, self.noise_scale, self.ensemble = learner, noise_scale, ensemble
        self._outputs = y.shape[1]
        self.meta = tree.map(_double, meta)
        x, y = x.double(), y.double()
        self.train_inputs, self.train_targets = (x,), y
        mask = x.new_ones(len(x))
        if not len(x):  # learners adapt to rows of which none counts, and not to no rows
            x, y, mask = x.new_zeros(1, x.shape[1]), y.new_zeros(1, y.shape[1]), x.new_zeros(1)
        rows = Batch(x[None], y[None], mask[None])
        prepared = learner.prepare(
            self.meta, Task(rows, rows), generator_for(seed, "predict", 0), step=None, num_steps=0
        )
        with torch.no_grad():
            self.support = tree.map(_double, tree.at(prepared.support, 0))
            self.params = learner.adapt(self.meta, self.support)
            found = learner.predict(self.params, x[:1])
        if isinstance(found, Categorical):
            raise ValueError("A model of botorch predicts numbers, and this learner predicts classes.")
        self._joint = learner.joint if found.loc.shape[0] == 1 else None

    @property
    def num_outputs(self) -> int:
        """Numbers in one target."""
        return self._outputs

    @property
    def batch_shape(self) -> torch.Size:
        """None: there is one task."""
        return torch.Size()

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: "PosteriorTransform | None" = None,
    ) -> Posterior:
        """What would be observed at q points together, for batches of them.

        Args:
            X: (..., q, d).
            output_indices: the outputs that are asked for; None: all.
            observation_noise: predictions have the noise already, whatever this says.
            posterior_transform: of botorch.
        """
        flat = X.double().reshape(-1, *X.shape[-2:])
        outputs = list(range(self._outputs)) if output_indices is None else output_indices
        found: Posterior
        if self.ensemble and self._joint is None:
            values, weights = torch.vmap(self._particles)(flat)
            shaped = values.reshape(*X.shape[:-2], *values.shape[1:])[..., outputs]
            found = EnsemblePosterior(shaped, weights=weights[0] if len(weights) else None)
        else:
            of_one = self._independent if self._joint is None else partial(self._together, self._joint)
            mean, covariance = torch.vmap(of_one)(flat)
            found = self._gaussian(mean, covariance, X.shape[:-2], outputs)
        return found if posterior_transform is None else posterior_transform(found)

    def _gaussian(self, mean: Tensor, covariance: Tensor, batch: torch.Size, outputs: list[int]) -> Posterior:
        """From numbers point by point, (batch, q outputs), to a posterior."""
        numbers = mean.shape[1]
        points = numbers // self._outputs
        kept = torch.tensor([point * self._outputs + output for point in range(points) for output in outputs])
        mean, covariance = mean[:, kept], covariance[:, kept][:, :, kept]
        mean, covariance = (part.reshape(*batch, *part.shape[1:]) for part in (mean, covariance))
        if len(outputs) == 1:
            return GPyTorchPosterior(MultivariateNormal(mean, covariance))
        shaped = mean.reshape(*batch, points, len(outputs))
        return GPyTorchPosterior(MultitaskMultivariateNormal(shaped, covariance))

    def _together(self, joint: Callable[[Any, Batch], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        found = joint_normal.moments(partial(joint, self.params), self._rows(x))
        return found.mean, found.covariance

    def _independent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        whole = mixture(self._predicted(x))
        assert isinstance(whole, Normal)
        if isinstance(whole.scale, tuple):
            raise ValueError("The learner has no noise model: give noise_scale.")
        return whole.loc[0].flatten(), torch.diag_embed(whole.scale.expand_as(whole.loc)[0].flatten().square())

    def _particles(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self._predicted(x)
        weights = log_weights(found).expand(found.loc.shape[:2]).exp()
        return found.loc, weights[:, 0]

    def _predicted(self, x: Tensor) -> Normal:
        found = self.learner.predict(self.params, x)
        assert isinstance(found, Normal)
        return found.with_noise(self.noise_scale)

    def _rows(self, x: Tensor) -> Batch:
        return Batch(x, x.new_zeros(len(x), self._outputs))


def _double(leaf: Tensor) -> Tensor:
    return leaf.double() if leaf.is_floating_point() else leaf
