r"""The frame that most gradient-based learners share: a step, taken K times, and judged on the query set.

$$\theta_i^{k+1} = \mathrm{step}(\theta_i^k; D_i^{\mathrm{support}}), \quad \theta_i^0 = \theta, \qquad
\min_\theta \tfrac1n \textstyle\sum_i L(\theta_i^K; D_i^{\mathrm{query}}).$$

An algorithm says what is different in it: another step, or another field of the learner by `dataclasses.replace`.
"""

from metafunc.checks import not_negative
from metafunc.nn.likelihood import Likelihood
from metafunc.transforms import low_rank
from metafunc.transforms.inner import Step, descend, path, rematerialised, repeat
from metafunc.transforms.objectives import query_loss
from metafunc.transforms.optim import sgd
from metafunc.types import Adapt, MetaLearner, Model, Params, TaskLoss


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
        path=path(step, finish=model.finish),
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
