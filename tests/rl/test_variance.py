"""The spread of every estimator beside its textbook form, written out here step by step: no part of it may be drowned.

A baseline in another unit than the rewards leaves every first-order expectation as it is, so that no test of bias
notices it; the variance does. Both forms see the same trajectories, so that their spreads are compared pair by pair.
"""

import numpy as np
import pytest
import torch

from metafunc import nn, rl, tree
from metafunc.testing.problems import tabular

GAMMA, SETS = 0.8, 40


def textbook(name, policy, trajectories):
    """An estimator's objective, with a fitted baseline and standardised advantages, one step at a time (float64)."""
    rewards, count = trajectories.rewards.double().numpy(), [int(row.sum()) for row in trajectories.mask]
    steps = [(k, t) for k in range(len(count)) for t in range(count[k])]
    to_go = {(k, t): sum(GAMMA ** (u - t) * rewards[k, u] for u in range(t, count[k])) for k, t in steps}
    seen = {place: trajectories.observations[place].double().numpy() for place in steps}
    rows = np.stack([[*x, *(x**2), t / 100, (t / 100) ** 2, (t / 100) ** 3, 1.0] for (_, t), x in seen.items()])
    padded = np.vstack([rows, np.sqrt(1e-5) * np.eye(rows.shape[1])])
    fit = np.linalg.lstsq(padded, np.array([*to_go.values(), *np.zeros(rows.shape[1])]), rcond=None)[0]
    rest = np.array(list(to_go.values())) - rows @ fit
    mean, spread, length = rest.mean(), rest.std(), len(steps) / len(count)
    value = dict(zip(steps, rows @ fit + mean, strict=True))
    advantage = dict(zip(steps, (rest - mean) / spread, strict=True))

    def objective(params):
        logs = rl.log_probs(policy, params, trajectories)
        total = torch.zeros(())
        for k, length_k in enumerate(count):
            past = torch.zeros(())
            for t in range(length_k):
                log, weight = logs[k, t], GAMMA**t
                now = past + log
                gained, baseline = float(weight * rewards[k, t] / spread), float(weight * value[k, t] / spread)
                if name == "dice":  # Foerster et al. (2018), with the baseline of their section 4
                    total = total + rl.box(now) * gained + (1 - rl.box(log)) * baseline
                elif name == "loaded_dice":
                    total = total + (rl.box(now) - rl.box(past)) * float(advantage[k, t])
                elif name == "total_return":  # REINFORCE: all that was gained, for every action
                    total = total + log * sum(GAMMA**u * float(rewards[k, u]) / spread for u in range(length_k))
                elif name in ("lvc", "ratio"):
                    total = total + rl.box(log) * float(advantage[k, t])
                else:
                    total = total + log * float(advantage[k, t])
                past = now
        return total / len(count) / length

    return objective


def in_plane(count, generator):
    """Sets of trajectories of navigation, at the first parameters."""
    environment, policy = rl.navigation(horizon=7), rl.gaussian(nn.mlp((2,), 2, hidden=(4,)), 2)
    params = policy.init(generator)
    goals = torch.tensor([[0.3, 0.2]]).expand(count, 2)
    stacked = tree.map(lambda leaf: leaf.expand(count, *leaf.shape), params)
    return policy, params, rl.simulated(environment)(policy, stacked, goals, generator, 4)


def in_table(count, generator):
    """Sets of trajectories of a small decision process whose rewards are far from zero."""
    process = tabular.random(generator, num_states=3, horizon=7)
    policy = rl.categorical(rl.table(3, 2))
    task = rl.Mdp(process.initial.float(), process.transitions.float(), process.rewards.float() - 3)
    params = {"table": torch.randn(3, 2, generator=generator)}
    stacked, tasks = (tree.map(lambda leaf: leaf.expand(count, *leaf.shape), each) for each in (params, task))
    return policy, params, rl.simulated(rl.tabular(3, 2, horizon=7))(policy, stacked, tasks, generator, 4)


def excess(own, reference):
    """The logarithm of the first's variance by the second's, and the sampling error of that, by a jackknife."""

    def logratio(keep):
        # Where a baseline makes a derivative zero, what is left of both is float32's rounding.
        variances = [(rows[keep] - rows[keep].mean(0)).square().sum() + 1e-9 for rows in (own, reference)]
        return float((variances[0] / variances[1]).log())

    every = torch.arange(len(own))
    left_out = np.array([logratio(every != one) for one in every])
    return logratio(every), float(np.sqrt((len(own) - 1) * left_out.var()))


def derivatives(objective, params):
    """The gradient, and the Hessian's product with a fixed direction: what a meta-gradient takes from an inner step."""
    generator = torch.Generator().manual_seed(1)
    direction = tree.map(lambda leaf: torch.randn(leaf.shape, generator=generator), params)
    first, second = torch.func.jvp(torch.func.grad(objective), (params,), (direction,))
    return tree.ravel(first)[0].double(), tree.ravel(second)[0].double()


def spreads(name, problem, estimator):
    policy, params, sets = problem(SETS, torch.Generator().manual_seed(0))
    own, reference = [], []
    for index in range(SETS):
        one = tree.at(sets, index)
        own.append(derivatives(lambda at, one=one: -rl.policy_loss(policy, *estimator)(at, one), params))
        reference.append(derivatives(textbook(name, policy, one), params))
    pairs = zip(zip(*own, strict=True), zip(*reference, strict=True), strict=True)
    return [excess(torch.stack(mine), torch.stack(theirs)) for mine, theirs in pairs]


class Undiscounted(rl.AdvantageEstimator):
    """A wrong twin: the baseline keeps the unit of its own time, while the rewards are discounted from the start."""

    def __call__(self, trajectories):
        found = super().__call__(trajectories)
        return found._replace(baselines=found.baselines / rl.trajectories.powers(GAMMA, trajectories.mask))


@pytest.mark.parametrize("problem", [in_plane, in_table])
@pytest.mark.parametrize("name", rl.ESTIMATORS)
def test_no_estimator_spreads_wider_than_its_textbook_form(name, problem):
    for wider, error in spreads(name, problem, (rl.ESTIMATORS[name], rl.AdvantageEstimator(GAMMA))):
        assert wider <= 2 * error + 1e-4


@pytest.mark.parametrize("problem", [in_plane, in_table])
def test_a_baseline_in_another_unit_is_seen_in_the_spread(problem):
    wider, error = spreads("dice", problem, (rl.dice, Undiscounted(GAMMA)))[0]
    assert wider > max(3 * error, 0.3)
