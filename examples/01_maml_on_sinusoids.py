"""Meta-train MAML on sine curves, then adapt it to one new curve and print the error after every step."""

import torch

from metafunc import algorithms, evaluate, fit, likelihood, nn
from metafunc.data import redraw, sinusoid

family = sinusoid(num_shots=10)
learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.01, num_steps=1)
trained = fit(learner, family, steps=1000, num_tasks=25, seed=0)

# Over 200 curves that training never saw.
print("steps  mean squared error (95 % interval)")
for row in evaluate(learner, trained.meta, family, num_tasks=200, num_steps=5).by_step:
    print(f"{row['step']:5}  {row['mse']['mean']:.3f} +- {row['mse']['ci95']:.3f}")

# For one of them, by hand: `adapt` returns parameters and leaves the meta-parameters as they were.
task = redraw(family.test, seed=0, split="test", step=0, index=3)
before = {name: leaf.clone() for name, leaf in trained.meta.items()}
params = learner.adapt(trained.meta, task.support)
assert all(torch.equal(before[name], leaf) for name, leaf in trained.meta.items())
for name, found in (("before", trained.meta), ("after", params)):
    error = (learner.predict(found, task.query.x).loc[0] - task.query.y).square().mean()
    print(f"curve 3, {name} adapting to its ten points: {error:.3f}")
