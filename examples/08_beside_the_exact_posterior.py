"""How Bayesian is a learner? Compare its predictions with the posterior of tasks for which that is known exactly.

A task is a line with Gaussian coefficients, seen through three noisy points. The truth has a mean error of 0, a spread
of 1, a coverage of .9 and no excess negative log-likelihood.
"""

import torch

from metafunc import Outer, algorithms, fit, likelihood, nn
from metafunc.testing import Lines, against_truth

lines = Lines()
line, noise = nn.mlp((1,), 1, hidden=()), likelihood.gaussian(scale=lines.noise)
learners = {
    "maml": algorithms.maml(line, noise, inner_lr=0.1, num_steps=3),
    "platipus": algorithms.platipus(line, noise, inner_lr=0.1, num_steps=3, scale=0.5),
    "alpaca": algorithms.alpaca(line, noise, num_features=1),
}
outer = Outer(optimiser=lambda leaves: torch.optim.Adam(leaves, lr=0.03))

print(f"{'':10} {'mean error':>10} {'spread':>10} {'coverage':>10} {'excess NLL':>10}")
for name, learner in learners.items():
    trained = fit(learner, lines.family, steps=300, outer=outer)
    print(f"{name:10}", *(f"{number:10.3f}" for number in against_truth(learner, trained.meta, lines)))
