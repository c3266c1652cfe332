"""A meta-learner from your own loss: pinball regression for the 90 % quantile, and its exact meta-gradient.

Nothing here is registered anywhere. A loss is a function of parameters and data; the transforms make an adaptation and
a meta-loss of it, and `torch.func` does the rest.
"""

import torch

from metafunc import Batch, curvature, expected_query_loss, gradient_descent, nn, tree
from metafunc.data import generator_for, sinusoid

QUANTILE = 0.9
model = nn.mlp((1,), 1, hidden=(32, 32), activation="tanh")


def pinball(params: dict[str, torch.Tensor], batch: Batch) -> torch.Tensor:
    """What a prediction of the quantile costs: .9 for each unit below the target, .1 for each above."""
    error = batch.y - model.apply(params, batch.x)
    return torch.maximum(QUANTILE * error, (QUANTILE - 1) * error).mean()


adapt = gradient_descent(pinball, lr=0.05, num_steps=3)
meta_loss = expected_query_loss(adapt, pinball)
gradient_of = torch.func.grad_and_value(meta_loss)

family = sinusoid(num_shots=10)
meta = model.init(torch.Generator().manual_seed(0))
for step in range(200):
    gradient, value = gradient_of(meta, family.train(generator_for(0, "train", step), 16))
    meta = tree.add_scaled(meta, -0.05, gradient)  # plain gradient descent; any optimiser will do
    if step % 50 == 0:
        print(f"step {step:3}: meta-loss {value:.3f}")

tasks = family.test(generator_for(0, "test", 0), 100)
params = torch.vmap(adapt, in_dims=(None, 0))(meta, tasks.support)
predicted = torch.vmap(model.apply)(params, tasks.query.x)
print(f"targets below the predicted 90 % quantile: {(tasks.query.y < predicted).float().mean():.0%}")

# The curvature of the meta-objective along its gradient, exactly, through all three inner steps.
tasks = family.train(generator_for(0, "train", 200), 16)
gradient, _ = gradient_of(meta, tasks)
product = curvature.hvp(lambda at: meta_loss(at, tasks), meta, gradient)
curvature_along = tree.dot(gradient, product) / tree.dot(gradient, gradient)
print(f"curvature of the meta-loss along its gradient: {curvature_along:.3f}")
