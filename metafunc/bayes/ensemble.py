"""Ensembles: a Bayesian learner has the type of its point twin, with one extra leading axis of its parameters."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from math import log
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes.task_units import InTaskUnits, in_task_units
from metafunc.checks import at_least
from metafunc.recipe import built
from metafunc.types import (
    Batch,
    Data,
    FastLoss,
    M,
    MetaLearner,
    Normal,
    P,
    Predictive,
    Scalar,
    Task,
    TaskLoss,
    Tree,
    unprepared,
)


class PerParticle(NamedTuple):
    """Data of which each particle has its own, on a leading axis (for stacked tasks: after the task axis)."""

    values: Tree


@built
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

    Examples:
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
    at_least(1, num_particles=num_particles)
    if isinstance(learner, InTaskUnits):  # particles of one task have one unit, and transforms look for them within
        units: Any = in_task_units(lift(learner.plain, num_particles=num_particles), **asdict(learner.pooled))
        return units  # type: ignore[no-any-return]  # the task parameters are those of units around particles

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

    def averaged(of_particle: TaskLoss[M]) -> TaskLoss[M]:
        def task_loss(meta: M, task: Task, /) -> Scalar:
            def loss(particle: M, support: Data, query: Data) -> Scalar:
                return of_particle(particle, Task(support, query))

            losses: Tensor = _over_particles(loss, meta, task.support, task.query)
            return losses.mean()

        return task_loss

    own, start = learner.task_loss, learner.begin

    def begin(particles: M, tasks: Task, /) -> M:
        assert start is not None
        return tree.stack([start(particle, tasks) for particle in tree.unstack(particles)])

    def predict(params: P, x: Tensor) -> Predictive:
        predictions: Predictive = tree.vmap(lambda particle: _in_full(learner.predict(particle, x)))(params)
        return tree.map(lambda leaf: leaf.flatten(0, 1), predictions)

    return replace(
        learner,
        init=init,
        adapt=adapt,
        path=path,
        task_loss=FastLoss(averaged(own), averaged(own.definition)) if isinstance(own, FastLoss) else averaged(own),
        predict=predict,
        joint=None if learner.joint is None else _mixed(learner.joint),
        # Without noise there is nothing to prepare, and no need to look at every particle at every step.
        prepare=unprepared if learner.prepare is unprepared else prepare,
        begin=None if start is None else begin,
    )


def _mixed(joint: Callable[[P, Batch], Scalar]) -> Callable[[P, Batch], Scalar]:
    """The log-probability of all rows together under the mixture of the particles."""

    def mixed(params: P, query: Batch) -> Scalar:
        each: Tensor = tree.vmap(joint, in_dims=(0, None))(params, query)
        return each.logsumexp(0) - log(each.shape[0])

    return mixed


def _in_full(predictive: Predictive) -> Predictive:
    """The same, ready for the axes of particles to be joined: nothing broadcasts, and weights of a member sum to 1."""
    if not isinstance(predictive, Normal):
        return predictive
    loc, scale, weight, unit = predictive
    return Normal(
        loc,
        scale.expand_as(loc) if isinstance(scale, Tensor) else scale,
        weight.expand(loc.shape[:2]).log_softmax(0) if isinstance(weight, Tensor) else weight,
        unit.expand_as(loc) if isinstance(unit, Tensor) else unit,
    )


def _over_particles(function: Callable[..., Any], meta: Tree, *data: Data, out_dims: int = 0) -> Any:
    own, joins = zip(*(_split(one) for one in data), strict=True)

    def of_particle(particle: Tree, own: Sequence[Tree]) -> Any:
        return function(particle, *(join(one) for join, one in zip(joins, own, strict=True)))

    return tree.vmap(of_particle, out_dims=out_dims)(meta, own)


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
