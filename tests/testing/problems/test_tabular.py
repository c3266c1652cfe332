"""Decision processes against simulation by hand, and what a policy gradient may and may not leave out."""

import itertools

import pytest
import torch

from metafunc.testing import IDENTITIES, TabularCase
from metafunc.testing.problems import tabular

MDP = tabular.random(torch.Generator().manual_seed(3), num_states=3, num_actions=2, horizon=3)
LOGITS = torch.randn(3, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def returns_by_hand(logits, mdp, discount):
    """A recursion in plain Python over everything that may happen."""
    policy = torch.softmax(logits, -1).tolist()

    def value(state, time):
        if time == mdp.horizon:
            return 0.0
        return sum(
            policy[state][action]
            * (
                discount**time * float(mdp.rewards[state, action])
                + sum(
                    float(mdp.transitions[state, action, after]) * value(after, time + 1)
                    for after in range(mdp.num_states)
                )
            )
            for action in range(mdp.num_actions)
        )

    return sum(float(mdp.initial[state]) * value(state, 0) for state in range(mdp.num_states))


def test_the_return_is_that_of_a_plain_recursion():
    assert float(tabular.expected_return(LOGITS, MDP)) == pytest.approx(returns_by_hand(LOGITS, MDP, 0.9), rel=1e-13)


def test_trajectories_are_all_there_is():
    every = tabular.trajectories(MDP)
    assert len({(*s, *a) for s, a in zip(every.states.tolist(), every.actions.tolist(), strict=True)}) == 6**3
    first = list(itertools.product(range(3), range(2)))
    order = list(zip(every.states[:, 0].tolist(), every.actions[:, 0].tolist(), strict=True))
    assert order == sorted(order)
    assert set(order) == set(first)
    assert float(tabular.probabilities(LOGITS, every).sum()) == pytest.approx(1, rel=1e-14)


def test_the_mean_of_the_last_action_value_is_the_last_reward():
    values = tabular.action_values(LOGITS, MDP)
    assert values.shape == (3, 3, 2)
    torch.testing.assert_close(values[-1], 0.9**2 * MDP.rewards, rtol=1e-15, atol=0)
    assert float(tabular.expected_return(LOGITS, MDP)) == pytest.approx(
        float(MDP.initial @ (torch.softmax(LOGITS, -1) * values[0]).sum(-1)), rel=1e-15
    )


def test_whole_returns_and_baselines_leave_the_expectation_alone():
    """What is unbiased passes: rewards before an action, and any constant."""
    for surrogate in (
        lambda log_probs, rewards: log_probs.sum() * rewards.sum(),
        lambda log_probs, rewards: tabular.reward_to_go(log_probs, rewards) - 0.7 * log_probs.sum(),
    ):
        IDENTITIES["policy_gradient"].check(TabularCase(MDP, LOGITS), surrogate=surrogate).check()


def test_second_derivatives_are_those_of_differences():
    def gradient(logits):
        return torch.func.grad(tabular.expected_return)(logits, MDP)

    hessian = torch.func.hessian(lambda logits: tabular.expected_return(logits, MDP))(LOGITS)
    along = torch.randn(3, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    h = 1e-5
    differences = (gradient(LOGITS + h * along) - gradient(LOGITS - h * along)) / (2 * h)
    torch.testing.assert_close(torch.einsum("sakb,kb->sa", hessian, along), differences, rtol=1e-7, atol=1e-9)


def test_many_decision_processes_under_vmap():
    """Tasks are decision processes: the same functions over a leading axis."""
    many = [tabular.random(torch.Generator().manual_seed(seed), horizon=2) for seed in range(3)]
    stacked = tabular.Tabular(*map(torch.stack, zip(*many, strict=True)))
    logits = torch.zeros(2, 2, dtype=torch.float64)
    found = torch.vmap(tabular.expected_return, (None, 0))(logits, stacked)
    torch.testing.assert_close(found, torch.stack([tabular.expected_return(logits, each) for each in many]))
    gradients = torch.vmap(lambda mdp: tabular.expected_gradient(tabular.reward_to_go, logits, mdp))(stacked)
    torch.testing.assert_close(gradients[1], torch.func.grad(tabular.expected_return)(logits, many[1]))
    assert (stacked.num_states, stacked.num_actions, stacked.horizon) == (2, 2, 2)


def test_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one state, action and time, but num_states=2, num_actions=0"):
        tabular.random(torch.Generator(), num_actions=0)
