"""How fast rollouts are: pure environments under vmap against Gymnasium's SyncVectorEnv on the same task.

    python -m benchmarks.rl.rollout_speed

Both roll out 2-D navigation with the same policy (two layers of 64, its parameters and noise the same) on 400 copies
for 100 steps, on one thread, in turns; numbers are environment steps per second of CPU time.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import tyro

from benchmarks import reporting
from metafunc import nn, rl, tree

NUM_TASKS, NUM_TRAJECTORIES, HORIZON = 20, 20, 100


def main(rounds: int = 7) -> None:
    """Measure, and write results/rollout_speed.json.

    Args:
        rounds: how often each is measured.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    policy = rl.gaussian(nn.mlp((2,), 2, hidden=(64, 64), activation="tanh"), 2)
    params = tree.stack([policy.init(generator)] * NUM_TASKS)
    goals = torch.rand(NUM_TASKS, 2, generator=generator) - 0.5
    pure = rl.simulated(rl.navigation(horizon=HORIZON))
    vector = gymnasium_navigation(goals)

    def purely() -> torch.Tensor:
        return pure(policy, params, goals, torch.Generator().manual_seed(1), NUM_TRAJECTORIES).rewards

    def by_gymnasium() -> torch.Tensor:
        return collect(vector, policy, params, torch.Generator().manual_seed(1))

    # A step after the end of an episode is taken by both, and counts for neither.
    torch.testing.assert_close(purely().sum(-1), by_gymnasium().sum(-1), rtol=1e-4, atol=1e-3)
    speeds: dict[str, list[float]] = {"pure": [], "SyncVectorEnv": []}
    for _ in range(rounds):
        for name, run in (("pure", purely), ("SyncVectorEnv", by_gymnasium)):
            speeds[name].append(NUM_TASKS * NUM_TRAJECTORIES * HORIZON / seconds(run))
    ratios = [a / b for a, b in zip(*speeds.values(), strict=True)]
    summary = {name: statistics.median(values) for name, values in speeds.items()}
    result = {"machine": reporting.machine(threads=1), "steps_per_cpu_second": summary, "all": speeds, "ratio": ratios}
    reporting.write("rollout_speed", result)
    print({name: f"{value:,.0f}" for name, value in summary.items()}, f"ratio {statistics.median(ratios):.1f}")


def seconds(run: Callable[[], Any]) -> float:
    """CPU time of one call."""
    began = time.process_time()
    run()
    return time.process_time() - began


def gymnasium_navigation(goals: torch.Tensor) -> Any:
    """The same task as a Gymnasium environment, one copy per trajectory."""
    import gymnasium
    import numpy as np

    class Navigation(gymnasium.Env[Any, Any]):
        """Finn's point in the plane."""

        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        action_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

        def __init__(self, goal: Any) -> None:
            self.goal, self.point = goal, np.zeros(2, np.float32)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            self.point, self.alive = np.zeros(2, np.float32), 1.0
            return self.point, {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            self.point = self.point + np.float32(0.1) * np.clip(action, -1.0, 1.0)
            offset = self.point - self.goal
            reward = -float(np.sqrt(offset @ offset)) * self.alive
            self.alive *= float(not (np.abs(offset) < 0.01).all())
            return self.point, reward, False, False, {}

    every = [goal for goal in goals.numpy() for _ in range(NUM_TRAJECTORIES)]
    return gymnasium.vector.SyncVectorEnv([lambda goal=goal: Navigation(goal) for goal in every])


def collect(vector: Any, policy: rl.Policy, params: Any, generator: torch.Generator) -> torch.Tensor:
    """Rewards (tasks, trajectories, times) of the same batched policy in a vector environment."""
    shape = (NUM_TASKS, NUM_TRAJECTORIES)
    noise = policy.noise(generator, (*shape, HORIZON))
    act = torch.vmap(torch.vmap(policy.sample, in_dims=(None, 0, 0)))
    seen, _ = vector.reset(seed=0)
    rewards, kept = [], []
    with torch.no_grad():
        for t in range(HORIZON):
            action, aux = act(params, torch.from_numpy(seen).reshape(*shape, 2), noise[:, :, t])
            seen, reward, _, _, _ = vector.step(action.reshape(-1, 2).numpy())
            rewards.append(torch.from_numpy(reward).float().reshape(shape))
            kept.append(aux)
        torch.vmap(torch.vmap(policy.density, in_dims=(None, 0)))(params, torch.stack(kept, 2))
    return torch.stack(rewards, -1)


if __name__ == "__main__":
    tyro.cli(main)
