r"""Learners that draw: where their noise comes from, how it travels, and what is common to their predictions.

A stochastic learner is a function of standard normals $\epsilon$ that `prepare` attaches to the support set: one draw
in training, S draws in testing, each a tree like what is drawn, with the axes (tasks, draws, ...). For one task the
draws are the leading axis, and so are the particles that they become:

$$\theta_s = \mu + \sigma \odot \epsilon_s, \qquad \phi_s = \mathrm{adapt}(\theta_s, D^{\mathrm{support}}), \qquad
p(y \mid x) = \frac1S \sum_s p(y \mid x, \phi_s).$$

Tasks that were not prepared have one draw, and it is the mean: $\epsilon = 0$.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes.gaussian import Gaussian, kl, sample, standard_noise
from metafunc.transforms.inner import descend, path, repeat, trajectory
from metafunc.transforms.optim import sgd
from metafunc.types import Adapt, Batch, Data, Loss, M, P, Prepare, Scalar, Task, Tree

T = TypeVar("T")


def draws_for(like: Tree, tasks: Task, generator: Generator, *, num_draws: int, shared: bool = False) -> Tree:
    """Standard normals for stacked tasks, with the axes (tasks, draws, ...).

    Args:
        like: a tree of what is drawn, without those axes.
        tasks: stacked tasks.
        generator: where the numbers come from; one of a shard of a step's tasks has the step's as `of_step`.
        num_draws: how many draws a task has.
        shared: whether all tasks see the same draws.

    Returns:
        A tree like `like`, with two axes more.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, Task
        >>> batch = Batch(x=torch.ones(4, 5, 1), y=torch.ones(4, 5, 1))
        >>> draws_for(torch.zeros(3), Task(batch, batch), torch.Generator(), num_draws=2).shape
        torch.Size([4, 2, 3])
    """
    num_tasks = tree.leaves(tasks)[0].shape[0]
    if shared:  # also with tasks that another shard has
        generator = getattr(generator, "of_step", generator)
        once = standard_noise(like, generator, num_draws=num_draws)
        return tree.map(lambda leaf: leaf.expand(num_tasks, *leaf.shape), once)
    drawn = standard_noise(like, generator, num_draws=num_tasks * num_draws)
    return tree.map(lambda leaf: leaf.unflatten(0, (num_tasks, num_draws)), drawn)


def draws_of(support: Batch, like: T) -> T:
    """The normals attached to a task's support set, (draws, ...); where there are none, one draw of zeros."""
    if tree.leaves(support.extra):
        return support.extra  # type: ignore[no-any-return]  # What `prepare` attaches is a tree like this one.
    return tree.map(lambda leaf: leaf.new_zeros(1, *leaf.shape), like)


def preparing(drawn: Callable[[M], Tree], *, num_particles: int, shared: bool = False) -> Prepare[M]:
    """The `prepare` of a learner that draws: normals for the support set, one draw in training, S in testing.

    Args:
        drawn: from meta-parameters to a tree like what is drawn.
        num_particles: S.
        shared: whether all tasks of a batch see the same draws.
    """

    def prepare(meta: M, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
        num_draws = num_particles if step is None else 1
        noise = draws_for(drawn(meta), tasks, generator, num_draws=num_draws, shared=shared)
        return tasks._replace(support=tasks.support._replace(extra=noise))

    return prepare


def mean_over(function: Callable[[P], Scalar], draws: P) -> Scalar:
    """The mean of a function over draws."""
    values: Tensor = tree.vmap(function)(draws)
    return values.mean()


def adapt_each(step: Adapt[P, P], starts: P, support: Data, num_steps: int, *, finish: Adapt[P, P] | None = None) -> P:
    """Every draw's parameters after a number of steps: `inner.repeat`, one draw at a time."""
    adapt = repeat(step, num_steps, finish=finish)
    adapted: P = tree.vmap(lambda start: adapt(start, support))(starts)
    return adapted


def path_each(step: Adapt[P, P], starts: P, support: Data, num_steps: int, *, finish: Adapt[P, P] | None = None) -> P:
    """Every draw's parameters after 0..num_steps steps: `inner.path`, one draw at a time; axes (steps, draws, ...)."""
    rows = path(step, finish=finish)
    visited: P = tree.vmap(lambda start: rows(start, support, num_steps), out_dims=1)(starts)
    return visited


def samples(gaussian: Gaussian, draws: P) -> P:
    """A Gaussian's samples for draws of noise on a leading axis."""
    drawn: P = torch.vmap(lambda noise: sample(gaussian, noise))(draws)
    return drawn


class Draws(NamedTuple):
    """The normals of a task whose posterior is found by gradient steps: for their expectations, and for particles."""

    inner: Tree
    particles: Tree


def preparing_inference(drawn: Callable[[M], Tree], *, num_samples: int, num_particles: int) -> Prepare[M]:
    """The `prepare` of a learner that descends on an expectation: `Draws` for the support set.

    Args:
        drawn: from meta-parameters to a tree like what is drawn.
        num_samples: draws of an expectation, in the inner loop and in training.
        num_particles: particles in testing.
    """

    def prepare(meta: M, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
        like = drawn(meta)
        inner = draws_for(like, tasks, generator, num_draws=num_samples)
        count = num_particles if step is None else num_samples
        noise = Draws(inner, draws_for(like, tasks, generator, num_draws=count))
        return tasks._replace(support=tasks.support._replace(extra=noise))

    return prepare


def free_energy(loss: Loss[P], prior: Gaussian, draws: Tree, *, kl_weight: float) -> Loss[Gaussian]:
    r"""What a Gaussian over parameters loses on data, $\mathbb E_q[L(\theta; D)] + \beta\,\mathrm{KL}(q \,\|\, p)$.

    The expectation is the mean over fixed draws of noise, so that descending on it is deterministic.

    Args:
        loss: (params, data) to a scalar.
        prior: p.
        draws: normals with a leading axis.
        kl_weight: $\beta$.

    Returns:
        (q, data) to a scalar.
    """

    def of(q: Gaussian, data: Data, /) -> Scalar:
        return mean_over(lambda params: loss(params, data), samples(q, draws)) + kl_weight * kl(q, prior)

    return of


@dataclass(frozen=True)
class Inference(Generic[P]):
    r"""A task's posterior by gradient steps from a Gaussian prior down the free energy of the support set.

    Mean and log-scale take the same step size. All steps of a task share their draws of noise.

    Args:
        loss: (params, data) to a scalar.
        lr: the step size.
        kl_weight: of the divergence from the prior.
        num_steps: steps of `adapt`.
        finish: applied to every particle.
    """

    loss: Loss[P]
    lr: float
    kl_weight: float
    num_steps: int
    finish: Adapt[P, P]

    def draws(self, prior: Gaussian, support: Batch) -> Draws:
        """The task's noise."""
        return draws_of(support, Draws(prior.mean, prior.mean))

    def posteriors(self, prior: Gaussian, support: Batch, num_steps: int) -> list[Gaussian]:
        """The posterior after 0..num_steps steps, the first being the prior."""
        energy = free_energy(self.loss, prior, self.draws(prior, support).inner, kl_weight=self.kl_weight)
        return trajectory(descend(energy, sgd(self.lr)), prior, [support] * num_steps)

    def particles(self, prior: Gaussian, q: Gaussian, support: Batch) -> P:
        """Draws of a posterior."""
        starts: P = samples(q, self.draws(prior, support).particles)
        finished: P = tree.vmap(lambda params: self.finish(params, support))(starts)
        return finished

    def adapt(self, prior: Gaussian, support: Batch, /) -> P:
        """An `Adapt` to particles."""
        return self.particles(prior, self.posteriors(prior, support, self.num_steps)[-1], support)

    def path(self, prior: Gaussian, support: Batch, num_steps: int, /) -> P:
        """A `Path` of particles; its first row is drawn from the prior."""
        posteriors = self.posteriors(prior, support, num_steps)
        return tree.stack([self.particles(prior, q, support) for q in posteriors])
