r"""Covariance functions, each with its hyperparameters as a tree of tensors.

A kernel is two pure functions: `init` draws hyperparameters for a number of inputs, and `gram` gives the matrix
$k(x_i, z_j)$ of two sets of rows. What is positive is kept as its logarithm, so that any step leaves it positive.
With $t = x - z$, length scales $\ell$ and $r^2 = \sum_d (t_d / \ell_d)^2$,

$$\text{rbf: } s^2 e^{-\frac12 r^2}, \qquad
\text{periodic: } s^2 e^{-2 \sum_d \sin^2(\pi t_d / p) / \ell^2},$$

$$\text{Matérn 3/2: } s^2 (1 + \sqrt3 r)\, e^{-\sqrt3 r}, \qquad
\text{Matérn 5/2: } s^2 (1 + \sqrt5 r + \tfrac53 r^2)\, e^{-\sqrt5 r},$$

$$\text{spectral mixture: } \textstyle\sum_q w_q \prod_d e^{-2 \pi^2 t_d^2 v_{qd}} \cos(2 \pi t_d \mu_{qd}).$$

References:
    Rasmussen and Williams (2006), "Gaussian Processes for Machine Learning", chapter 4. Wilson and Adams (2013),
    "Gaussian Process Kernels for Pattern Discovery and Extrapolation". Ralaivola et al. (2005), "Graph kernels for
    chemical informatics", for Tanimoto's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc.bayes.matern import matern_shape
from metafunc.bayes.spectral import spectral_shape
from metafunc.checks import above, at_least, one_of
from metafunc.tree import safe_sqrt
from metafunc.types import Tree

Gram: TypeAlias = Callable[[Tree, Tensor, Tensor], Tensor]
Smoothness: TypeAlias = Literal["1/2", "3/2", "5/2"]


@dataclass(frozen=True)
class Kernel:
    """A covariance function as two pure functions.

    Args:
        init: (generator, number of inputs) to hyperparameters.
        gram: (hyperparameters, rows (n, inputs), rows (m, inputs)) to their covariances (n, m).

    Examples:
        >>> import torch
        >>> kernel = rbf()
        >>> kernel.gram(kernel.init(torch.Generator(), 1), torch.zeros(2, 1), torch.ones(1, 1))
        tensor([[0.6065],
                [0.6065]])
    """

    init: Callable[[Generator, int], Tree]
    gram: Gram

    def variance(self, hyperparameters: Tree, x: Float[Tensor, "n inputs"]) -> Float[Tensor, " n"]:
        """The prior variance of every row, $k(x_i, x_i)$, without the matrix."""
        found: Tensor = torch.vmap(lambda row: self.gram(hyperparameters, row[None], row[None])[0, 0])(x)
        return found


def rbf(*, lengthscale: float = 1.0, scale: float = 1.0) -> Kernel:
    """The squared exponential, with a length scale for every input.

    Args:
        lengthscale: where all length scales start, in units of the inputs.
        scale: where the standard deviation starts, in units of the targets.

    Raises:
        ValueError: if a value is not above 0.

    Examples:
        >>> sorted(rbf().init(torch.Generator(), 3))
        ['log_lengthscale', 'log_scale']
    """

    def gram(given: Tree, x: Tensor, z: Tensor) -> Tensor:
        return _variance(given) * torch.exp(-0.5 * _scaled_square(given, x, z))

    return Kernel(_stationary(lengthscale, scale), gram)


def matern(smoothness: Smoothness = "5/2", *, lengthscale: float = 1.0, scale: float = 1.0) -> Kernel:
    """Matérn's kernel, with a length scale for every input.

    Args:
        smoothness: ν; functions of "3/2" can be differentiated once, of "5/2" twice.
        lengthscale: where all length scales start, in units of the inputs.
        scale: where the standard deviation starts, in units of the targets.

    Raises:
        ValueError: if the smoothness is none of these, or a value is not above 0.

    Examples:
        >>> kernel = matern("1/2")  # exp(-|t|)
        >>> kernel.gram(kernel.init(torch.Generator(), 1), torch.zeros(1, 1), torch.ones(1, 1))
        tensor([[0.3679]])
    """
    one_of(smoothness, get_args(Smoothness), "smoothness")
    twice = int(smoothness[0])

    def gram(given: Tree, x: Tensor, z: Tensor) -> Tensor:
        shape = matern_shape(twice * _scaled_square(given, x, z), twice // 2)
        return _variance(given) * shape

    return Kernel(_stationary(lengthscale, scale), gram)


def periodic(*, period: float = 1.0, lengthscale: float = 1.0, scale: float = 1.0) -> Kernel:
    """Functions that repeat; the length scale is in units of the phase, as in most texts, and not of the inputs.

    Args:
        period: where the period starts, in units of the inputs.
        lengthscale: where the length scale starts.
        scale: where the standard deviation starts, in units of the targets.

    Raises:
        ValueError: if a value is not above 0.

    Examples:
        >>> kernel = periodic(period=2.0)
        >>> kernel.gram(kernel.init(torch.Generator(), 1), torch.zeros(1, 1), torch.full((1, 1), 4.0))
        tensor([[1.]])
    """
    above(0, period=period, lengthscale=lengthscale, scale=scale)

    def init(generator: Generator, num_inputs: int) -> Tree:
        return {
            "log_period": torch.tensor(log(period)),
            "log_lengthscale": torch.tensor(log(lengthscale)),
            "log_scale": torch.tensor(log(scale)),
        }

    def gram(given: Tree, x: Tensor, z: Tensor) -> Tensor:
        waves = torch.sin(pi * _differences(x, z) * (-given["log_period"]).exp()).square().sum(-1)
        return _variance(given) * torch.exp(-2 * waves * (-2 * given["log_lengthscale"]).exp())

    return Kernel(init, gram)


def linear(*, scale: float = 1.0, bias: float = 1.0) -> Kernel:
    r"""Straight lines, $b^2 + s^2\, x^\top z$: the Gaussian process of Bayesian linear regression.

    Args:
        scale: where the weights' standard deviation starts.
        bias: where the intercept's starts.

    Raises:
        ValueError: if a value is not above 0.

    Examples:
        >>> kernel = linear()
        >>> kernel.gram(kernel.init(torch.Generator(), 1), torch.full((1, 1), 2.0), torch.full((1, 1), 3.0))
        tensor([[7.]])
    """
    above(0, scale=scale, bias=bias)

    def init(generator: Generator, num_inputs: int) -> Tree:
        return {"log_scale": torch.tensor(log(scale)), "log_bias": torch.tensor(log(bias))}

    def gram(given: Tree, x: Tensor, z: Tensor) -> Tensor:
        intercept: Tensor = (2 * given["log_bias"]).exp()
        return intercept + _variance(given) * (x @ z.mT)

    return Kernel(init, gram)


def cosine(*, scale: float = 1.0) -> Kernel:
    r"""The similarity of directions, $s^2\, x^\top z / (\lVert x \rVert \lVert z \rVert)$; a row of zeros has none.

    Args:
        scale: where the standard deviation starts, in units of the targets.

    Raises:
        ValueError: if the scale is not above 0.

    Examples:
        >>> kernel = cosine()
        >>> kernel.gram(kernel.init(torch.Generator(), 2), torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 3.0]]))
        tensor([[0.7071]])
    """
    above(0, scale=scale)

    def direction(x: Tensor) -> Tensor:
        length = safe_sqrt(x.square().sum(-1, keepdim=True))
        return x / torch.where(length > 0, length, 1.0)

    def gram(given: Tree, x: Tensor, z: Tensor) -> Tensor:
        return _variance(given) * (direction(x) @ direction(z).mT)

    return Kernel(lambda generator, num_inputs: {"log_scale": torch.tensor(log(scale))}, gram)


def spectral_mixture(num_components: int = 4, *, frequency: float = 1.0, bandwidth: float = 1.0) -> Kernel:
    r"""Any stationary kernel, by its spectral density as a mixture of Gaussians: it extrapolates what repeats.

    Args:
        num_components: Gaussians of the mixture.
        frequency: the standard deviation of the means $\mu$ that are started from, in periods per unit of input.
        bandwidth: where the standard deviations $\sqrt v$ start, in the same units.

    Raises:
        ValueError: if there is no component, or a value is not above 0.

    Examples:
        >>> kernel = spectral_mixture(2)
        >>> sorted((name, tuple(leaf.shape)) for name, leaf in kernel.init(torch.Generator(), 3).items())
        [('frequency', (2, 3)), ('log_bandwidth', (2, 3)), ('log_weight', (2,))]
    """
    at_least(1, num_components=num_components)
    above(0, frequency=frequency, bandwidth=bandwidth)

    def init(generator: Generator, num_inputs: int) -> Tree:
        shape = (num_components, num_inputs)
        return {
            "log_weight": torch.full((num_components,), -log(num_components)),
            "frequency": frequency * torch.randn(shape, generator=generator),
            "log_bandwidth": torch.full(shape, log(bandwidth)),
        }

    def gram(given: Tree, x: Tensor, z: Tensor) -> Tensor:
        return spectral_shape(given["log_weight"], given["frequency"], given["log_bandwidth"], x, z)

    return Kernel(init, gram)


def tanimoto(*, scale: float = 1.0) -> Kernel:
    r"""Shared features of molecules, $s^2\, x^\top z / (\lVert x \rVert^2 + \lVert z \rVert^2 - x^\top z)$.

    Two rows of zeros, fingerprints without a bit, are the same molecule: their similarity is one.

    It is for binary inputs or counts as they are, in a Gaussian process of your own by `bayes.gaussian_process`. No
    learner of the table takes it: their kernels are on features of a network, or on a grid of few inputs.

    Args:
        scale: where the standard deviation starts, in units of the targets.

    Raises:
        ValueError: if the scale is not above 0.

    Examples:
        >>> kernel = tanimoto()
        >>> kernel.gram(kernel.init(torch.Generator(), 2), torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([[0.5000]])
    """
    above(0, scale=scale)

    def gram(given: Tree, x: Tensor, z: Tensor) -> Tensor:
        shared = x @ z.mT
        union = x.square().sum(-1)[:, None] + z.square().sum(-1) - shared
        empty = union == 0
        return _variance(given) * torch.where(empty, 1.0, shared / torch.where(empty, 1.0, union))

    return Kernel(lambda generator, num_inputs: {"log_scale": torch.tensor(log(scale))}, gram)


def times(left: Kernel, right: Kernel) -> Kernel:
    """The product of two kernels, of which each keeps its own hyperparameters.

    Examples:
        >>> kernel = times(rbf(lengthscale=0.5), periodic(period=0.25))  # weakly periodic functions
        >>> len(kernel.init(torch.Generator(), 1))
        2
    """

    def init(generator: Generator, num_inputs: int) -> Tree:
        return {"left": left.init(generator, num_inputs), "right": right.init(generator, num_inputs)}

    return Kernel(init, lambda given, x, z: left.gram(given["left"], x, z) * right.gram(given["right"], x, z))


def _variance(given: Tree) -> Tensor:
    found: Tensor = (2 * given["log_scale"]).exp()
    return found


def _differences(x: Float[Tensor, "n inputs"], z: Float[Tensor, "m inputs"]) -> Float[Tensor, "n m inputs"]:
    return x[:, None] - z


def _scaled_square(given: Tree, x: Tensor, z: Tensor) -> Tensor:
    # By differences and not by |x|^2 + |z|^2 - 2 x z, which loses all digits where rows are close.
    scaled: Tensor = _differences(x, z) * (-given["log_lengthscale"]).exp()
    return scaled.square().sum(-1)


def _stationary(lengthscale: float, scale: float) -> Callable[[Generator, int], Tree]:
    above(0, lengthscale=lengthscale, scale=scale)

    def init(generator: Generator, num_inputs: int) -> Tree:
        return {
            "log_lengthscale": torch.full((num_inputs,), log(lengthscale)),
            "log_scale": torch.tensor(log(scale)),
        }

    return init
