r"""Meta-SGD: MAML that learns its step sizes, one per parameter.

Li, Zhou, Chen, Li (2017), "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning". The meta-parameters are an
initialisation $\theta$ (`params`) and a vector $\alpha$ (`inner_lr`) of the same shape, learned together:

$$\theta_i^{k+1} = \theta_i^k - \alpha \odot \nabla L(\theta_i^k; D_i^{\mathrm{support}}), \qquad
\min_{\theta, \alpha} \tfrac1n \textstyle\sum_i L(\theta_i^K; D_i^{\mathrm{query}}).$$

An entry of $\alpha$ may become negative. The paper takes K = 1; with more steps all of them share $\alpha$.
"""

from typing import NamedTuple

import torch
from torch import Generator

from metafunc import tree
from metafunc.checks import at_least, not_negative
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import Step, descend, path, repeat
from metafunc.transforms.objectives import query_loss
from metafunc.transforms.optim import sgd
from metafunc.types import Data, MetaLearner, Model, Params, Tree


class MetaSgdParams(NamedTuple):
    """An initialisation, and a step size for each of its numbers."""

    params: Params
    inner_lr: Params


@built
def meta_sgd(
    model: Model, likelihood: Likelihood, *, inner_lr: float = 0.01, num_steps: int = 1
) -> MetaLearner[MetaSgdParams, Params]:
    """Meta-SGD: an initialisation and a step size for each of its numbers, learned together.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: every step size at the start of training.
        num_steps: inner steps in training.

    Returns:
        The learner; meta-parameters are a `MetaSgdParams`, task parameters the model's.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, or `num_steps` is negative.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.meta_sgd(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.01)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Li, Zhou, Chen, Li (2017), algorithm 1.
    """
    not_negative(inner_lr=inner_lr)
    at_least(0, num_steps=num_steps)
    loss = likelihood.of(model)

    def init(generator: Generator) -> MetaSgdParams:
        params = model.init(generator)
        return MetaSgdParams(params, tree.map(lambda leaf: torch.full_like(leaf, inner_lr), params))

    def step(meta: MetaSgdParams) -> Step[Tree]:
        return descend(loss, sgd(meta.inner_lr))

    def adapt(meta: MetaSgdParams, support: Data, /) -> Tree:
        return repeat(step(meta), num_steps, finish=model.finish)(meta.params, support)

    def rows(meta: MetaSgdParams, support: Data, num_steps: int, /) -> Tree:
        return path(step(meta), finish=model.finish)(meta.params, support, num_steps)

    return MetaLearner(
        init=init,
        adapt=adapt,
        path=rows,
        task_loss=query_loss(adapt, loss),
        predict=likelihood.predict(model),
        normalisation=model.normalisation,
        network_prefix="params.",
    )
