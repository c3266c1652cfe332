"""Meta-reinforcement learning: a policy that finds an unknown goal, as pure functions of collected rollouts.

`prepare` is the one place that acts and draws; after it, trajectories are data, and the meta-gradient is exact.
"""

import torch

from metafunc import algorithms, evaluate, fit, nn, rl, tree
from metafunc.data import navigation

family = navigation(horizon=30)
policy = nn.mlp((2,), 2, hidden=(32, 32), activation="tanh")
rollouts = rl.RolloutSettings(inner_lr=0.1, num_trajectories=10, test_trajectories=10)
learner = algorithms.maml_rl(policy, family.simulator, rollouts=rollouts)

goals = family.train(torch.Generator().manual_seed(0), 4)
meta = learner.init(torch.Generator().manual_seed(0))
tasks = learner.prepare(meta, goals, torch.Generator().manual_seed(1), step=0, num_steps=1)
print("actions (tasks, inner steps, trajectories, times, coordinates):", tuple(tasks.support.actions.shape))
gradient = torch.func.grad(learner.meta_loss)(meta, tasks)
print(f"length of the meta-gradient: {tree.norm(gradient):.3f}")

trained = fit(learner, family, steps=40, num_tasks=10, seed=0)
for name, found in (("untrained", meta), ("trained", trained.meta)):
    returns = [row["return"]["mean"] for row in evaluate(learner, found, family, num_tasks=20, num_steps=2).by_step]
    print(f"{name:9} return before, after one and after two steps:", *(f"{value:.1f}" for value in returns))
