r"""From scratch: no meta-learning at all. Every task is trained on by itself, from one random initialisation.

$$\theta_i = \text{K steps of gradient descent on } L(\cdot; D_i^{\mathrm{support}}) \text{ from a random } \theta.$$

The task loss is the query loss that this reaches; its gradient is zero, so that meta-training leaves $\theta$ alone.
"""

from dataclasses import replace

from metafunc import tree
from metafunc.algorithms.assembly import gradient_step, step_learner
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.types import MetaLearner, Model, Params, Scalar, Task, Tree


@built
def scratch(
    model: Model, likelihood: Likelihood, *, inner_lr: float = 0.01, num_steps: int = 10
) -> MetaLearner[Params, Params]:
    """From scratch: each task is trained on by itself from a random initialisation (the floor of every comparison).

    Args:
        model: the network.
        likelihood: the observation model, whose loss is trained on.
        inner_lr: step size of the gradient descent on a task.
        num_steps: steps of the gradient descent on a task.

    Returns:
        The learner; meta-parameters and task parameters are both the model's.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, or `num_steps` is negative.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.scratch(nn.mlp((1,), 1), likelihood.gaussian(), num_steps=100)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Finn, Abbeel, Levine (2017), section 5.
    """
    learner = step_learner(model, likelihood, gradient_step(model, likelihood, inner_lr), num_steps)

    def unlearned(meta: Tree, task: Task, /) -> Scalar:
        return learner.task_loss(tree.detach(meta), task)

    return replace(learner, task_loss=unlearned)
