r"""Identities of Bayesian learners: their limits without randomness, and Laplace's volume."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from metafunc import algorithms, tree
from metafunc.bayes import laplace
from metafunc.execution.gradient import value_and_grad
from metafunc.testing.identities.meta_gradient import MATCHES
from metafunc.testing.numerics.report import Report, compare, summarise
from metafunc.testing.numerics.rounding import bounded, count, roundings
from metafunc.testing.problems.cases import ModelCase, NetworkCase
from metafunc.transforms import curvature
from metafunc.transforms.inner import descend, gradient_descent, masked, repeat
from metafunc.transforms.objectives import query_loss
from metafunc.transforms.optim import sgd
from metafunc.types import Data, MetaLearner, P, Params, Task, TaskLoss, Tree

Builder = Callable[..., MetaLearner[Any, Any]]
NOTHING = -100.0
"""The logarithm of a standard deviation that leaves no trace on numbers of 1, and whose inverse square is finite."""


def platipus_limit(case: NetworkCase, *, platipus: Builder = algorithms.platipus) -> Report:
    r"""PLATIPUS without spread is MAML from a mean that the query set has shifted, at meta-test the support set.

    With $\sigma = \sqrt{v_q} = 0$ and $\beta = 0$ the task loss is $L(U(\mu - \gamma_q \nabla L(\mu; D^q)); D^q)$, U
    being MAML's inner loop on the support set, whatever the noise, and a particle is
    $U(\mu - \gamma_p \nabla L(\mu; D^s))$. The gradient for $\mu$ is that of this function.
    """
    learner = platipus(
        case.model, case.likelihood, inner_lr=case.inner_lr, num_steps=case.num_steps, kl_weight=0.0, num_particles=1
    )
    loss = case.likelihood.of(case.model)
    maml = gradient_descent(loss, lr=case.inner_lr, num_steps=case.num_steps)
    nothing = tree.map(lambda leaf: torch.full_like(leaf, NOTHING), case.params)
    ramp = torch.linspace(0.5, 1.5, len(tree.leaves(case.params))).to(tree.leaves(case.params)[0])
    # Step sizes that differ between leaves, and between the two distributions.
    rates = tree.unflatten(case.params, list(case.inner_lr * ramp))
    start = learner.init(Generator().manual_seed(0))
    meta = start._replace(
        prior=start.prior._replace(mean=case.params, log_scale=nothing),
        posterior_scale=nothing,
        prior_lr=rates,
        posterior_lr=tree.scale(rates, 2.0),
    )
    prepared = learner.prepare(meta, case.tasks, Generator().manual_seed(0), step=0, num_steps=1)

    def shifted(params: Params, data: Data, factor: float) -> Params:
        return descend(loss, sgd(tree.scale(rates, factor)))(params, data)

    def by_maml(params: Params, task: Task, /) -> Tensor:
        return loss(maml(shifted(params, task.query, 2.0), task.support), task.query)

    def adapted(params: Params, tasks: Task) -> Params:
        each = [maml(shifted(params, one.support, 1.0), one.support) for one in tree.unstack(tasks)]
        return tree.stack(each)

    value, gradient = value_and_grad(learner.task_loss)(meta, prepared)
    (limit, along), bound = bounded(value_and_grad(by_maml), case.params, case.tasks, passes=2 * case.num_steps + 4)
    particles = torch.vmap(learner.adapt, in_dims=(None, 0))(meta, prepared.support)
    points, near = bounded(adapted, case.params, case.tasks, passes=2 * case.num_steps + 4)
    first = tree.map(lambda leaf: leaf[:, 0], particles)
    comparisons = [
        compare(
            (value, gradient.prior.mean), (limit, along), bound, "Without spread PLATIPUS is not MAML in training."
        ),
        compare(first, points, near, "Without spread PLATIPUS is not MAML at meta-test."),
    ]
    return summarise("platipus_limit", comparisons, MATCHES, str(case))


def mr_maml_limit(case: NetworkCase, *, mr_maml: Builder = algorithms.mr_maml_w) -> Report:
    r"""MR-MAML without noise and KL term is MAML whose inner loop leaves the encoder alone.

    With $\theta_\sigma = 0$ and $\beta = 0$ value and gradient are those of `masked` gradient descent; the encoder,
    here the first leaf, gets its meta-gradient all the same.
    """
    first = tree.paths(case.params)[0]
    settings = {"inner_lr": case.inner_lr, "num_steps": case.num_steps, "kl_weight": 0.0, "num_particles": 1}
    learner = mr_maml(case.model, case.likelihood, encoder=first, **settings)
    start = learner.init(Generator().manual_seed(0))
    nothing = tree.map(lambda leaf: torch.full_like(leaf, NOTHING, dtype=torch.float64), start.log_scale)
    meta = start._replace(params=case.params, log_scale=nothing)
    prepared = learner.prepare(meta, case.tasks, Generator().manual_seed(0), step=0, num_steps=1)
    loss = case.likelihood.of(case.model)
    step = masked(descend(loss, sgd(case.inner_lr)), lambda path: path != first)
    maml: TaskLoss[Params] = query_loss(repeat(step, case.num_steps), loss)
    value, gradient = value_and_grad(learner.task_loss)(meta, prepared)
    expected, bound = bounded(value_and_grad(maml), case.params, case.tasks, passes=2 * case.num_steps + 2)
    claim = "MR-MAML without noise and KL term is not MAML with a fixed encoder."
    return summarise("mr_maml_limit", [compare((value, gradient.params), expected, bound, claim)], MATCHES, str(case))


LogDet = Callable[..., Tensor]
"""`laplace.log_det`, or another implementation."""


def laplace_volume(case: ModelCase[P], *, log_det: LogDet = laplace.log_det) -> Report:
    r"""Laplace's volume is the log-determinant of a dense Hessian, that of the loss of the linearised model.

    $\log\det(I + v G)$ with $G = \nabla^2_\delta\, \ell(f(\theta) + J \delta)$, which forms no J: its columns are
    derivatives of a function, and for a model that is linear in its parameters it is the Hessian of the loss itself.
    """
    variance = 0.3
    flat, unravel = tree.ravel(case.params)

    def output(params: Tree) -> Tensor:
        return case.apply(params, case.batch.x)

    def loss(outputs: Tensor) -> Tensor:
        return case.loss(outputs, case.batch)

    def linearised(delta: Tensor) -> Tensor:
        along: tuple[Tensor, ...] = torch.func.jvp(lambda at: output(unravel(at)), (flat,), (delta,))
        return loss(along[0] + along[1])

    dense = curvature.hessian(linearised, torch.zeros_like(flat))
    matrix = torch.eye(len(flat), dtype=flat.dtype, device=flat.device) + variance * dense
    expected = torch.linalg.slogdet(matrix).logabsdet
    found, bound = bounded(lambda params: log_det(output, loss, params, variance=variance), case.params, passes=4)
    # Of a determinant of size n: n sums of n products, and a sum of n logarithms of numbers of at least 1.
    size = max(count(case.batch.x), len(flat))
    bound += roundings(matrix, passes=size) * torch.finfo(flat.dtype).eps * float(torch.linalg.matrix_norm(matrix, 2))
    claim = "Laplace's volume is not the log-determinant of the dense Hessian."
    return summarise("laplace_volume", [compare(found, expected, bound, claim)], MATCHES, str(case))
