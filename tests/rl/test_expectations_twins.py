"""The oracle over drawn problems and any inner map, and its twin for continuous actions by Gauss-Hermite quadrature."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metafunc import rl, tree
from metafunc.rl.svpg import svpg
from metafunc.testing.problems import tabular
from metafunc.testing.problems.expectations import Oracle

EXACT = rl.AdvantageEstimator(discount=0.9, baseline="none", weighted=True, normalise=False, reduce="sum")


def error(found, truth):
    return float((found - truth).norm() / truth.norm())


def random_map(seed, policy):
    """An inner map without meaning: a linear map of the policy's score and the rewards, plus the parameters' cube."""
    weights = torch.randn(4, 4, generator=torch.Generator().manual_seed(seed)).double()

    def step(params, trajectories):
        score = torch.func.grad(lambda at: rl.log_probs(policy, at, trajectories).sum())(params)["table"]
        moved = weights @ score.flatten() * trajectories.rewards.sum() + 0.1 * params["table"].flatten() ** 3
        return {"table": params["table"] + 0.3 * torch.tanh(moved).reshape(2, 2)}

    return step


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 2))
def test_credit_for_sampling_is_exact_for_any_process_policy_and_inner_map(seed, count):
    generator = torch.Generator().manual_seed(seed)
    policy = rl.categorical(rl.table(2, 2))
    oracle = Oracle(tabular.random(generator), policy, num_trajectories=count)
    params = {"table": torch.randn(2, 2, generator=generator).double()}
    step = random_map(seed, policy)

    def task_loss(at, task):
        trajectories = tree.at(task.support, 0)
        outer = rl.log_probs(policy, step(at, trajectories), task.query)
        return rl.sampled_return(outer, EXACT(task.query), rl.log_probs(policy, at, trajectories).sum(), 0.7)

    found = torch.func.grad(lambda at: oracle.surrogate(task_loss, at, step))(params)["table"]
    truth = torch.func.grad(lambda at: oracle.sampled(at, step))(params)["table"]
    assert error(found, truth) < 1e-12


def test_svpg_is_an_inner_map_like_any_other():
    """Two particles on the same trajectories' law: the score of both particles' data makes the gradient exact."""
    policy = rl.categorical(rl.table(2, 2))
    oracle = Oracle(tabular.random(torch.Generator().manual_seed(0)), policy)
    particles = {"table": torch.randn(2, 2, 2, generator=torch.Generator().manual_seed(1)).double()}
    step = svpg(rl.policy_loss(policy, rl.reward_to_go, EXACT), lr=0.7)
    first, second = (lambda at, m=m: {"table": at["table"][m]} for m in range(2))

    def over_both(value, at, held):
        """The expectation over what both particles collect; the first one's return after the step is what counts."""

        def inner(one):
            def both(other):
                pair = tree.map(lambda *leaves: torch.stack(leaves), one, other)
                return value(pair)

            return oracle.expectation(both, second(held))

        return oracle.expectation(inner, first(held))

    def truth(at):
        return over_both(lambda pair: oracle.true_return(first(step(at, pair))), at, at)

    def surrogate(at):
        def value(pair):
            score = sum(rl.log_probs(policy, {"table": at["table"][m]}, tree.unstack(pair)[m]).sum() for m in range(2))
            moved = first(step(at, pair))
            return oracle.expectation(
                lambda query: rl.sampled_return(rl.log_probs(policy, moved, query), EXACT(query), score),
                tree.detach(moved),
            )

        return over_both(value, at, tree.detach(at))

    found, exact = (torch.func.grad(function)(particles)["table"] for function in (surrogate, truth))
    assert error(found, exact) < 1e-12


def quadrature(horizon, nodes=10):
    """Standard normal noise of every time on a tensor grid: (n, h), weights (n,)."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    grid = torch.cartesian_prod(*[torch.tensor(points)] * horizon).reshape(-1, horizon)
    weight = torch.cartesian_prod(*[torch.tensor(weights / np.sqrt(2 * np.pi))] * horizon).reshape(-1, horizon)
    return grid, weight.prod(-1)


def test_continuous_actions_have_the_same_derivatives_by_the_pathwise_route():
    r"""x' = x + a / 2, $a \sim N(kx + b, e^{2s})$ and quadratic rewards: integrands are polynomials, so that ten nodes
    a time are exact; the truth differentiates through the actions, where no score function appears."""
    horizon, start = 3, torch.tensor([0.4, -0.3, -0.6]).double()
    one = torch.ones(1, 1).double()
    task = rl.Linear(one, 0.5 * one, one[0] * 0.8, one[0] * 0.2, torch.tensor(0.1).double(), torch.tensor(0.0).double())
    environment = rl.linear_gaussian(1, 1, horizon=horizon)

    def unpacked(v):
        return {"network": {"k": v[0], "b": v[1]}, "log_std": v[2:]}

    model = rl.table(1, 1)
    policy = rl.gaussian(type(model)(model.init, lambda params, x: params["k"] * x + params["b"]), 1, init_std=1.0)
    grid, weights = quadrature(horizon)

    def act(v, noise):
        still = torch.zeros(horizon, 1).double()
        return rl.rollout(environment, policy, unpacked(v), task, rl.Noise((), still, noise[:, None]))

    trajectories = tree.detach(torch.vmap(lambda noise: act(start, noise))(grid))

    def pathwise(v):
        rewards = torch.vmap(lambda noise: act(v, noise).rewards)(grid)
        return weights @ EXACT(trajectories._replace(rewards=rewards)).rewards.sum(-1)

    def expected(estimator):
        def objective(v):
            estimate = EXACT(trajectories)
            each = torch.vmap(
                lambda *parts: estimator(parts[0][None], parts[1][None], rl.Advantages(*(p[None] for p in parts[2:])))
            )
            return weights @ each(rl.log_probs(policy, unpacked(v), trajectories), trajectories.log_probs, *estimate)

        return objective

    gradient, hessian = torch.func.grad(pathwise)(start), torch.func.hessian(pathwise)(start)
    for name, estimator in rl.ESTIMATORS.items():
        objective = expected(estimator)
        assert error(torch.func.grad(objective)(start), gradient) < 1e-10, name
        off = error(torch.func.hessian(objective)(start), hessian)
        assert off < 1e-10 if name in ("dice", "loaded_dice") else off > 1e-3, name


@pytest.mark.nightly
def test_the_magic_box_makes_two_learners_cooperate():
    """LOLA-DiCE on the iterated prisoner's dilemma: about -1 a step with second derivatives, -2 without them."""
    assert ipd(rl.box) > -1.4
    assert ipd(lambda x: x - x.detach() + 1) < -1.8


def ipd(box, *, rounds=100, horizon=50, batch=64, seed=0):
    """The mean payoff a step of two learners that look one policy-gradient step of the other ahead."""
    generator = torch.Generator().manual_seed(seed)
    payoff = torch.tensor([[-1.0, -3.0], [0.0, -2.0]])  # mine, for (my action, yours); 0 cooperates
    discount = 0.96 ** torch.arange(horizon)

    def act(mine, yours):
        with torch.no_grad():
            state, seen, acted = torch.zeros(batch, dtype=torch.long), [], []
            for _ in range(horizon):
                other = torch.tensor([0, 1, 3, 2, 4])[state]  # the same state as the other sees it
                chances = torch.stack([torch.sigmoid(mine[state]), torch.sigmoid(yours[other])], 1)
                actions = (torch.rand(batch, 2, generator=generator) > chances).long()
                seen.append(torch.stack([state, other], 1))
                acted.append(actions)
                state = torch.tensor([[1, 2], [3, 4]])[actions[:, 0], actions[:, 1]]
        return torch.stack(seen, 1), torch.stack(acted, 1)

    def log_prob(policy, seen, acted):
        logits = policy[seen]
        return torch.where(acted == 0, torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits))

    def objective(me, you, games, who):
        """Minus DiCE's objective of one adaptation on games of both."""
        seen, acted = games
        both = sum(log_prob(p, seen[..., i], acted[..., i]) for i, p in enumerate((me, you) if who == 0 else (you, me)))
        rewards = payoff[acted[..., who], acted[..., 1 - who]] * discount
        value = rewards - rewards.mean(0)
        return -(box(both.cumsum(1)) * value).sum(1).mean()

    policies = [torch.zeros(5), torch.zeros(5)]
    optimisers = []
    for policy in policies:
        policy.requires_grad_()
        optimisers.append(torch.optim.Adam([policy], lr=0.2))
    score = 0.0
    for index in range(rounds):
        updates = []
        for who in range(2):
            me, you = policies[who], policies[1 - who]
            supposed = you.detach().clone().requires_grad_()
            games = act(*((me, supposed) if who == 0 else (supposed, me)))
            loss = objective(supposed, me, games, 1 - who)
            moved = supposed - 0.3 * torch.autograd.grad(loss, supposed, create_graph=True)[0]
            games = act(*((me, moved) if who == 0 else (moved, me)))
            updates.append(torch.autograd.grad(objective(me, moved, games, who), me)[0])
        for policy, optimiser, gradient in zip(policies, optimisers, updates, strict=True):
            policy.grad = gradient
            optimiser.step()
        if index >= rounds - 20:
            acted = act(*policies)[1]
            score += payoff[acted[..., 0], acted[..., 1]].mean().item() / 20
    return score
