"""Rollouts, advantages and policies: pure, and the same by vmap, by hand, and in the order of an enumeration."""

import math

import pytest
import torch

from metafunc import Batch, Task, nn, query_loss, rl, tree
from metafunc.nn import likelihood
from metafunc.testing.problems import tabular
from metafunc.transforms import inner, optim


def start(horizon=6, seed=0):
    environment, policy = rl.navigation(horizon=horizon), rl.gaussian(nn.mlp((2,), 2, hidden=(4,)), 2)
    generator = torch.Generator().manual_seed(seed)
    return environment, policy, policy.init(generator), generator


def test_trajectories_collected_all_at_once_are_those_of_a_loop():
    environment, policy, params, generator = start()
    goals = torch.rand(3, 2, generator=generator) - 0.5
    stacked = tree.stack([params] * 3)
    trajectories = rl.simulated(environment)(policy, stacked, goals, torch.Generator().manual_seed(1), 4)
    noise = rl.draw_noise(environment, policy, torch.Generator().manual_seed(1), (3, 4))
    for task in range(3):
        for k in range(4):
            one = rl.rollout(
                environment, policy, params, goals[task], tree.map(lambda leaf, t=task, k=k: leaf[t, k], noise)
            )
            for name in ("observations", "actions", "rewards", "mask", "log_probs"):
                torch.testing.assert_close(
                    getattr(trajectories, name)[task, k], getattr(one, name), rtol=1e-5, atol=1e-6
                )
    assert not any(leaf.requires_grad for leaf in tree.leaves(trajectories))


def test_random_numbers_drawn_inside_a_pure_function_are_an_error_under_vmap():
    environment, policy, params, generator = start()
    noise = rl.draw_noise(environment, policy, generator, (3,))

    def careless(noise):
        return rl.rollout(environment, policy, params, torch.zeros(2) + torch.randn(2), noise)

    with pytest.raises(RuntimeError, match="random"):
        torch.vmap(careless)(noise)


def test_nothing_counts_after_the_goal_is_reached():
    environment, policy, params, generator = start(horizon=5)
    params = tree.zeros_like(params)
    noise = rl.draw_noise(environment, policy, generator)._replace(action=torch.tensor([[1.0, 0.0]] * 5))
    trajectories = rl.rollout(environment, policy, params, torch.tensor([0.2, 0.0]), noise)
    assert trajectories.mask.tolist() == [1, 1, 0, 0, 0]
    assert trajectories.returns().item() == pytest.approx(-0.1, abs=1e-6)


def test_noise_chosen_as_an_index_gives_the_enumeration_in_its_order():
    """A uniform number inside the interval of an outcome is that outcome: the sampler's own code, every trajectory."""
    process = tabular.random(torch.Generator().manual_seed(0), num_states=3, horizon=3)
    policy = rl.categorical(rl.table(3, 2))
    params = {"table": torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)}
    every = tabular.trajectories(process)
    probabilities = torch.softmax(params["table"], -1)

    def middle(distribution, index):
        ends = torch.nn.functional.pad(distribution.cumsum(-1), (1, 0))
        return (ends[..., :-1] + ends[..., 1:]).gather(-1, index[..., None])[..., 0] / 2

    states, actions = every.states, every.actions
    moves = process.transitions[states[:, :-1], actions[:, :-1]]
    noise = rl.Noise(
        reset=middle(process.initial.expand(len(states), 3), states[:, 0]),
        step=torch.nn.functional.pad(middle(moves, states[:, 1:]), (0, 1)),
        action=middle(probabilities[states], actions),
    )
    task = rl.Mdp(process.initial, process.transitions, process.rewards)
    environment = rl.tabular(3, 2, horizon=3)
    trajectories = torch.vmap(lambda one: rl.rollout(environment, policy, params, task, one))(noise)
    assert (trajectories.observations.argmax(-1) == states).all()
    assert (trajectories.actions == actions).all()
    torch.testing.assert_close(trajectories.rewards * process.discounts, every.rewards)
    torch.testing.assert_close(trajectories.log_probs, tabular.log_probs(params["table"], every))


@pytest.mark.parametrize("gae_lambda", [1.0, 0.7])
def test_advantages_are_those_of_a_loop(gae_lambda):
    environment, policy, params, _ = start(horizon=8)
    trajectories = rl.simulated(environment)(
        policy, tree.stack([params]), torch.full((1, 2), 0.1), torch.Generator(), 5
    )
    trajectories = tree.map(torch.Tensor.double, tree.at(trajectories, 0))
    values = rl.linear_values(trajectories, rl.discounted_sum(trajectories.rewards, 0.9)) * trajectories.mask
    estimate = rl.AdvantageEstimator(0.9, gae_lambda, normalise=False, reduce="sum")(trajectories)
    for k in range(5):
        after = 0.0
        for t in reversed(range(8)):
            following = values[k, t + 1] if t < 7 else 0.0
            error = (trajectories.rewards[k, t] + 0.9 * following - values[k, t]) * trajectories.mask[k, t]
            after = error + 0.9 * gae_lambda * after
            assert estimate.advantages[k, t].item() == pytest.approx(float(after * trajectories.mask[k, t]), abs=1e-12)


def test_a_baseline_that_leaves_one_out_is_fitted_to_the_others():
    environment, policy, params, _ = start(horizon=8)
    trajectories = rl.simulated(environment)(
        policy, tree.stack([params]), torch.full((1, 2), 0.3), torch.Generator(), 4
    )
    trajectories = tree.map(torch.Tensor.double, tree.at(trajectories, 0))
    targets = rl.discounted_sum(trajectories.rewards, 0.9)
    left_out = rl.linear_values(trajectories, targets, leave_one_out=True)
    changed = trajectories._replace(rewards=trajectories.rewards.clone().index_fill_(0, torch.tensor(2), 7.0))
    again = rl.linear_values(changed, rl.discounted_sum(changed.rewards, 0.9), leave_one_out=True)
    torch.testing.assert_close(left_out[2], again[2], rtol=1e-7, atol=1e-7)
    assert (left_out[1] - again[1]).abs().max() > 1e-2


def test_policies_are_the_distributions_that_torch_knows():
    generator = torch.Generator().manual_seed(0)
    model = nn.mlp((3,), 2)
    observations, actions = torch.randn(5, 3, generator=generator), torch.randn(5, 2, generator=generator)
    policy = rl.gaussian(model, 2, init_std=0.3)
    params = policy.init(generator)
    normal = torch.distributions.Normal(model.apply(params["network"], observations), 0.3)
    torch.testing.assert_close(policy.log_prob(params, observations, actions), normal.log_prob(actions).sum(-1))
    shifted = torch.distributions.Normal(normal.loc + 0.1, 0.5)
    divergence = torch.distributions.kl_divergence(normal, shifted).sum(-1).mean()
    shift = {**params, "log_std": torch.full((2,), math.log(0.5))}
    moved = policy.distribution(shift, observations)
    moved = moved._replace(loc=moved.loc + 0.1)
    torch.testing.assert_close(rl.kl(policy.distribution(params, observations), moved), divergence)


def test_supervised_learning_is_the_case_of_one_step_whose_data_do_not_depend_on_the_policy():
    """One time, the loss of an action known as a function: the RL loop's meta-gradient is MAML's, bit for bit of math.

    The action is the prediction; a reward of -loss(f(x)) is differentiable, so no estimator is needed, and what
    `prepare` collects does not depend on the parameters: the same loop over the inner steps does the rest.
    """
    model, observed = nn.mlp((1,), 1, hidden=(5,)), likelihood.gaussian()
    params = tree.map(torch.Tensor.double, model.init(torch.Generator().manual_seed(0)))
    loss = observed.of(model)
    x = torch.linspace(-1, 1, 8).double()[:, None]
    batch = Batch(x, torch.sin(3 * x))
    step = inner.descend(loss, optim.sgd(0.1))
    never_asked = rl.categorical(rl.table(1, 2)), rl.simulated(rl.bandit(2))
    adaptation = rl.PolicyAdaptation(*never_asked, lambda meta: meta, lambda meta, index: step, 2, 1)
    support = tree.map(lambda leaf: torch.stack([leaf, leaf]), batch)

    def by_rl(meta, task):
        return loss(adaptation.visited(meta, task.support, 2)[-1], task.query)

    supervised = query_loss(inner.repeat(step, 2), loss)
    found = torch.func.grad(by_rl)(params, Task(support, batch))
    truth = torch.func.grad(supervised)(params, Task(batch, batch))
    torch.testing.assert_close(tree.ravel(found)[0], tree.ravel(truth)[0], rtol=0, atol=1e-15)
