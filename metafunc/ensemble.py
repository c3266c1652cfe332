r"""Particles: a Bayesian learner has the type of its point twin, with one extra leading axis of its parameters.

`lift` makes an ensemble of any learner; `svgd` adapts particles that see each other and so approximate a posterior.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.inner import Select, Step, descend, repeat
from metafunc.meta import unprepared
from metafunc.optim import Optimiser, sgd
from metafunc.types import Adapt, Batch, Data, Loss, M, MetaLearner, Normal, P, Predictive, Scalar, Task, Tree


class PerParticle(NamedTuple):
    """Data of which each particle has its own, on a leading axis (for stacked tasks: after the task axis)."""

    values: Tree


def lift(learner: MetaLearner[M, P], *, num_particles: int) -> MetaLearner[M, P]:
    r"""An ensemble of any learner: its meta- and task parameters get a leading axis of particles.

    $$\theta = (\theta_1, \dots, \theta_M), \qquad \ell(\theta, T) = \frac1M \sum_m \ell(\theta_m, T), \qquad
    p(y \mid x) = \frac1M \sum_m p(y \mid x, \theta_m)$$

    The members start apart and are trained independently, each by the gradient of its own loss divided by $M$. What
    `prepare` attaches to a batch is drawn for each particle and is marked by `PerParticle`; x, y and mask are shared. A
    learner that prepares whole data sets, such as trajectories under its own policy, gets one for each particle.

    Args:
        learner: the point learner, or a learner that already has particles: predictions then hold all of them.
        num_particles: $M$.

    Returns:
        A learner of the same type. Paths have the axes (steps, particles, ...).

    Raises:
        ValueError: if `num_particles` is below 1.

    Example:
        >>> import torch
        >>> from metafunc import algorithms, likelihood, nn
        >>> ensemble = lift(algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian()), num_particles=5)
        >>> meta = ensemble.init(torch.Generator().manual_seed(0))
        >>> ensemble.predict(meta, torch.zeros(3, 1)).loc.shape
        torch.Size([5, 3, 1])

    References:
        Lakshminarayanan, Pritzel, Blundell (2017), "Simple and Scalable Predictive Uncertainty Estimation using Deep
        Ensembles".
    """
    if num_particles < 1:
        raise ValueError(f"num_particles = {num_particles}; an ensemble has at least one particle")

    def init(generator: Generator) -> M:
        return tree.stack([learner.init(generator) for _ in range(num_particles)])

    def prepare(meta: M, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
        prepared = [
            learner.prepare(particle, tasks, generator, step=step, num_steps=num_steps)
            for particle in tree.unstack(meta)
        ]
        return Task(
            support=_gather(tasks.support, [own.support for own in prepared]),
            query=_gather(tasks.query, [own.query for own in prepared]),
        )

    def adapt(meta: M, support: Data, /) -> P:
        return _over_particles(learner.adapt, meta, support)  # type: ignore[no-any-return]  # vmap leaves it unannotated

    def path(meta: M, support: Data, num_steps: int, /) -> P:
        def rows(particle: M, own: Data) -> P:
            return learner.path(particle, own, num_steps)

        return _over_particles(rows, meta, support, out_dims=1)  # type: ignore[no-any-return]  # likewise

    def task_loss(meta: M, task: Task, /) -> Scalar:
        def loss(particle: M, support: Data, query: Data) -> Scalar:
            return learner.task_loss(particle, Task(support, query))

        losses: Tensor = _over_particles(loss, meta, task.support, task.query)
        return losses.mean()

    def predict(params: P, x: Tensor) -> Predictive:
        def of_particle(particle: P) -> Predictive:
            predictive = learner.predict(particle, x)
            if isinstance(predictive, Normal) and isinstance(predictive.scale, Tensor):
                # A scale that broadcasts would broadcast wrongly once the axes of the particles are joined.
                return Normal(predictive.loc, predictive.scale.expand_as(predictive.loc))
            return predictive

        return tree.map(lambda leaf: leaf.flatten(0, 1), torch.vmap(of_particle)(params))

    own = (learner.normalisation, learner.network, learner.listed)
    # A learner without dice is spared `prepare`, which looks at every particle at every step.
    dice = unprepared if learner.prepare is unprepared else prepare
    return MetaLearner(init, dice, adapt, path, task_loss, predict, *own)


def _over_particles(function: Callable[..., Any], meta: Tree, *data: Data, out_dims: int = 0) -> Any:
    own, joins = zip(*(_split(one) for one in data), strict=True)

    def of_particle(particle: Tree, own: Sequence[Tree]) -> Any:
        return function(particle, *(join(one) for join, one in zip(joins, own, strict=True)))

    return torch.vmap(of_particle, out_dims=out_dims)(meta, own)


def _split(data: Data) -> tuple[Tree, Callable[[Tree], Data]]:
    """What differs between particles, and the function that puts one particle's share where it belongs."""
    if isinstance(data, PerParticle):
        return data.values, lambda own: own
    if isinstance(data, Batch) and isinstance(data.extra, PerParticle):
        return data.extra.values, lambda own: data._replace(extra=own)
    return (), lambda _: data


def _gather(shared: Data, prepared: list[Data]) -> Data:
    """The particles' stacked data as one: shared where no particle changed it, `PerParticle` elsewhere."""
    if all(_same(shared, own) for own in prepared):
        return shared
    if isinstance(shared, Batch) and all(_same(shared[:3], own[:3]) for own in prepared):
        return shared._replace(extra=_per_particle([own.extra for own in prepared]))
    return _per_particle(prepared)


def _same(first: Tree, second: Tree) -> bool:
    before, after = tree.leaves(first), tree.leaves(second)
    return len(before) == len(after) and all(x is y for x, y in zip(before, after, strict=True))


def _per_particle(values: list[Tree]) -> PerParticle:
    return PerParticle(tree.map(lambda *leaves: torch.stack(leaves, dim=1), values[0], *values[1:]))


class KernelValues(NamedTuple):
    r"""A kernel on particles: $K_{jm} = k(\theta_j, \theta_m)$ and for each m the sum $\sum_j \nabla_{\theta_j} k$."""

    gram: Float[Tensor, "particles particles"]
    repulsion: Float[Tensor, "particles size"]


@runtime_checkable
class Kernel(Protocol):
    """From particles as rows (particles, size) to the kernel's values and gradients."""

    def __call__(self, particles: Float[Tensor, "particles size"], /) -> KernelValues: ...


def rbf(particles: Float[Tensor, "particles size"], /) -> KernelValues:
    r"""The Gaussian kernel with the median bandwidth, $k(\theta, \theta') = \exp(-\|\theta - \theta'\|^2 / h)$.

    $h$ is the median squared distance of *distinct* particles over $\log M$, so that a particle's neighbours weigh
    about as much together as it does itself; no derivative passes through it. Where it is not positive (a single
    particle, or most of them in one place) $h = 1$.

    Args:
        particles: one particle a row (particles, size).

    Returns:
        The kernel and its true gradient, $\nabla_{\theta_j} k(\theta_j, \theta_m) = \frac2h (\theta_m - \theta_j) k$.

    Example:
        >>> import torch
        >>> rbf(torch.tensor([[0.0], [1.0]])).gram
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]])

    References:
        Liu and Wang (2016), "Stein Variational Gradient Descent", section 5.
    """
    count = particles.shape[0]
    # Differences rather than a Gram matrix: particles in one place are then exactly in one place.
    differences = particles - particles[:, None]
    squares = differences.square().sum(-1)
    bandwidth = squares.new_ones(())
    if count > 1:
        first, second = torch.triu_indices(count, count, 1, device=particles.device)
        pairs = torch.sort(squares.detach()[first, second]).values
        median = (pairs[(len(pairs) - 1) // 2] + pairs[len(pairs) // 2]) / 2
        bandwidth = torch.where(median > 0, median / math.log(count), 1.0)
    gram = torch.exp(-squares / bandwidth)
    return KernelValues(gram, 2 / bandwidth * torch.einsum("jm,jmd->md", gram, differences))


def stein(loss: Loss[P], optimiser: Optimiser, *, kernel: Kernel = rbf) -> Step[P]:
    r"""One step of Stein variational gradient descent, for the inner loop's `repeat`, `path`, `masked` and `clipped`.

    See `svgd` for the direction. Where leaves are selected, distances are those of the selected leaves.

    Args:
        loss: (params, data) to minus the log-posterior of *one* particle.
        optimiser: one of `metafunc.optim`.
        kernel: from particles to the kernel's values.

    Returns:
        A step on stacked particles.

    Example:
        >>> import torch
        >>> from metafunc import optim
        >>> step = stein(lambda params, _: params.square().sum() / 2, optim.sgd(0.1))
        >>> step(torch.tensor([[1.0]]), ())  # one particle: a plain gradient step
        tensor([[0.9000]])
    """
    gradient_of = descend(loss, optimiser).direction

    def direction(particles: P, data: Data, select: Select) -> Tree:
        gradients = torch.vmap(lambda particle: gradient_of(particle, data, select))(particles)
        chosen, slopes = (tree.partition(values, select)[0] for values in (particles, gradients))
        gram, repulsion = kernel(_rows(chosen))
        # One product a task; vmap makes a far slower one, of all tasks' rows, out of `gram.mT @ ...`.
        moves = (torch.einsum("jm,jd->md", gram, _rows(slopes)) - repulsion) / repulsion.shape[0]
        unravel = tree.ravel(tree.map(lambda leaf: leaf[0], chosen))[1]
        return tree.partition(gradients, select)[1](torch.vmap(unravel)(moves))

    return Step(direction, optimiser)


def svgd(loss: Loss[P], *, lr: float, num_steps: int, kernel: Kernel = rbf) -> Adapt[P, P]:
    r"""Stein variational gradient descent: particles climb the posterior together and keep each other apart.

    $$\theta_m \leftarrow \theta_m + \epsilon \, \frac1M \sum_{j=1}^M \big[ k(\theta_j, \theta_m) \nabla_{\theta_j} \log
    p(\theta_j \mid D) + \nabla_{\theta_j} k(\theta_j, \theta_m) \big]$$

    A single particle takes a plain gradient step. Derivatives pass through kernel and gradients, as BMAML needs.

    Args:
        loss: (params, data) to $-\log p(\theta \mid D)$ of *one* particle up to a constant: the negative log-likelihood
            *summed* over the data, minus the log-prior.
        lr: the step size $\epsilon$.
        num_steps: steps to take.
        kernel: from particles to the kernel's values.

    Returns:
        (particles, support) to particles: an `Adapt` of trees with a leading particle axis.

    Raises:
        ValueError: if `lr` or `num_steps` is negative.

    Example:
        >>> import torch
        >>> adapt = svgd(lambda params, _: params.square().sum() / 2, lr=0.5, num_steps=100)
        >>> adapt(torch.tensor([[0.1], [0.2]]), ()).flatten().round(decimals=2)  # two points for a standard normal
        tensor([-0.8300,  0.8300])

    References:
        Liu and Wang (2016), "Stein Variational Gradient Descent: A General Purpose Bayesian Inference Algorithm".
    """
    return repeat(stein(loss, sgd(lr), kernel=kernel), num_steps)


def _rows(particles: Tree) -> Float[Tensor, "particles size"]:
    rows: Tensor = torch.vmap(lambda particle: tree.ravel(particle)[0])(particles)
    return rows
