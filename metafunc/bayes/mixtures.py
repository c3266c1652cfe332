"""What particles say together: the log-density of targets under a mixture, row by row or all rows at once."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc.types import Batch, Categorical, P, Predictive, Scalar, Tree, masked_sum


def log_weights(predictive: Predictive) -> Tensor:
    """The logarithms of the particles' weights, which add up to one: (particles, n), or broadcast against that.

    Examples:
        >>> import torch
        >>> from metafunc.types import Normal
        >>> log_weights(Normal(torch.zeros(2, 1, 1), (), torch.tensor([[0.0], [0.0]]))).exp()
        tensor([[0.5000],
                [0.5000]])
    """
    particles = predictive.logits if isinstance(predictive, Categorical) else predictive.loc
    if isinstance(predictive, Categorical) or isinstance(predictive.log_weight, tuple):
        return particles.new_full((), -math.log(particles.shape[0]))
    return torch.log_softmax(predictive.log_weight.expand(particles.shape[0], -1), 0)


def of_particles(predictive: Predictive, y: Tensor) -> Float[Tensor, "particles n"]:
    """The log-density, or log-probability, that each particle gives each row."""
    if isinstance(predictive, Categorical):
        log_probs = torch.log_softmax(predictive.logits, -1)
        return log_probs.gather(-1, y.expand(log_probs.shape[0], -1)[..., None])[..., 0]
    return predictive.log_prob(y).sum(-1)


def log_density(predictive: Predictive, y: Tensor) -> Float[Tensor, " n"]:
    r"""The log-density of each row under the mixture, $\log \sum_m w_m\, p_m(y_i \mid x_i)$.

    Examples:
        >>> import torch
        >>> log_density(Categorical(torch.zeros(3, 2, 5)), torch.tensor([0, 4])).exp()
        tensor([0.2000, 0.2000])
    """
    return torch.logsumexp(of_particles(predictive, y) + log_weights(predictive), 0)


def log_joint(predictive: Predictive, y: Tensor, mask: Tree = ()) -> Scalar:
    r"""The log-density of all rows together, $\log \sum_m w_m \prod_i p_m(y_i \mid x_i)$: particles are functions.

    Where every row has weights of its own particles are components, and no functions, and rows are independent.

    Args:
        predictive: logits (particles, n, classes), or loc (particles, n, outputs) with a scale.
        y: classes (n,) or targets (n, outputs).
        mask: 1 for rows that count (n,); () if all do.

    Examples:
        >>> import torch
        >>> sure = Categorical(torch.tensor([[[9.0, 0.0]] * 2, [[0.0, 9.0]] * 2]))  # twice 0, or twice 1
        >>> log_joint(sure, torch.tensor([1, 1])).exp()
        tensor(0.4999)
    """
    weights = log_weights(predictive)
    if weights.ndim > 0 and weights.shape[1] > 1:
        return masked_sum(log_density(predictive, y), mask)
    together: Tensor = torch.vmap(masked_sum, in_dims=(0, None))(of_particles(predictive, y), mask)
    return torch.logsumexp(together + (weights if weights.ndim == 0 else weights[:, 0]), 0)


def independent(predict: Callable[[P, Tensor], Predictive]) -> Callable[[P, Batch], Scalar]:
    r"""The joint of a learner whose particles are no functions: rows are independent given the support set.

    $$\log p(y_1, \dots, y_n \mid x, D) = \textstyle\sum_i \log \sum_m w_m\, p_m(y_i \mid x_i).$$

    Args:
        predict: a learner's.
    """

    def joint(params: P, query: Batch, /) -> Scalar:
        return masked_sum(log_density(predict(params, query.x), query.y), query.mask)

    return joint
