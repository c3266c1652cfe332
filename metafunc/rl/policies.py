r"""Policies $f_\theta(a \mid x)$: a network, and the distribution of actions that its outputs stand for."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi

import torch
from torch import Generator, Tensor

from metafunc.checks import above, not_negative
from metafunc.rl.environments import Draw, inverse_cdf, uniform
from metafunc.types import Categorical, Model, Normal, Predictive, Scalar, Tree


@dataclass(frozen=True)
class Policy:
    r"""A distribution of actions for every observation, as pure functions of one observation.

    Args:
        init: draws parameters from a generator.
        sample: (params, observation, noise) to an action and what its density needs besides, `aux`.
        density: (params, aux (n, ...)) to the log-probabilities of what was sampled (n,), once for all times and
            without a second look at the network.
        log_prob: (params, observations (n, ...), actions (n, ...)) to $\log f_\theta(a \mid x)$ (n,).
        distribution: (params, observations (n, ...)) to `Normal` or `Categorical`, rows first.
        noise: draws what `sample` takes.
    """

    init: Callable[[Generator], Tree]
    sample: Callable[[Tree, Tensor, Tree], tuple[Tensor, Tensor]]
    density: Callable[[Tree, Tensor], Tensor]
    log_prob: Callable[[Tree, Tensor, Tensor], Tensor]
    distribution: Callable[[Tree, Tensor], Predictive]
    noise: Draw


def gaussian(model: Model, action_size: int, *, init_std: float = 1.0, min_std: float = 1e-6) -> Policy:
    r"""A diagonal Gaussian around a network's output, $a = \mu_\theta(x) + \sigma \odot \epsilon$, with σ learned.

    Args:
        model: from observations to $\mu$ (action_size,).
        action_size: the length of an action.
        init_std: the σ to begin with; it is adapted like every other parameter, as `log_std`.
        min_std: σ does not fall below it.

    Returns:
        The policy; its parameters are {"network": the model's, "log_std": (action_size,)}.

    Raises:
        ValueError: a standard deviation is not positive.

    Examples:
        >>> import torch
        >>> from metafunc import nn, rl
        >>> policy = rl.gaussian(nn.mlp((2,), 2), 2)
        >>> params = policy.init(torch.Generator().manual_seed(0))
        >>> action, aux = policy.sample(params, torch.zeros(2), torch.tensor([1.0, -1.0]))
        >>> action, policy.density(params, aux[None])
        (tensor([ 1., -1.]), tensor([-2.8379]))
    """
    above(0, init_std=init_std, min_std=min_std)
    not_negative(init_std=init_std)

    def init(generator: Generator) -> Tree:
        return {"network": model.init(generator), "log_std": torch.full((action_size,), log(init_std))}

    def log_std(params: Tree) -> Tensor:
        floored: Tensor = params["log_std"].clamp(min=log(min_std))
        return floored

    def distribution(params: Tree, observations: Tensor) -> Predictive:
        loc = model.apply(params["network"], observations)
        return Normal(loc, log_std(params).exp().expand_as(loc))

    # `types.log_normal`, with the parts that no action changes summed by themselves: once for all times.
    def density(params: Tree, deviation: Tensor) -> Tensor:
        return -0.5 * deviation.square().sum(-1) - log_std(params).sum() - 0.5 * action_size * log(2 * pi)

    def sample(params: Tree, observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        loc = model.apply(params["network"], observation.unsqueeze(0))[0]
        return loc + log_std(params).exp() * noise, noise

    def log_prob(params: Tree, observations: Tensor, actions: Tensor) -> Tensor:
        return density(params, (actions - model.apply(params["network"], observations)) * (-log_std(params)).exp())

    def noise(generator: Generator, shape: tuple[int, ...], /) -> Tensor:
        return torch.randn(*shape, action_size, generator=generator)

    return Policy(init, sample, density, log_prob, distribution, noise)


def categorical(model: Model) -> Policy:
    r"""A distribution over numbered actions, $f_\theta(a \mid x) = \mathrm{softmax}(z_\theta(x))_a$.

    Args:
        model: from observations to logits z (actions,).

    Returns:
        The policy; its parameters are the model's. The noise is one uniform number, at which the distribution
        function is inverted.

    Examples:
        >>> import torch
        >>> from metafunc import rl
        >>> policy = rl.categorical(rl.table(3, 2))
        >>> params = policy.init(torch.Generator().manual_seed(0))
        >>> policy.log_prob(params, torch.eye(3), torch.tensor([0, 1, 1])).exp()
        tensor([0.5000, 0.5000, 0.5000])
    """

    def log_probs(params: Tree, observations: Tensor) -> Tensor:
        return torch.log_softmax(model.apply(params, observations), -1)

    def sample(params: Tree, observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        # The inverse of the distribution function at a uniform number: one number per action, and every action has an
        # interval of them, so that a test can choose.
        row = log_probs(params, observation.unsqueeze(0))[0]
        action = inverse_cdf(row.exp(), noise)
        return action, row.gather(-1, action.unsqueeze(-1))[0]

    def log_prob(params: Tree, observations: Tensor, actions: Tensor) -> Tensor:
        return log_probs(params, observations).gather(-1, actions.unsqueeze(-1)).squeeze(-1)

    def distribution(params: Tree, observations: Tensor) -> Predictive:
        return Categorical(log_probs(params, observations))

    return Policy(model.init, sample, lambda params, found: found, log_prob, distribution, uniform)


def table(num_states: int, num_outputs: int) -> Model:
    """A row of outputs for every state, from indicator vectors, zero to begin with: a model without a network.

    Examples:
        >>> import torch
        >>> from metafunc import rl
        >>> rl.table(3, 2).init(torch.Generator())["table"].shape
        torch.Size([3, 2])
    """
    return Model(
        init=lambda generator: {"table": torch.zeros(num_states, num_outputs)},
        apply=lambda params, indicators: indicators.to(params["table"].dtype) @ params["table"],
    )


def kl(old: Predictive, new: Predictive) -> Scalar:
    r"""The mean of $\mathrm{KL}(f_{old}(\cdot \mid x) \,\Vert\, f_{new}(\cdot \mid x))$ over observations.

    Examples:
        >>> import torch
        >>> from metafunc import Normal, rl
        >>> rl.kl(Normal(torch.zeros(5, 1), torch.ones(5, 1)), Normal(torch.ones(5, 1), torch.ones(5, 1)))
        tensor(0.5000)
    """
    rows = kl_rows(old, new)
    return rows.mean()


def kl_rows(old: Predictive, new: Predictive) -> Tensor:
    """The divergence at every observation (n,)."""
    if isinstance(old, Normal) and isinstance(new, Normal):
        ratio = old.scale / new.scale
        shift = (old.loc - new.loc) / new.scale
        rows: Tensor = (0.5 * (ratio.square() + shift.square() - 1) - ratio.log()).sum(-1)
        return rows
    assert isinstance(old, Categorical)
    assert isinstance(new, Categorical)
    first, second = torch.log_softmax(old.logits, -1), torch.log_softmax(new.logits, -1)
    divergence: Tensor = (first.exp() * (first - second)).sum(-1)
    return divergence
