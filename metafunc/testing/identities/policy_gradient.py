r"""Identities of policy gradients, on decision processes whose expectations are finite sums."""

import math

import torch
from torch import Tensor

from metafunc.testing.numerics.report import Report, compare, summarise
from metafunc.testing.numerics.rounding import ROUNDING, bounded, epsilon, roundings
from metafunc.testing.problems import tabular
from metafunc.testing.problems.cases import TabularCase
from metafunc.testing.problems.tabular import Surrogate, Tabular
from metafunc.types import Scalar


def policy_gradient(case: TabularCase, *, surrogate: Surrogate = tabular.reward_to_go) -> Report:
    r"""The expected policy-gradient estimate is the derivative of the mean return by backward induction.

    $\nabla J = E \sum_t \nabla \log \pi(a_t \mid s_t) \sum_{t' \ge t} \gamma^{t'} r_{t'}$: the left side is the
    derivative of J by backward induction, the right one the sum over all trajectories. J itself and the sum of all
    probabilities are compared on the way.

    Rounding is measured as everywhere, and one term is added, for sums that cancel. With
    $R = E \sum_t \gamma^t \lvert r_t \rvert$ the terms of J have the absolute sum R, and, since
    $\lVert \nabla \log \pi(a \mid s) \rVert \le \sqrt 2$, those of its gradient at most $\sqrt 2 H R$: each term is
    rounded by itself, so the sums are off by their $8 \sqrt n\,\epsilon$-th part, however small they come out.
    """

    def mean_return(logits: Tensor, mdp: Tabular) -> Scalar:
        every = tabular.trajectories(mdp)
        return tabular.probabilities(logits, every) @ every.rewards.sum(-1)

    def gradient(logits: Tensor, mdp: Tabular) -> Tensor:
        found: Tensor = torch.func.grad(tabular.expected_return)(logits, mdp)
        return found

    def estimated(logits: Tensor, mdp: Tabular) -> Tensor:
        return tabular.expected_gradient(surrogate, logits, mdp)

    logits, mdp = given = (case.logits, case.mdp)
    induced, first = bounded(tabular.expected_return, *given, passes=2 * mdp.horizon)
    summed, second = bounded(mean_return, *given, passes=2 * mdp.horizon)
    exact, third = bounded(gradient, *given, passes=2 * mdp.horizon)
    found, fourth = bounded(estimated, *given, passes=2 * mdp.horizon)
    size = float(tabular.expected_return(logits, mdp._replace(rewards=mdp.rewards.abs())))
    cancelled = roundings(tabular.trajectories(mdp).rewards) * epsilon(given) * size
    comparisons = [
        compare(summed, induced, first + second + cancelled, "The mean return is not that of backward induction."),
        compare(
            found,
            exact,
            third + fourth + math.sqrt(2) * mdp.horizon * cancelled,
            "The expected estimate is not the gradient of the return.",
        ),
    ]
    why = f"{ROUNDING} Of both routes, and of sums that cancel: 8 sqrt(n) eps E sum |r|, times sqrt(2) H."
    return summarise("policy_gradient", comparisons, why, str(case))
