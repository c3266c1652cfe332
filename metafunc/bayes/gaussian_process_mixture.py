r"""The exact predictive distribution of functions from Gaussian processes, whose hyperparameters may be unknown.

$$p(y \mid x, D) = \textstyle\sum_g w_g\,
\mathcal N\big(y;\, \mathbb E_g f(x),\, \operatorname{var}_g f(x) + \sigma^2\big),
\qquad w_g \propto \pi_g\, p(D \mid g),$$

with the evidence $p(D \mid g)$ of each node g of a rule over hyperparameters, whose weight under the prior is $\pi_g$.
A single node is a Gaussian process, in closed form.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.bayes import gaussian_process
from metafunc.bayes.gaussian_process import Conditioned
from metafunc.bayes.kernels import Kernel
from metafunc.bayes.quadrature import equal_mass, precise
from metafunc.bayes.untrained import untrained
from metafunc.types import Batch, MetaLearner, Normal, Params, Scalar, Tree

KEPT = 512
"""Processes that the posterior over hyperparameters is made of, at most."""
JITTER = 1e-9
"""Added to a prior variance, in its units, in double precision: the same as to functions that are drawn."""


class Processes(NamedTuple):
    """What a task is: processes with their hyperparameters and weights, and the rows that they are conditioned on."""

    hyperparameters: Tree
    log_weight: Float[Tensor, " processes"]
    x: Float[Tensor, "n inputs"]
    found: Conditioned


def _zero(x: Tensor) -> Tensor:
    return x.new_zeros(x.shape[0])


def process_learner(
    kernel: Kernel,
    prior: Callable[[Tensor], tuple[Tree, Tensor]],
    noise: float,
    *,
    num_rows: int,
    kept: int = KEPT,
    mean: Callable[[Tensor], Tensor] = _zero,
) -> MetaLearner[Params, Processes]:
    r"""The learner that knows the kernel, a prior of its hyperparameters and the noise.

    Args:
        kernel: the covariance function.
        prior: from a tensor, whose device and precision they take, to nodes of the hyperparameters, on a leading axis
            in an order in which neighbours are alike, and to the logarithms of their weights under the prior (nodes,).
        noise: $\sigma$, in units of y.
        num_rows: rows of a support set, at most.
        kept: processes that the posterior over hyperparameters is made of, where there are more nodes: as many, of
            equal mass. Fewer nodes are all kept, with their weights.
        mean: the functions' prior mean, from inputs (n, inputs) to (n,).

    Examples:
        >>> import torch
        >>> from metafunc import Batch
        >>> from metafunc.bayes import kernels
        >>> kernel = kernels.rbf()
        >>> learner = process_learner(kernel, known(kernel, 1), 1.0, num_rows=1)
        >>> task = learner.adapt({}, Batch(torch.zeros(1, 1), torch.ones(1, 1)))
        >>> found = learner.predict(task, torch.zeros(1, 1))
        >>> found.loc.item(), round(found.scale.square().item(), 4)  # 1 / (1 + 1) and 1 + 1 - 1 / (1 + 1)
        (0.5, 1.5)

    References:
        Rasmussen and Williams (2006), "Gaussian Processes for Machine Learning", sections 2.2 and 5.2.
    """

    def condition(support: Batch) -> Processes:
        dtype = precise(support.x)
        x, y = support.x.to(dtype), support.y.to(dtype)
        y = y - mean(x)[:, None]
        variance = x.new_tensor(noise**2)

        def conditioned(given: Tree) -> Conditioned:
            return gaussian_process.condition(kernel.gram(given, x, x), y, variance, support.mask, jitter=JITTER)

        every, log_prior = prior(x)
        found = torch.vmap(conditioned)(every)
        evidence = torch.vmap(lambda each: gaussian_process.log_evidence(each, y))(found)
        log_weight = torch.log_softmax(log_prior + evidence, 0)
        if len(log_prior) > kept:
            chosen = equal_mass(log_weight, kept)
            every, found = (tree.map(lambda leaf: leaf[chosen], part) for part in (every, found))
            log_weight = log_weight.new_full((kept,), -math.log(kept))
        return Processes(every, log_weight, x, found)

    def predict(processes: Processes, x: Tensor) -> Normal:
        at = x.to(processes.x.dtype)

        def of_one(given: Tree, found: Conditioned) -> tuple[Tensor, Tensor]:
            cross = kernel.gram(given, at, processes.x)
            latent = gaussian_process.variance(found, cross, kernel.variance(given, at))
            return gaussian_process.mean(found, cross), latent[:, None] + noise**2

        loc, variance = torch.vmap(of_one)(processes.hyperparameters, processes.found)
        found = Normal(loc + mean(at)[:, None], variance.sqrt(), processes.log_weight[:, None])
        return tree.map(lambda leaf: leaf.to(x.dtype), found)

    def joint(processes: Processes, query: Batch, /) -> Scalar:
        at, y = query.x.to(processes.x.dtype), query.y.to(processes.x.dtype)
        y = y - mean(at)[:, None]

        def of_one(given: Tree, found: Conditioned) -> Tensor:
            cross, prior = kernel.gram(given, at, processes.x), kernel.gram(given, at, at)
            residual, variance = y - gaussian_process.mean(found, cross), y.new_tensor(noise**2)
            return gaussian_process.log_joint(found, cross, prior, residual, variance, query.mask, jitter=JITTER)

        each = torch.vmap(of_one)(processes.hyperparameters, processes.found)
        return torch.logsumexp(processes.log_weight + each, 0).to(query.y.dtype)

    number = len(prior(torch.zeros(()))[1])
    # Double precision counts twice: Gram matrices and factors of all, and rows of the kept ones times 100 queries.
    footprint = 8 * (number * num_rows**2 + 100 * num_rows * min(number, kept))
    return untrained(condition, predict, joint=joint, footprint=footprint)


def known(kernel: Kernel, num_inputs: int) -> Callable[[Tensor], tuple[Tree, Tensor]]:
    """The prior of hyperparameters that are those which a kernel starts with: a single node.

    Args:
        kernel: whose `init` draws nothing at random.
        num_inputs: numbers in one input.
    """

    def single(like: Tensor) -> tuple[Tree, Tensor]:
        given = tree.map(lambda leaf: leaf.to(like)[None], kernel.init(torch.Generator(), num_inputs))
        return given, like.new_zeros(1)

    return single


def product(*axes: Tensor) -> list[Tensor]:
    """The points of a grid, the last axis running fastest."""
    return [axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")]
