r"""The frames that learners share. That of most gradient-based ones is a step, taken K times, judged on the query set.

$$\theta_i^{k+1} = \mathrm{step}(\theta_i^k; D_i^{\mathrm{support}}), \quad \theta_i^0 = \theta, \qquad
\min_\theta \tfrac1n \textstyle\sum_i L(\theta_i^K; D_i^{\mathrm{query}}).$$

An algorithm says what is different in it: another step, or another field of the learner by `dataclasses.replace`.
Learners that classify without steps share `class_learner`: what a support set says of each class, and a query's logits.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.checks import not_negative
from metafunc.nn.likelihood import Likelihood
from metafunc.transforms import low_rank
from metafunc.transforms.inner import Step, descend, rematerialised, repeat
from metafunc.transforms.inner import path as path_of
from metafunc.transforms.objectives import query_loss
from metafunc.transforms.optim import sgd
from metafunc.types import Adapt, Batch, Data, MetaLearner, Model, Params, Predictive, Scalar, TaskLoss

M = TypeVar("M")
P = TypeVar("P")


def gradient_step(model: Model, likelihood: Likelihood, inner_lr: float) -> Step[Params]:
    r"""MAML's inner step, $\theta - \alpha \nabla L(\theta; D^{\mathrm{support}})$, on the likelihood's training loss.

    Args:
        model: the network.
        likelihood: the observation model.
        inner_lr: $\alpha$.

    Raises:
        ValueError: if `inner_lr` is negative or not finite.
    """
    not_negative(inner_lr=inner_lr)
    return descend(likelihood.of(model), sgd(inner_lr))


def step_learner(
    model: Model, likelihood: Likelihood, step: Adapt[Params, Params], num_steps: int
) -> MetaLearner[Params, Params]:
    """The learner of a step: adapted by it, trained by the query loss, without noise.

    Args:
        model: the network.
        likelihood: the observation model; its loss is the outer one.
        step: the inner step.
        num_steps: inner steps in training.

    Returns:
        The learner; meta-parameters and task parameters are both the model's.

    Raises:
        ValueError: if `num_steps` is negative.

    Example:
        >>> from metafunc import likelihood, nn
        >>> model, observed = nn.mlp((1,), 1), likelihood.gaussian()
        >>> learner = step_learner(model, observed, gradient_step(model, observed, 0.01), num_steps=1)
    """
    adapt = repeat(step, num_steps, finish=model.finish)
    return MetaLearner(
        init=model.init,
        adapt=adapt,
        path=path_of(step, finish=model.finish),
        task_loss=query_loss(adapt, likelihood.of(model)),
        predict=likelihood.predict(model),
        normalisation=model.normalisation,
    )


def low_rank_loss(model: Model, likelihood: Likelihood, inner_lr: float, num_steps: int) -> TaskLoss[Params]:
    """The query loss after `num_steps` gradient steps, adapted weights kept in factors where that is cheaper."""
    return low_rank.query_loss(likelihood.of(model), lr=inner_lr, num_steps=num_steps, finish=model.finish)


def rematerialised_loss(
    model: Model, likelihood: Likelihood, step: Adapt[Params, Params], num_steps: int
) -> TaskLoss[Params]:
    """The query loss after `num_steps` steps that keep their inputs only, and are computed again on the way back."""
    return step_learner(model, likelihood, rematerialised(step), num_steps).task_loss


def class_learner(
    model: Model,
    likelihood: Likelihood,
    *,
    init: Callable[[Generator], M],
    given: Callable[[M, Batch, Tensor], P],
    outputs: Callable[[P, Tensor], Tensor],
) -> MetaLearner[M, P]:
    """The learner that classifies without steps: a path has two rows, before any label and after all of them.

    Args:
        model: the network of the features.
        likelihood: the observation model, categorical.
        init: draws meta-parameters.
        given: (meta-parameters, support set, memberships (n, classes)) to what a task is. A row's membership is 1 in
            its own class, and 0 everywhere where the row does not count.
        outputs: (what a task is, inputs) to logits (n, classes).
    """

    def memberships(meta: M, support: Batch) -> Float[Tensor, "n classes"]:
        members = likelihood.encode(support.y).to(tree.leaves(meta)[0].dtype)
        return members if isinstance(support.mask, tuple) else members * support.mask[:, None]

    def adapt(meta: M, support: Batch, /) -> P:
        return given(meta, support, memberships(meta, support))

    def path(meta: M, support: Batch, num_steps: int, /) -> P:
        members = memberships(meta, support)
        both: P = tree.stack([given(meta, support, torch.zeros_like(members)), given(meta, support, members)])
        return both

    def loss(task_params: P, query: Data, /) -> Scalar:
        return likelihood.loss(outputs(task_params, query.x), query)

    def predict(task_params: P, x: Tensor) -> Predictive:
        return likelihood.predictive(outputs(task_params, x)[None])

    return MetaLearner(
        init=init,
        adapt=adapt,
        path=path,
        task_loss=query_loss(adapt, loss),
        predict=predict,
        normalisation=model.normalisation,
    )
