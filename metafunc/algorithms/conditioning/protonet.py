r"""Prototypical networks: a class is the mean of its embedded support rows, a query belongs to the nearest one.

Snell, Swersky, Zemel (2017), "Prototypical Networks for Few-shot Learning". With an embedding $f_\theta$,

$$c_k = \frac{1}{|S_k|} \sum_{x \in S_k} f_\theta(x), \qquad
p(y = k \mid x) = \mathrm{softmax}_k\big(-\lVert f_\theta(x) - c_k \rVert^2\big).$$

A task's parameters are the embedding's, shared by all tasks, and the prototypes $c_k$ (`centres`). Adaptation takes no
steps: a path has two rows, before (no support: all prototypes at the origin, hence equal odds) and after. A class
without support rows has its prototype at the origin, too, and the embedding learns what to put there.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from metafunc.algorithms.assembly import class_learner
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.types import Batch, MetaLearner, Model, Params, Tree


class Prototypes(NamedTuple):
    """What a task is to a prototypical network: the embedding's parameters and a point per class."""

    params: Params
    centres: Float[Tensor, "classes features"]


def _class_means(features: Float[Tensor, "n f"], weights: Float[Tensor, "n c"]) -> Float[Tensor, "c f"]:
    """The weighted mean of the rows of each class; zero for a class without rows."""
    return weights.T @ features / weights.sum(0).clamp(min=1)[:, None]


def _negative_distances(features: Float[Tensor, "n f"], centres: Float[Tensor, "c f"]) -> Float[Tensor, "n c"]:
    return -(features[:, None] - centres).square().sum(-1)


@built
def protonet(model: Model, likelihood: Likelihood) -> MetaLearner[Params, Prototypes]:
    """Prototypical networks: classify by the nearest class mean in a learned feature space.

    Args:
        model: the embedding, a network without a head.
        likelihood: the observation model, categorical.

    Returns:
        The learner; meta-parameters are the embedding's, task parameters a `Prototypes`.

    Raises:
        ValueError: if the likelihood is not categorical.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.protonet(nn.conv4((1, 28, 28), None), likelihood.categorical(5))
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = Batch(torch.zeros(10, 1, 28, 28), torch.arange(10) % 5)  # two rows of each class
        >>> params = learner.adapt(meta, support)
        >>> learner.predict(params, torch.zeros(7, 1, 28, 28)).logits.shape  # particles, rows, classes
        torch.Size([1, 7, 5])

    References:
        Snell, Swersky, Zemel (2017), algorithm 1.
    """
    if likelihood.kind != "classification":
        raise ValueError(f"protonet classifies and needs likelihood.categorical(...), not one of {likelihood.kind}.")

    def given(meta: Tree, support: Batch, members: Float[Tensor, "n classes"]) -> Prototypes:
        return Prototypes(model.finish(meta, support), _class_means(model.apply(meta, support.x), members))

    def outputs(task_params: Prototypes, x: Tensor) -> Tensor:
        return _negative_distances(model.apply(task_params.params, x), task_params.centres)

    return class_learner(model, likelihood, init=model.init, given=given, outputs=outputs)
