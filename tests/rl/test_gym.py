"""Gymnasium environments: the same trajectories type, the same numbers from the same seed, and a message without it."""

import jaxtyping
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
