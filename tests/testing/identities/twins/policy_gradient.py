"""Estimators of a policy gradient that are biased, and a decision process that is none."""

from metafunc.testing import TabularCase
from metafunc.testing.problems import tabular

from .cases import MDP, TABULAR, twin


def undiscounted(log_probs, rewards):
    """Rewards are discounted from the action on, whose own time counts for nothing: as many implementations have it."""
    return tabular.reward_to_go(log_probs / MDP.discounts, rewards)


def immediate_reward(log_probs, rewards):
    """An action is weighted by its own reward, not by what comes of it."""
    return log_probs @ rewards


def mean_over_time(log_probs, rewards):
    return tabular.reward_to_go(log_probs, rewards) / len(rewards)


def leaking_process():
    """Transitions whose probabilities do not sum to one."""
    return TabularCase(MDP._replace(transitions=0.9 * MDP.transitions), TABULAR.logits)


TWINS = [
    twin("policy_gradient", TABULAR, surrogate=undiscounted),
    twin("policy_gradient", TABULAR, surrogate=immediate_reward),
    twin("policy_gradient", TABULAR, surrogate=mean_over_time),
    twin("policy_gradient", leaking_process),
]
