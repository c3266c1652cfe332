"""The observation model, chosen once: how a network's outputs become losses, log-probabilities and predictions.

Every loss is a masked mean over rows, so that padded tasks weigh as their real rows do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from metafunc import tree
from metafunc.checks import above, at_least, fraction
from metafunc.recipe import Built, built
from metafunc.types import (
    Batch,
    Categorical,
    Kind,
    Loss,
    Model,
    Normal,
    Params,
    Predictive,
    Scalar,
    Tree,
    masked_mean,
    masked_sum,
)

FLOOR = 0.1
"""The least noise scale of the paper on conditional neural processes, in units of y."""


@dataclass(frozen=True, repr=False)
class Likelihood(Built):
    """p(y | f(x)) for one task.

    Args:
        kind: what it is a likelihood of.
        num_outputs: how many numbers a row of the network's outputs has to have.
        num_targets: how many numbers a row of encoded targets has.
        encode: targets y (n, ...) to numbers (n, num_targets) that a network can take as inputs: one-hot classes.
        loss: (outputs (n, o), batch) to the mean loss per row that the papers train with: squared error (regression) or
            cross-entropy (classification).
        log_prob: (outputs (n, o), batch) to the log-likelihood *summed* over rows, in nats.
        predictive: outputs (particles, n, o) to the distribution of observations.
        sample: (outputs (n, o), noise (n, num_targets)) to observations (n, ...); the noise is standard normal for a
            Gaussian and standard Gumbel for classes.
        with_scale: from a noise scale, a tensor that may be learned and broadcasts against the outputs, to the same
            likelihood with that noise; None where there is no noise left to choose.
        with_floor: from the smallest noise scale allowed, in units of y, to the same likelihood with it; None where the
            network has no say in the noise.
    """

    kind: Kind
    num_outputs: int
    num_targets: int
    encode: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Batch], Scalar]
    log_prob: Callable[[Tensor, Batch], Scalar]
    predictive: Callable[[Tensor], Predictive]
    sample: Callable[[Tensor, Tensor], Tensor]
    with_scale: "Callable[[Tensor], Likelihood] | None" = None
    with_floor: "Callable[[float], Likelihood] | None" = None

    def with_learned(self, scale: Tree) -> "Likelihood":
        """The same with a learned noise scale; as it is for the empty tuple, or where no noise is left to choose."""
        return self if self.with_scale is None or isinstance(scale, tuple) else self.with_scale(scale)

    def at_least(self, noise_floor: float | None) -> "Likelihood":
        """The same with a noise scale of at least that, in units of y; its own floor stays where that is higher.

        None stands for .1, that of the paper on conditional neural processes.
        """
        return self if self.with_floor is None else self.with_floor(FLOOR if noise_floor is None else noise_floor)

    def of(self, model: Model) -> Loss[Params]:
        """The training loss of a model's parameters on a batch."""
        return lambda params, batch: self.loss(model.apply(params, batch.x), batch)

    def nll(self, model: Model) -> Loss[Params]:
        """Minus the log-likelihood of a model's parameters, *summed* over the rows of a batch."""
        return lambda params, batch: -self.log_prob(model.apply(params, batch.x), batch)

    def predict(self, model: Model) -> Callable[[Params, Tensor], Predictive]:
        """The predictions of one set of parameters: one particle."""
        return lambda params, x: self.predictive(model.apply(params, x)[None])

    def mixture(self, model: Model) -> Callable[[Params, Tensor], Predictive]:
        """The predictions of parameters with a leading axis of particles."""
        return lambda params, x: self.predictive(tree.vmap(model.apply, in_dims=(0, None))(params, x))


@built
def gaussian(num_outputs: int = 1, *, scale: float | None = None) -> Likelihood:
    r"""Regression, $y \sim \mathcal N(f(x), \sigma^2)$.

    The training loss is the mean squared error without $\sigma$, MAML's convention for the inner step size. Its
    log-probability takes $\sigma$ = `scale`, or 1 where no noise model is given.

    Args:
        num_outputs: numbers in one target row; y is (n, num_outputs).
        scale: the noise's standard deviation in units of y. None: no noise model; predictions carry no scale, and
            `metafunc.evaluate` fits one on validation tasks, or a learner learns one (`with_scale`).

    Raises:
        ValueError: if `scale` is not positive or `num_outputs` is below 1.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, likelihood
        >>> batch = Batch(x=torch.zeros(2, 1), y=torch.tensor([[1.0], [3.0]]))
        >>> likelihood.gaussian().loss(torch.zeros(2, 1), batch).item()
        5.0
    """
    at_least(1, num_outputs=num_outputs)
    above(0, scale=scale)
    return _gaussian(num_outputs, scale)


def _gaussian(num_outputs: int, scale: float | Tensor | None) -> Likelihood:
    def sigma(outputs: Tensor) -> Tensor:
        return scale if isinstance(scale, Tensor) else outputs.new_full((), 1.0 if scale is None else scale)

    def loss(outputs: Tensor, batch: Batch) -> Scalar:
        _check_targets(outputs, batch.y)
        return masked_mean((outputs - batch.y).square().mean(-1), batch.mask)

    def log_prob(outputs: Tensor, batch: Batch) -> Scalar:
        _check_targets(outputs, batch.y)
        return masked_sum(Normal(outputs, sigma(outputs)).log_prob(batch.y).sum(-1), batch.mask)

    def predictive(outputs: Tensor) -> Normal:
        return Normal(outputs, () if scale is None else sigma(outputs))

    def sample(outputs: Tensor, noise: Tensor) -> Tensor:
        return outputs + sigma(outputs) * noise

    with_scale = partial(_gaussian, num_outputs) if scale is None else None
    return Likelihood("regression", num_outputs, num_outputs, _as_is, loss, log_prob, predictive, sample, with_scale)


@built
def heteroscedastic(num_targets: int = 1, *, floor: float = FLOOR) -> Likelihood:
    r"""Regression with a learned noise scale, $y \sim \mathcal N(\mu(x), \sigma(x)^2)$.

    The network's outputs are $(\mu, s)$ and $\sigma = c + (1 - c)\,\mathrm{softplus}(s)$; the training loss is the mean
    negative log-likelihood per row.

    Args:
        num_targets: numbers in one target row; y is (n, num_targets), and the network has twice as many outputs.
        floor: $c$ in [0, 1), the smallest standard deviation, in units of y: it keeps a fit without noise from sending
            the likelihood to infinity.

    Raises:
        ValueError: if `floor` lies outside [0, 1) or `num_targets` is below 1.

    Examples:
        >>> import torch
        >>> from metafunc import likelihood
        >>> likelihood.heteroscedastic().predictive(torch.zeros(1, 2, 2)).scale  # .1 + .9 log 2
        tensor([[[0.7238],
                 [0.7238]]])

    References:
        Garnelo et al. (2018), "Conditional Neural Processes".
    """
    at_least(1, num_targets=num_targets)
    fraction(floor=floor)

    def predictive(outputs: Tensor) -> Normal:
        loc, raw = torch.split(outputs, num_targets, dim=-1)
        return Normal(loc, floor + (1 - floor) * F.softplus(raw))

    def rows(outputs: Tensor, batch: Batch) -> Tensor:
        found = predictive(outputs)
        _check_targets(found.loc, batch.y)
        return found.log_prob(batch.y).sum(-1)

    def sample(outputs: Tensor, noise: Tensor) -> Tensor:
        found = predictive(outputs)
        drawn: Tensor = found.loc + found.scale * noise
        return drawn

    return Likelihood(
        kind="regression",
        num_outputs=2 * num_targets,
        num_targets=num_targets,
        encode=_as_is,
        loss=lambda outputs, batch: -masked_mean(rows(outputs, batch), batch.mask),
        log_prob=lambda outputs, batch: masked_sum(rows(outputs, batch), batch.mask),
        predictive=predictive,
        sample=sample,
        with_floor=lambda least: heteroscedastic(num_targets, floor=max(floor, least)),
    )


@built
def categorical(num_classes: int) -> Likelihood:
    r"""Classification, $y \sim \mathrm{Categorical}(\mathrm{softmax}\, f(x))$, trained with the mean cross-entropy.

    Args:
        num_classes: how many classes (ways) a task has; y holds integers 0..num_classes-1.

    Raises:
        ValueError: if `num_classes` is below 2.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, likelihood
        >>> batch = Batch(x=torch.zeros(2, 1), y=torch.tensor([0, 4]))
        >>> round(likelihood.categorical(5).loss(torch.zeros(2, 5), batch).item(), 4)  # log 5
        1.6094
    """
    at_least(2, num_classes=num_classes)

    def encode(y: Tensor) -> Tensor:
        # Not by `one_hot`, which looks at the largest label, and so fails in `vmap` over `grad`.
        return (y[..., None] == torch.arange(num_classes, device=y.device)).to(y.dtype)

    def rows(outputs: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(outputs, batch.y, reduction="none")

    def sample(outputs: Tensor, noise: Tensor) -> Tensor:
        return (outputs + noise).argmax(-1)

    return Likelihood(
        kind="classification",
        num_outputs=num_classes,
        num_targets=num_classes,
        encode=encode,
        loss=lambda outputs, batch: masked_mean(rows(outputs, batch), batch.mask),
        log_prob=lambda outputs, batch: -masked_sum(rows(outputs, batch), batch.mask),
        predictive=Categorical,
        sample=sample,
    )


def for_kind(kind: Kind, num_outputs: int) -> Likelihood:
    """The likelihood that a family's kind of task is trained with."""
    if kind == "control":
        raise ValueError("A control task has no likelihood: its loss is the return of a policy.")
    return gaussian(num_outputs) if kind == "regression" else categorical(num_outputs)


def _as_is(y: Tensor) -> Tensor:
    return y


def _check_targets(outputs: Tensor, y: Tensor) -> None:
    # The one check in traced code: (n, 1) against (n,) would broadcast to (n, n), and train on every pair of rows.
    if outputs.shape != y.shape:
        raise ValueError(
            f"The outputs have the shape {tuple(outputs.shape)} and the targets {tuple(y.shape)}, and the two have to "
            "agree: targets are (n, num_outputs), so give y[:, None] for a single output."
        )
