"""Rewards, baselines and advantages are in one unit: against plain loops, for every setting."""

import itertools
import math

import numpy as np
import pytest
import torch

from metafunc import rl
from metafunc.rl.trajectories import Trajectories

K, H, GAMMA = 4, 6, 0.8
LENGTHS = (6, 3, 1, 5)


def episodes(lengths=LENGTHS):
    """Random trajectories, some of which end early."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([[float(t < length) for t in range(H)] for length in lengths]).double()
    rewards = (torch.randn(K, H, generator=generator).double() - 2) * mask
    observations = torch.randn(K, H, 2, generator=generator).double()
    return Trajectories(observations, torch.zeros(K, H, 1), rewards, mask, torch.zeros(K, H).double())


def fitted(seen, times, returns, at, at_time):
    """A ridge regression, solved in numpy by the rows that it is augmented with."""

    def features(x, t):
        return np.array([*x, *(x**2), t / 100, (t / 100) ** 2, (t / 100) ** 3, 1.0])

    rows = np.stack([features(x, t) for x, t in zip(seen, times, strict=True)])
    augmented = np.vstack([rows, math.sqrt(1e-5) * np.eye(rows.shape[1])])
    weights = np.linalg.lstsq(augmented, np.concatenate([returns, np.zeros(rows.shape[1])]), rcond=None)[0]
    return features(at, at_time) @ weights


def by_loops(found, discount, gae_lambda, baseline):
    """For each step that counts: its return to go, its value, and its generalised advantage, all from its own time."""
    rewards, observations = found.rewards.numpy(), found.observations.numpy()
    ends = [int(row.sum()) for row in found.mask]
    to_go = {
        (k, t): sum(discount ** (u - t) * rewards[k, u] for u in range(t, ends[k]))
        for k in range(K)
        for t in range(ends[k])
    }

    def value(k, t):
        if baseline == "none":
            return 0.0
        others = [place for place in to_go if baseline == "linear" or place[0] != k]
        seen = [observations[place] for place in others]
        return fitted(seen, [t for _, t in others], [to_go[place] for place in others], observations[k, t], t)

    values = {place: value(*place) for place in to_go}
    errors = {(k, t): rewards[k, t] + discount * values.get((k, t + 1), 0.0) - values[k, t] for k, t in to_go}
    advantages = {
        (k, t): sum((discount * gae_lambda) ** (u - t) * errors[k, u] for u in range(t, ends[k])) for k, t in to_go
    }
    return to_go, values, advantages


def standardised(values):
    mean, spread = np.mean(list(values.values())), np.std(list(values.values()))
    return {place: (value - mean) / spread for place, value in values.items()}


SETTINGS = [
    *itertools.product(("none", "linear", "leave_one_out"), (1.0, 0.6, 0.0), (False, True), (False, True)),
]


@pytest.mark.parametrize(("baseline", "gae_lambda", "weighted", "normalise"), SETTINGS)
@pytest.mark.parametrize("reduce", ["sum", "mean", "horizon"])
@pytest.mark.parametrize("discount", [GAMMA, 1.0])
def test_rewards_less_baselines_and_advantages_are_those_of_loops(
    baseline, gae_lambda, weighted, normalise, reduce, discount
):
    trajectories = episodes()
    found = rl.AdvantageEstimator(discount, gae_lambda, baseline, weighted, normalise, reduce)(trajectories)
    to_go, values, advantages = by_loops(trajectories, discount, gae_lambda, baseline)
    returned = {place: to_go[place] - values[place] for place in to_go}
    from_start = {place: discount ** place[1] for place in to_go}
    if weighted:
        returned, advantages = ({p: from_start[p] * v for p, v in each.items()} for each in (returned, advantages))
    if normalise:
        returned, advantages = standardised(returned), standardised(advantages)
    length = {"sum": 1, "mean": sum(LENGTHS) / K, "horizon": H}[reduce]
    rest = found.rewards.flip(-1).cumsum(-1).flip(-1) - found.baselines
    for k, t in itertools.product(range(K), range(H)):
        if (k, t) not in to_go:
            assert found.rewards[k, t] == found.baselines[k, t] == found.advantages[k, t] == 0
            continue
        assert found.advantages[k, t].item() * length == pytest.approx(advantages[k, t], rel=1e-6, abs=1e-6)
        unit = 1.0 if weighted else from_start[k, t]
        assert rest[k, t].item() * length == pytest.approx(unit * returned[k, t], rel=1e-6, abs=1e-6)


def gradients(estimator, estimate, log_probs):
    return torch.func.grad(lambda at: estimator(at, log_probs, estimate))(log_probs)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("baseline", ["none", "linear", "leave_one_out"])
def test_all_estimators_weight_an_action_s_score_by_the_same_number(baseline, normalise, weighted):
    """The derivative in an action's log-probability is what its score is multiplied by: in one unit for all of them."""
    estimate = rl.AdvantageEstimator(GAMMA, 1.0, baseline, weighted, normalise)(episodes())
    log_probs = -torch.rand(K, H, generator=torch.Generator().manual_seed(1)).double()
    wanted = estimate.advantages / K
    for name in ("reward_to_go", "lvc", "ratio", "loaded_dice"):
        torch.testing.assert_close(gradients(rl.ESTIMATORS[name], estimate, log_probs), wanted, rtol=1e-9, atol=1e-12)
    unit = 1.0 if weighted else GAMMA ** torch.arange(H).double()
    torch.testing.assert_close(gradients(rl.dice, estimate, log_probs), unit * wanted, rtol=1e-9, atol=1e-9)
    total = estimate.rewards.sum(-1, keepdim=True).expand(K, H) / K
    torch.testing.assert_close(gradients(rl.total_return, estimate, log_probs), total, rtol=1e-9, atol=1e-12)
