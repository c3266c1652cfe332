"""Gymnasium environments: the same trajectories type, the same numbers from the same seed, and a message without it."""

import sys

import jaxtyping
import numpy as np
import pytest
import torch
from metafunc_cli.__main__ import run

from metafunc import algorithms, data, fit, nn, rl, tree
from metafunc.data.families import locomotion


def test_a_simulator_collects_like_a_pure_environment_and_its_rewards_are_those_of_the_task():
    pytest.importorskip("mujoco")
    family = data.half_cheetah(horizon=4)
    policy = family.simulator.policy(nn.mlp((17,), 6), init_std=0.3)
    params = tree.stack([policy.init(torch.Generator().manual_seed(seed)) for seed in range(3)])
    directions = torch.tensor([[1.0], [-1.0], [1.0]])
    first, again = (
        family.simulator.collect(policy, params, directions, torch.Generator().manual_seed(5), 2) for _ in range(2)
    )
    assert isinstance(first, rl.Trajectories)
    assert first.observations.shape == (3, 2, 4, 17)
    for one, other in zip(tree.leaves(first), tree.leaves(again), strict=True):
        assert torch.equal(one, other)
    # Everything but the reward is the same with other tasks: the task is in the reward alone.
    reversed_ = family.simulator.collect(policy, params, -directions, torch.Generator().manual_seed(5), 2)
    assert torch.equal(reversed_.observations, first.observations)
    effort = 0.05 * first.actions.clamp(-1, 1).square().sum(-1)
    torch.testing.assert_close(reversed_.rewards + effort, -(first.rewards + effort), rtol=1e-4, atol=1e-5)
    forwards = [torch.vmap(policy.log_prob)(params, first.observations[:, k], first.actions[:, k]) for k in range(2)]
    torch.testing.assert_close(torch.stack(forwards, 1), first.log_probs)
    seen = family.simulator.task_conditioned(policy_of(19), policy_params(19), directions, torch.Generator(), 1)
    assert torch.equal(seen.observations[:, 0, 0, 17:], torch.cat([directions, directions], 1)[:, :1])


def policy_of(size):
    return rl.gaussian(nn.mlp((size - 1,), 6), 6)


def policy_params(size):
    return tree.stack([policy_of(size).init(torch.Generator().manual_seed(0))] * 3)


def test_an_ant_that_has_fallen_earns_nothing_more():
    pytest.importorskip("mujoco")
    family = data.ant(goal="velocity", horizon=30)
    policy = family.simulator.policy(nn.mlp((105,), 8), init_std=3.0)
    params = tree.stack([policy.init(torch.Generator().manual_seed(0))])
    trajectories = family.simulator.collect(policy, params, torch.tensor([[1.0]]), torch.Generator().manual_seed(0), 6)
    assert trajectories.mask[..., 0].all()
    assert (trajectories.rewards[trajectories.mask == 0] == 0).all()
    fallen = (trajectories.observations[..., 0] < 0.2) | (trajectories.observations[..., 0] > 1.0)
    assert not (fallen[..., 1:] & (trajectories.mask[..., 1:] == 1)).any()


def test_a_learner_trains_there():
    pytest.importorskip("mujoco")
    family = data.half_cheetah(goal="velocity", horizon=3)
    learner = algorithms.build(
        "maml_rl",
        nn.mlp,
        family.input_shape,
        "control",
        family.num_outputs,
        simulator=family.simulator,
        num_trajectories=2,
    )
    assert fit(learner, family, steps=1, num_tasks=2).step == 1


def test_without_the_extra_a_message_names_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(locomotion, "find_spec", lambda name: None)
    with pytest.raises(data.DataUnavailable, match=r"gymnasium and mujoco: install .* 'metafunc\[rl\]'"):
        data.half_cheetah()
    with pytest.raises(SystemExit) as stopped:
        raise SystemExit(run(["train", "maml_rl", "half_cheetah", "--steps", "1", "--out", str(tmp_path / "run")]))
    assert stopped.value.code == 3
    assert "metafunc[rl]" in capsys.readouterr().err


def test_a_goal_that_is_none_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' annotation hook would come first
    with pytest.raises(ValueError, match=r"goal must be .*not 'upwards'"):
        data.ant(goal="upwards")


class Walk:
    """One coordinate that grows by 1 in a step; beyond `goal` the episode is over, as most environments have it."""

    metadata: dict[str, list[str]] = {"render_modes": []}  # noqa: RUF012  # gymnasium reads it from the class

    def __new__(cls, **settings):
        import gymnasium

        class Env(gymnasium.Env):
            metadata = Walk.metadata
            observation_space = gymnasium.spaces.Box(-100, 100, (1,))
            action_space = gymnasium.spaces.Box(-1, 1, (1,))

            def __init__(self, goal=1e9):
                self.goal = goal

            def reset(self, *, seed=None, options=None):
                super().reset(seed=seed)
                self.at = np.zeros(1, np.float32)
                return self.at, {}

            def step(self, action):
                self.at = self.at + 1
                return self.at, 0.0, bool(self.at[0] >= self.goal), False, {}

        return Env(**settings)


def walking(**settings):
    """A simulator of it, without MuJoCo."""
    gymnasium = pytest.importorskip("gymnasium")
    if "Walk-v0" not in gymnasium.registry:
        gymnasium.register("Walk-v0", entry_point=Walk)
    return rl.gymnasium_simulator(
        "Walk-v0", lambda task, info, action: task[:, 0], observation_size=1, action_size=1, horizon=5, **settings
    )


def collected(simulator):
    policy = rl.gaussian(nn.mlp((1,), 1), 1)
    params = tree.stack([policy.init(torch.Generator().manual_seed(0))] * 2)
    return simulator.collect(policy, params, torch.ones(2, 1), torch.Generator(), 3)


def test_an_environment_without_mujoco_needs_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)  # as if it were not installed
    found = collected(walking(done=lambda observations: observations[:, 0] >= 3))
    assert found.rewards.sum(-1).tolist() == [[3.0] * 3] * 2
    assert found.observations[0, 0, :, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"goal": 3}, r"Walk-v0 ended an episode by itself after step 3, and the horizon is 5.*argument `done`"),
        ({"max_episode_steps": 2}, r"Walk-v0 ended an episode by a limit on its time after step 2.*argument `done`"),
    ],
)
def test_an_environment_that_ends_episodes_by_itself_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        collected(walking(**settings))
    assert collected(walking(goal=5)).mask.all()  # the last step may be the end
