r"""Normalisation whose derivatives are right to every order, also for the adapted scale and shift under `vmap`.

torch 2.13 gets the second derivative through its fused normalisations silently wrong when `torch.func.grad` runs over
`vmap` over `grad` and the scale and shift are batched. The compositions below are made of elementary operations only.
"""

from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-5


def moments(x: Float[Tensor, "n c ..."]) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """The mean and the (biased) variance of every channel over the batch and all positions."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    mean = x.mean(axes)
    return mean, (x - _channels(mean, x)).square().mean(axes)


def normalise(
    x: Float[Tensor, "n c ..."],
    mean: Float[Tensor, " c"],
    var: Float[Tensor, " c"],
    scale: Float[Tensor, " c"],
    shift: Float[Tensor, " c"],
) -> Float[Tensor, "n c ..."]:
    r"""$\gamma\,(x - \mu)/\sqrt{\sigma^2 + \epsilon} + \beta$, channel by channel."""
    gain = scale * (var + EPSILON).rsqrt()
    return (x - _channels(mean, x)) * _channels(gain, x) + _channels(shift, x)


def _channels(vector: Tensor, like: Tensor) -> Tensor:
    return vector.reshape(-1, *(1,) * (like.ndim - 2))
