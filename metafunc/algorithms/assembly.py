r"""The frames that learners share. That of most gradient-based ones is a step, taken K times, judged on the query set.

$$\theta_i^{k+1} = \mathrm{step}(\theta_i^k; D_i^{\mathrm{support}}), \quad \theta_i^0 = \theta, \qquad
\min_\theta \tfrac1n \textstyle\sum_i L(\theta_i^K; D_i^{\mathrm{query}}).$$

An algorithm says what is different in it: another step, or another field of the learner by `dataclasses.replace`.
Learners that classify without steps share `class_learner`: what a support set says of each class, and a query's logits.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.checks import above, not_negative, one_of
from metafunc.nn.likelihood import Likelihood, heteroscedastic
from metafunc.nn.noise_scale import with_noise_scale
from metafunc.transforms import low_rank
from metafunc.transforms.inner import Step, descend, rematerialised, repeat
from metafunc.transforms.inner import path as path_of
from metafunc.transforms.objectives import query_loss
from metafunc.transforms.optim import sgd
from metafunc.types import (
    Adapt,
    Batch,
    Data,
    MetaLearner,
    Model,
    Params,
    Predictive,
    Scalar,
    TaskLoss,
    Tree,
    masked_mean,
)

M = TypeVar("M")
P = TypeVar("P")
Noise: TypeAlias = Literal["none", "learned", "input"]
"""Where a regression's noise scale comes from: it has none, from a parameter, or from the network at every input."""


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

    Examples:
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


def noisy(model: Model, likelihood: Likelihood, noise: Noise, noise_scale: float) -> tuple[Model, Likelihood]:
    r"""A network and a likelihood with the noise that a learner's settings ask for.

    With "learned" the noise scale is one more parameter, $\sigma = \mathrm{softplus}(s)$, and the loss is the mean
    negative log-likelihood per row, whose gradient is the squared error's over $2 \sigma^2$: at $\sigma = .7$ a step
    size means what it means without noise, at .2 it is twelve times as long.

    Args:
        model: the network.
        likelihood: the observation model.
        noise: where the noise scale comes from. "input" is for a likelihood that reads it from the network already.
        noise_scale: where a learned noise scale starts, in units of y.

    Raises:
        ValueError: if the noise is none of these, or does not fit the likelihood.
    """
    one_of(noise, get_args(Noise), "noise")
    above(0, noise_scale=noise_scale)
    if noise == "none":
        return model, likelihood
    if likelihood.kind != "regression":
        raise ValueError(f"noise={noise!r} is for regression; classes have no noise scale: leave it out.")
    reads = likelihood.num_outputs > likelihood.num_targets
    if noise == "input":
        if not reads:
            raise ValueError(
                "noise='input' needs likelihood.heteroscedastic(...), and a network with twice the outputs."
            )
        return model, likelihood
    if reads or likelihood.with_scale is None:
        raise ValueError("noise='learned' needs likelihood.gaussian(...) without a scale: this one has its noise.")
    targets = likelihood.num_targets
    return with_noise_scale(model, targets, noise_scale), heteroscedastic(targets, floor=0.0)


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


def joined(x: Tensor, others: Tensor) -> Float[Tensor, "n width"]:
    """Flattened rows, each followed by what belongs to it."""
    return torch.cat([x.flatten(1), others.to(x.dtype)], dim=-1)


def mean_row(rows: Float[Tensor, "n width"], mask: Tree = ()) -> Float[Tensor, " width"]:
    """The mean of the rows that count; zero if there is none."""
    mean: Tensor = torch.vmap(masked_mean, in_dims=(1, None))(rows, mask)
    return mean


def known(likelihood: Likelihood, meta: Tree, rows: Batch) -> Batch:
    """Rows as networks take them: targets are encoded, and there is a mask."""
    like = tree.leaves(meta)[0]
    mask = like.new_ones(rows.x.shape[0]) if isinstance(rows.mask, tuple) else rows.mask.to(like)
    return rows._replace(y=likelihood.encode(rows.y).to(like), mask=mask)


def context_learner(
    model: Model,
    likelihood: Likelihood,
    *,
    init: Callable[[Generator], M],
    given: Callable[[M, Batch], P],
    outputs: Callable[[P, Tensor], Tensor],
) -> MetaLearner[M, P]:
    """The learner that conditions on rows without steps: a path has two rows, before any of them and after all.

    Args:
        model: the network that puts out what the likelihood takes.
        likelihood: the observation model.
        init: draws meta-parameters.
        given: (meta-parameters, support set) to what a task is. Its targets are encoded, (n, targets), and it has a
            mask, of zeros before any row is seen.
        outputs: (what a task is, inputs) to the likelihood's parameters (n, outputs).
    """

    def adapt(meta: M, support: Batch, /) -> P:
        return given(meta, known(likelihood, meta, support))

    def path(meta: M, support: Batch, num_steps: int, /) -> P:
        found = known(likelihood, meta, support)
        absent = found._replace(mask=torch.zeros_like(found.mask))
        both: P = tree.stack([given(meta, absent), given(meta, found)])
        return both

    def loss(task_params: P, query: Data, /) -> Scalar:
        return likelihood.loss(outputs(task_params, query.x), query)

    def predict(task_params: P, x: Tensor) -> Predictive:
        return likelihood.predictive(outputs(task_params, x)[None])

    def joint(task_params: P, query: Batch, /) -> Scalar:
        return likelihood.log_prob(outputs(task_params, query.x), query)

    return MetaLearner(
        init=init,
        adapt=adapt,
        path=path,
        task_loss=query_loss(adapt, loss),
        predict=predict,
        joint=joint,
        normalisation=model.normalisation,
    )
