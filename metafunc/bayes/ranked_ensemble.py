r"""The ranking-weighted ensemble of Gaussian processes: one of each training task, and one of the new task.

Feurer et al. (2018). Each training task i has a Gaussian process of its own, and so has the support set of a new task.
They are weighted by how often a draw of theirs ranks the support set's n targets with the fewest mistakes,

$$L_i(f) = \sum_{j \ne k} \big[ (f_j < f_k) \ne (y_j < y_k) \big], \qquad
w_i = \frac1S \sum_s \big[ i = \arg\min_{i'} L_{i'}(f^s_{i'}) \big],$$

where the new task's own process draws each target from the posterior given all others, and is compared with the other
targets themselves. The paper's sums run over all j and k. With j = k a draw of the own process would be compared with
the target that it stands for, half the time a mistake, and no other process can make it; so the diagonal is left out,
which is 0 for all others. Ties are the new task's, or are shared. A training task whose median loss is above the 95th
percentile of the new task's counts nothing. With fewer than three targets there is no ranking to speak of, and all
training tasks count alike. The prediction is one Gaussian, $\mu = \sum_i w_i \mu_i$ and $\sigma^2 = \sum_i w_i^2
\sigma_i^2$, in units of the support set's mean and standard deviation, since only ranks are taken from other tasks.

References:
    Feurer, Letham, Hutter, Bakshy (2018), "Practical Transfer Learning for Bayesian Optimization", section 4.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes import gaussian_process, kernels
from metafunc.bayes.gaussian_process import Conditioned
from metafunc.bayes.mixtures import log_density
from metafunc.bayes.untrained import untrained
from metafunc.checks import at_least
from metafunc.transforms.inner import conditioning_path
from metafunc.transforms.objectives import query_loss
from metafunc.types import Batch, MetaLearner, Normal, Scalar, Task, masked_mean

LENGTHS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Length scales that a process may have, in units of the inputs, times the root of their number."""
NOISES = (0.01, 0.1, 0.3)
"""Noise scales that it may have, in units of the targets' standard deviation."""
LEAST = 3
"""Targets that are worth ranking."""
KERNEL = kernels.matern("5/2")


class Fitted(NamedTuple):
    """A process on standardised targets, with the hyperparameters of the largest evidence."""

    x: Float[Tensor, "n inputs"]
    log_lengthscale: Float[Tensor, " inputs"]
    noise_variance: Float[Tensor, ""]
    found: Conditioned
    mean: Float[Tensor, ""]
    scale: Float[Tensor, ""]


class Ensemble(NamedTuple):
    """What a task is: its own process, those of the training tasks, and the weights of all, its own the last."""

    own: Fitted
    others: Fitted
    weights: Float[Tensor, " models"]


def fitted(batch: Batch) -> Fitted:
    """A process on the rows of a batch that count: on none of them, the prior.

    Examples:
        >>> import torch
        >>> x = torch.linspace(0, 1, 5)[:, None]
        >>> fitted(Batch(x, 2 * x)).mean
        tensor(1., dtype=torch.float64)
    """
    x, y = batch.x.double().flatten(1), batch.y[:, 0].double()
    mean = masked_mean(y, batch.mask)
    square = masked_mean((y - mean).square(), batch.mask)
    scale = torch.where(square > 0, square, 1.0).sqrt()
    residual = ((y - mean) / scale)[:, None]
    lengths = torch.tensor(LENGTHS, dtype=x.dtype, device=x.device) * x.shape[1] ** 0.5
    noises = torch.tensor(NOISES, dtype=x.dtype, device=x.device).square()

    def of(length: Tensor, noise: Tensor) -> tuple[Tensor, Conditioned]:
        gram = KERNEL.gram(_given(length.log().expand(x.shape[1])), x, x)
        found = gaussian_process.condition(gram, residual, noise, batch.mask)
        return gaussian_process.log_evidence(found, residual), found

    length, noise = (axis.flatten() for axis in torch.meshgrid(lengths, noises, indexing="ij"))
    evidence, found = torch.vmap(of)(length, noise)
    best = evidence.argmax()[None]
    chosen = tree.map(lambda leaf: leaf.index_select(0, best)[0], found)
    log_length = length.index_select(0, best).log().expand(x.shape[1])
    return Fitted(x, log_length, noise.index_select(0, best)[0], chosen, mean, scale)


def alone(*, num_rows: int = 64) -> MetaLearner[Any, Fitted]:
    """A new task's own process by itself: a Gaussian process from scratch, with what the ensemble gives one of its own.

    Args:
        num_rows: rows of a task that count, at most: the first of those whose mask is 1.

    Examples:
        >>> import torch
        >>> learner = alone()
        >>> task = learner.adapt({}, Batch(torch.zeros(2, 1), torch.tensor([[1.0], [3.0]])))
        >>> learner.predict(task, torch.zeros(1, 1)).loc.item()
        2.0
    """
    at_least(1, num_rows=num_rows)

    def predict(model: Fitted, x: Tensor) -> Normal:
        loc, square = _predict(model, x.double().flatten(1))
        mean, spread = model.mean + model.scale * loc, model.scale * square.sqrt()
        return Normal(mean[None, :, None].to(x.dtype), spread[None, :, None].to(x.dtype))

    return untrained(lambda support: fitted(first_rows(support, num_rows)), predict)


def rgpe(training: Batch, *, num_rows: int = 64, num_draws: int = 256) -> MetaLearner[Any, Ensemble]:
    """The ensemble as a learner, whose meta-parameters are the processes of the training tasks.

    Args:
        training: the rows of every training task, tasks first; one target, rows may be masked.
        num_rows: rows of a new task that count, at most: the first of those whose mask is 1.
        num_draws: S, that the weights are made of.

    Returns:
        The learner. It is not trained: `init` fits the processes.

    Raises:
        ValueError: a number is below 1, or there are several targets.

    Examples:
        >>> import torch
        >>> x = torch.linspace(-1, 1, 8)[:, None].expand(3, 8, 1)
        >>> learner = rgpe(Batch(x, x * torch.tensor([1.0, 2.0, -1.0])[:, None, None]))
        >>> meta = learner.init(torch.Generator())
        >>> new = Task(Batch(x[:1, :4], 5 * x[:1, :4]), Batch(x[:1], x[:1]))  # ranked as two of the three rank
        >>> prepared = learner.prepare(meta, new, torch.Generator().manual_seed(0), step=None, num_steps=0)
        >>> learner.adapt(meta, tree.at(prepared.support, 0)).weights[2].item()
        0.0

    References:
        Feurer et al. (2018), section 4.
    """
    at_least(1, num_rows=num_rows, num_draws=num_draws)
    if training.y.shape[-1] != 1:
        raise ValueError(f"rgpe ranks one target, and there are {training.y.shape[-1]}.")

    def init(generator: Generator) -> Any:
        return torch.vmap(fitted)(training)

    def prepare(meta: Any, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
        number, size = tasks.support.x.shape[:2]
        shape = number, 2, num_draws, min(size, num_rows)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        return tasks._replace(support=tasks.support._replace(extra=noise.to(tasks.support.x.device)))

    def adapt(meta: Any, support: Batch, /) -> Ensemble:
        few = first_rows(support, num_rows)
        own = fitted(few)
        return Ensemble(own, meta, weights(own, meta, few))

    def predict(params: Ensemble, x: Tensor) -> Normal:
        at = x.double().flatten(1)
        everyone = torch.vmap(_predict, in_dims=(0, None))(params.others, at)
        alone = _predict(params.own, at)
        loc, square = (torch.cat([many, one[None]]) for many, one in zip(everyone, alone, strict=True))
        mean = params.own.mean + params.own.scale * (params.weights @ loc)
        spread = params.own.scale * (params.weights.square() @ square).sqrt()
        return Normal(mean[None, :, None].to(x.dtype), spread[None, :, None].to(x.dtype))

    def loss(params: Ensemble, query: Batch, /) -> Scalar:
        return -masked_mean(log_density(predict(params, query.x), query.y), query.mask)

    return MetaLearner(
        init=init,
        adapt=adapt,
        path=conditioning_path(adapt),
        task_loss=query_loss(adapt, loss),
        predict=predict,
        prepare=prepare,
    )


def weights(own: Fitted, others: Fitted, few: Batch) -> Float64[Tensor, " models"]:
    """How much each model counts, the new task's own the last; they add up to one.

    Args:
        own: the new task's process.
        others: the training tasks' processes, tasks first.
        few: the new task's rows, with standard normals (2, draws, n) as `extra`.
    """
    present, y = own.found.present, few.y[:, 0].double()
    of_training, of_own = few.extra.double().unbind(0)

    def of_other(other: Fitted) -> Float64[Tensor, " draws"]:
        cross = KERNEL.gram(_given(other.log_lengthscale), own.x, other.x)
        prior = KERNEL.gram(_given(other.log_lengthscale), own.x, own.x)
        spread = gaussian_process.covariance(other.found, cross, prior)
        root = torch.linalg.cholesky(spread + 1e-6 * torch.eye(len(y), dtype=y.dtype, device=y.device))
        drawn = gaussian_process.mean(other.found, cross)[:, 0] + of_training @ root.mT
        return _mistakes(drawn, drawn, y, present)

    losses = torch.vmap(of_other)(others)
    inverse = torch.cholesky_inverse(own.found.factor).diagonal()
    standard = (y - own.mean) / own.scale
    without = standard - own.found.weights[:, 0] / inverse
    drawn = without + of_own * inverse.rsqrt()
    ours = _mistakes(drawn, standard.expand_as(drawn), y, present)
    return torch.where(present.sum() < LEAST, _alike(losses), _votes(losses, ours))


def _mistakes(
    drawn: Float64[Tensor, "draws n"],
    compared: Float64[Tensor, "draws n"],
    y: Float64[Tensor, " n"],
    present: Float64[Tensor, " n"],
) -> Float64[Tensor, " draws"]:
    """The pairs of two different rows that each draw ranks wrongly."""
    pairs = present[:, None] * present * (1 - torch.eye(len(y), dtype=y.dtype, device=y.device))
    wrong = (drawn[:, :, None] < compared[:, None]) != (y[:, None] < y)
    return (wrong * pairs).sum((1, 2))


def _votes(losses: Float64[Tensor, "tasks draws"], own: Float64[Tensor, " draws"]) -> Float64[Tensor, " models"]:
    """Each draw's vote for the model of the least loss; ties are the new task's, or shared."""
    highest = own.sort().values[int(0.95 * (len(own) - 1))]
    hopeless = losses.median(1).values > highest
    every = torch.cat([losses + torch.where(hopeless, torch.inf, 0.0)[:, None], own[None]])
    best = (every == every.amin(0)).double()
    best = torch.where(best[-1] > 0, torch.zeros_like(best[:-1]), best[:-1])
    mine = (own == every.amin(0)).double()[None]
    both = torch.cat([best, mine])
    return (both / both.sum(0)).mean(1)


def _alike(losses: Float64[Tensor, "tasks draws"]) -> Float64[Tensor, " models"]:
    number = len(losses)
    return torch.cat([losses.new_full((number,), 1 / number), losses.new_zeros(1)])


def _predict(model: Fitted, x: Float64[Tensor, "m inputs"]) -> tuple[Tensor, Tensor]:
    """Mean and variance of observations, in units of the task's own standard deviation."""
    given = _given(model.log_lengthscale)
    cross = KERNEL.gram(given, x, model.x)
    latent = gaussian_process.variance(model.found, cross, x.new_ones(len(x)))
    return gaussian_process.mean(model.found, cross)[:, 0], latent + model.noise_variance


def _given(log_lengthscale: Tensor) -> dict[str, Tensor]:
    return {"log_lengthscale": log_lengthscale, "log_scale": log_lengthscale.new_zeros(())}


def first_rows(support: Batch, num_rows: int) -> Batch:
    """The first rows that count, as many as there may be, with a mask: what is conditioned on where few do."""
    size = support.x.shape[0]
    mask = support.x.new_ones(size) if isinstance(support.mask, tuple) else support.mask
    rows = (mask > 0).long().argsort(descending=True, stable=True)[: min(size, num_rows)]
    x, y, mask = (leaf.index_select(0, rows) for leaf in (support.x, support.y, mask))
    return Batch(x, y, mask, support.extra)
