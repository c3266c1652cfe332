r"""Pretraining: one network on all tasks' data, fine-tuned on a new task. The baseline that ignores what a task is.

$$\min_\theta \tfrac1n \textstyle\sum_i L(\theta; D_i^{\mathrm{support}} \cup D_i^{\mathrm{query}}), \qquad
\theta_i = \text{K steps of gradient descent on } L(\cdot; D_i^{\mathrm{support}}) \text{ from } \theta.$$

Where tasks contradict each other, as sine curves of random phase do, the best $\theta$ is their mean and the start that
fine-tuning gets is poor: that is what meta-learning has to beat. It is the "pretrained" baseline of Finn, Abbeel,
Levine (2017), section 5.1.
"""

from dataclasses import replace

from metafunc.algorithms.assembly import gradient_step, step_learner
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.objectives import pool
from metafunc.types import MetaLearner, Model, Params, Scalar, Task, Tree


@built
def pretrain(
    model: Model, likelihood: Likelihood, *, inner_lr: float = 0.01, num_steps: int = 10
) -> MetaLearner[Params, Params]:
    """Pretraining: one network on all tasks' data, then fine-tuned on a new task (a baseline).

    Args:
        model: the network.
        likelihood: the observation model, whose loss is trained and fine-tuned on.
        inner_lr: step size of the fine-tuning.
        num_steps: steps of the fine-tuning; training takes none.

    Returns:
        The learner; meta-parameters and task parameters are both the model's.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, or `num_steps` is negative.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.pretrain(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.02)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Finn, Abbeel, Levine (2017), section 5.1.
    """
    loss = likelihood.of(model)
    fine_tuned = step_learner(model, likelihood, gradient_step(model, likelihood, inner_lr), num_steps)

    def task_loss(meta: Tree, task: Task, /) -> Scalar:
        return loss(meta, pool(task))

    return replace(fine_tuned, task_loss=task_loss)
