r"""The frame of learners that draw a latent variable for each task: neural processes.

A network summarises rows as a Gaussian $q(z \mid D)$, and predictions are mixtures over its draws. They are trained by
one of two objectives, with support C and query T of n rows, per row:

$$\text{NPVI:}\quad \tfrac1n \Big(\mathbb E_{q(z \mid C \cup T)} \textstyle\sum_{T} \log p(y \mid x, z, C)
- \mathrm{KL}\big(q(z \mid C \cup T) \,\|\, q(z \mid C)\big)\Big), \qquad
\text{NPML:}\quad \tfrac1n \log \frac1L \sum_{l=1}^L \prod_{T} p(y \mid x, z_l, C),\; z_l \sim q(z \mid C).$$

The first is the evidence lower bound in which the summary of the support set stands for the prior; the second is the
likelihood of the query itself, estimated by the draws that predict. Draws are attached by `prepare`; without them z is
the mean.

References:
    Garnelo et al. (2018), "Neural Processes". Foong et al. (2020), "Meta-Learning Stationary Stochastic Process
    Prediction with Convolutional Neural Processes", section 4.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias, TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.algorithms.assembly import context_learner, known
from metafunc.bayes.gaussian import Gaussian, kl
from metafunc.bayes.stein import log_mean_exp
from metafunc.bayes.variational import draws_for, draws_of, samples
from metafunc.checks import at_least, one_of
from metafunc.nn.likelihood import Likelihood
from metafunc.transforms.objectives import pool
from metafunc.types import Batch, MetaLearner, Model, Predictive, Scalar, Task, Tree

M = TypeVar("M")
C = TypeVar("C")
Objective: TypeAlias = Literal["npvi", "npml"]
LEAST = 0.1
"""The smallest standard deviation of a latent variable, the authors'."""


class Latent(NamedTuple):
    """What a task is: what its support set is without the latent variable, and draws of that."""

    context: Tree
    draws: Float[Tensor, "particles latents"]


def summary(outputs: Float[Tensor, " double"]) -> Gaussian:
    r"""A Gaussian from a network's outputs, with $\sigma = .1 + .9\, \mathrm{sigmoid}$.

    Examples:
        >>> import torch
        >>> summary(torch.zeros(2)).log_scale.exp()
        tensor([0.5500])
    """
    mean, raw = outputs.chunk(2, dim=-1)
    return Gaussian(mean, (LEAST + (1 - LEAST) * torch.sigmoid(raw)).log())


def latent_learner(
    model: Model,
    likelihood: Likelihood,
    *,
    init: Callable[[Generator], M],
    infer: Callable[[M, Batch], Gaussian],
    given: Callable[[M, Batch], C],
    outputs: Callable[[C, Tensor, Tensor], Tensor],
    num_latents: int,
    num_particles: int,
    objective: Objective,
) -> MetaLearner[M, Latent]:
    """The learner that predicts with draws of a latent variable; a path has two rows, before any row and after all.

    Args:
        model: the network that puts out what the likelihood takes.
        likelihood: the observation model.
        init: draws meta-parameters.
        infer: (meta-parameters, rows with encoded targets and a mask) to q(z | rows).
        given: (meta-parameters, such rows) to what a task is beside z.
        outputs: (what a task is beside z, inputs, z) to the likelihood's parameters (n, outputs).
        num_latents: numbers in z.
        num_particles: draws of z, in training and in testing.
        objective: "npvi" or "npml".

    Raises:
        ValueError: if a number is below 1, or there is no such objective.
    """
    at_least(1, num_latents=num_latents, num_particles=num_particles)
    one_of(objective, get_args(Objective), "objective")

    def latents(meta: M) -> Tensor:
        return tree.leaves(meta)[0].new_zeros(num_latents)

    def prepare(meta: M, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
        noise = draws_for(latents(meta), tasks, generator, num_draws=num_particles)
        return tasks._replace(support=tasks.support._replace(extra=noise))

    def drawn(meta: M, support: Batch) -> Latent:
        noise = draws_of(support, latents(meta))
        return Latent(given(meta, support), samples(infer(meta, support), noise))

    def each(task: Latent, x: Tensor) -> Float[Tensor, "particles n outputs"]:
        found: Tensor = tree.vmap(lambda z: outputs(task.context, x, z))(task.draws)
        return found

    def log_probs(task: Latent, query: Batch) -> Float[Tensor, " particles"]:
        found: Tensor = torch.vmap(lambda one: likelihood.log_prob(one, query))(each(task, query.x))
        return found

    frame = context_learner(model, likelihood, init=init, given=drawn, outputs=lambda task, x: each(task, x)[0])

    def task_loss(meta: M, task: Task, /) -> Scalar:
        support, query = known(likelihood, meta, task.support), task.query
        count: Tensor = known(likelihood, meta, query).mask.sum().clamp(min=1)
        if objective == "npml":
            return -log_mean_exp(log_probs(drawn(meta, support), query)) / count
        before, after = infer(meta, support), infer(meta, known(likelihood, meta, pool(task)))
        inferred = Latent(given(meta, support), samples(after, draws_of(support, latents(meta))))
        return (kl(after, before) - log_probs(inferred, query).mean()) / count

    def predict(task: Latent, x: Tensor) -> Predictive:
        return likelihood.predictive(each(task, x))

    # The frame's joint is of one draw; without one, a draw is a function, and all of them count.
    return replace(frame, prepare=prepare, task_loss=task_loss, predict=predict, joint=None)
