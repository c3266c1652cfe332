r"""Gaussians with independent coordinates over a tree of parameters: priors, posteriors and what lies between them.

Randomness is data: `sample` draws no random numbers but shifts and scales standard normals that `prepare` has drawn, so
it is differentiable with respect to mean and scale, and the same noise gives the same parameters.
"""

import math
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.checks import above, at_least
from metafunc.types import Scalar, Tree, log_normal

T = TypeVar("T")
STANDARD_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)
"""Of a normal distribution with standard deviation one, in nats."""


class Gaussian(NamedTuple):
    r"""$\mathcal N(\mu, \mathrm{diag}(\sigma^2))$ over a tree of parameters.

    `mean` is a tree like the parameters, and so is `log_scale`, the logarithm of the standard deviation $\sigma$; its
    leaves may also be smaller and broadcast, such as one number per leaf. Both are meta-parameters like any others.
    """

    mean: Tree
    log_scale: Tree


def standard(like: Tree) -> Gaussian:
    r"""$\mathcal N(0, I)$ over a tree of parameters.

    Examples:
        >>> import torch
        >>> standard(torch.ones(2))
        Gaussian(mean=tensor([0., 0.]), log_scale=tensor([0., 0.]))
    """
    zeros = tree.zeros_like(like)
    return Gaussian(zeros, zeros)


def around(mean: Tree, scale: float) -> Gaussian:
    r"""$\mathcal N(\mu, s^2 I)$ with a $\log s$ for every number, where a learned Gaussian starts.

    Raises:
        ValueError: if `scale` is not above 0.

    Examples:
        >>> import torch
        >>> around(torch.ones(2), 1.0)
        Gaussian(mean=tensor([1., 1.]), log_scale=tensor([0., 0.]))
    """
    above(0, scale=scale)
    return Gaussian(mean, tree.map(lambda leaf: torch.full_like(leaf, math.log(scale)), mean))


def triangular(raw: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """A Cholesky factor of numbers that any step leaves one: below the diagonal as they are, on it exponentials.

    Examples:
        >>> import torch
        >>> triangular(torch.tensor([[0.0, 9.0], [2.0, 0.0]]))
        tensor([[1., 0.],
                [2., 1.]])
    """
    factor: Tensor = raw.tril(-1) + torch.diag_embed(raw.diagonal().exp())
    return factor


def standard_noise(like: T, generator: Generator, *, num_draws: int | None = None) -> T:
    """Draw standard normals like a tree, from a generator: not for a pure function, but for `prepare`.

    Args:
        like: a tree of floating-point tensors.
        generator: where the numbers come from; it moves on.
        num_draws: how many draws to stack on a new leading axis; None draws one, without such an axis.

    Returns:
        A tree like `like`, on its devices and of its types.

    Raises:
        ValueError: if `num_draws` is negative.

    Examples:
        >>> import torch
        >>> noise = standard_noise({"w": torch.zeros(3)}, torch.Generator().manual_seed(0), num_draws=2)
        >>> noise["w"].shape
        torch.Size([2, 3])
    """
    at_least(0, num_draws=num_draws)
    lead = () if num_draws is None else (num_draws,)

    def draw(leaf: Tensor) -> Tensor:
        # The generator's own device draws, so that a seed gives the same noise wherever the parameters live.
        noise = torch.randn((*lead, *leaf.shape), generator=generator, dtype=leaf.dtype, device=generator.device)
        return noise.to(leaf.device)

    return tree.map(draw, like)


def sample(gaussian: Gaussian, noise: T) -> T:
    r"""Reparameterised parameters, $\theta = \mu + \sigma \odot \epsilon$.

    Args:
        gaussian: where to draw from.
        noise: standard normals $\epsilon$, a tree like the mean; `vmap` over a leading axis gives many draws.

    Returns:
        One draw, a tree like the mean.

    Examples:
        >>> import torch
        >>> prior = Gaussian(mean={"w": torch.ones(2)}, log_scale={"w": torch.zeros(2)})
        >>> sample(prior, {"w": torch.tensor([0.5, -0.5])})
        {'w': tensor([1.5000, 0.5000])}

    References:
        Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014.
    """
    return tree.map(lambda e, mean, s: mean + s.exp() * e, noise, gaussian.mean, gaussian.log_scale)


def log_prob(gaussian: Gaussian, params: Tree) -> Scalar:
    r"""The log density, $-\tfrac12 \sum_i \big[ ((\theta_i - \mu_i) / \sigma_i)^2 + 2 \log \sigma_i + \log 2\pi \big]$.

    Args:
        gaussian: the distribution.
        params: where to take it, $\theta$, a tree like the mean.

    Returns:
        A scalar, in nats.

    Examples:
        >>> import torch
        >>> standard = Gaussian(mean=torch.zeros(2), log_scale=torch.zeros(2))
        >>> log_prob(standard, torch.tensor([1.0, 0.0]))
        tensor(-2.3379)
    """

    def term(value: Tensor, mean: Tensor, s: Tensor) -> Tensor:
        return log_normal((value - mean) * (-s).exp(), s)

    return _total(tree.map(term, params, gaussian.mean, gaussian.log_scale))


def entropy(gaussian: Gaussian) -> Scalar:
    r"""The entropy, $\sum_i \big[ \log \sigma_i + \tfrac12 \log 2\pi e \big]$, in nats.

    Args:
        gaussian: the distribution.

    Returns:
        A scalar, in nats.

    Examples:
        >>> import torch
        >>> entropy(Gaussian(mean=torch.zeros(2), log_scale=torch.zeros(2)))
        tensor(2.8379)
    """

    def term(mean: Tensor, s: Tensor) -> Tensor:
        return s.expand_as(mean) + STANDARD_ENTROPY

    return _total(tree.map(term, gaussian.mean, gaussian.log_scale))


def kl(q: Gaussian, p: Gaussian) -> Scalar:
    r"""The Kullback-Leibler divergence of two Gaussians over trees of one structure.

    $$\mathrm{KL}(q \,\|\, p) = \sum_i \Big[ \log \frac{\sigma^p_i}{\sigma^q_i}
    + \frac{(\sigma^q_i)^2 + (\mu^q_i - \mu^p_i)^2}{2 (\sigma^p_i)^2} - \frac12 \Big]$$

    It is never negative, and zero only where the two are equal.

    Args:
        q: the distribution that the expectation is under.
        p: the distribution it is compared with, such as the prior.

    Returns:
        A scalar, in nats.

    Examples:
        >>> import torch
        >>> q = Gaussian(mean=torch.tensor([1.0, 0.0]), log_scale=torch.zeros(2))
        >>> kl(q, Gaussian(mean=torch.zeros(2), log_scale=torch.zeros(2)))
        tensor(0.5000)
    """

    def term(q_mean: Tensor, q_scale: Tensor, p_mean: Tensor, p_scale: Tensor) -> Tensor:
        ratio = 2 * (q_scale - p_scale)
        # expm1(r) - r is accurate where exp(r) - 1 - r would cancel, near equality.
        return 0.5 * (torch.expm1(ratio) - ratio + ((q_mean - p_mean) * (-p_scale).exp()) ** 2)

    return _total(tree.map(term, q.mean, q.log_scale, p.mean, p.log_scale))


def _total(terms: Tree) -> Scalar:
    return torch.stack([term.sum() for term in tree.leaves(terms)]).sum()
