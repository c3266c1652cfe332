"""An ensemble of any learner is the same learner with one more axis: compare its calibration with a single one's.

`lift` makes M particles of a point learner. They start apart, are trained in one vectorised step, and predict as a
mixture, whose spread shows what ten points leave open.
"""

import torch

from metafunc import algorithms, evaluate, fit, lift, likelihood, nn
from metafunc.data import sine_or_line

family = sine_or_line()
single = algorithms.maml(nn.mlp((1,), 1, hidden=(32, 32)), likelihood.gaussian(), inner_lr=0.01, num_steps=3)
learners = {"maml": single, "5 x maml": lift(single, num_particles=5)}

print(f"{'':10} {'MSE':>7} {'NLL':>7} {'calibration error':>18}")
for name, learner in learners.items():
    trained = fit(learner, family, steps=200, num_tasks=10, seed=0)
    last = evaluate(learner, trained.meta, family, num_tasks=200, num_steps=3).by_step[-1]
    print(f"{name:10} {last['mse']['mean']:7.3f} {last['nll']['mean']:7.3f} {last['calibration_error']:18.3f}")

# The particles of the last learner, adapted to one task: a leading axis of five on every leaf and every prediction.
task = family.test(torch.Generator().manual_seed(0), 1)
params = torch.vmap(learner.adapt, in_dims=(None, 0))(trained.meta, task.support)
print({name: tuple(leaf.shape) for name, leaf in params.items()})
