r"""A convolution and the batch normalisation of its outputs as one convolution: for the images at the input.

A channel's mean and variance over the batch and the positions follow from those of the patches that its kernel sees.
With the mean $\mu$ and the covariance C of the patches (c h w numbers each), and the kernels as the rows of W,

$$m = W\mu, \qquad \sigma^2 = \mathrm{diag}(W C W^\top), \qquad a = \gamma (\sigma^2 + \epsilon)^{-1/2}, \qquad
\gamma\,\frac{w * x - m}{\sqrt{\sigma^2 + \epsilon}} + \beta = (a w) * x + (\beta - a m).$$

The outputs, which the normalisation would go over again and again in each derivative, are 64 numbers for each number of
a one-channel image; the patches are nine, and the derivatives of a, m and the sum are those of vectors.
"""

from torch import Tensor
from torch.nn import functional as F

from metafunc.nn.kernels.convolution import conv2d
from metafunc.nn.kernels.normalisation import EPSILON

FEW = 32
"""Numbers in a patch up to which its covariance is cheap: three channels under a 3 x 3 kernel have 27."""


def convolve_and_normalise(
    x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, *, stride: int, padding: int
) -> Tensor:
    r"""$\gamma \widehat{(w * x)} + \beta$ for images x (n, c, h, w), by the batch's own statistics."""
    patches = F.unfold(x, weight.shape[2:], padding=padding, stride=stride)  # (n, numbers of a patch, positions)
    mean = patches.mean((0, 2))
    centred = patches - mean[:, None]
    # Image by image: one product over all rows would round in float32 by more than the normalisation itself does.
    covariance = (centred @ centred.mT).mean(0) / patches.shape[2]
    kernels = weight.flatten(1)
    gain = scale * (((kernels @ covariance) * kernels).sum(1) + EPSILON).rsqrt()
    return conv2d(x, gain[:, None, None, None] * weight, shift - gain * (kernels @ mean), stride, padding)
