r"""Reptile: move the initialisation towards where plain training on a task ends.

Nichol, Achiam, Schulman (2018), "On First-Order Meta-Learning Algorithms". With $U^k$ for k steps of SGD or Adam on
minibatches of a task's data,

$$\theta \leftarrow \theta + \epsilon\, \tfrac1n \textstyle\sum_i (U_i^k(\theta) - \theta).$$

The update is the negative gradient of $\tfrac12 \lVert \theta - \mathrm{sg}(U^k(\theta)) \rVert^2$, the task loss here,
so outer gradient descent with step size $\epsilon$ is the paper's algorithm. Training does not tell support from query:
it pools them. Minibatches are drawn by `prepare`, as in the authors' code: all rows in random order, then again in
a new one. Adam forgets its averages between tasks (the authors' keeps them), and adaptation to a new task takes
full batches.
"""

from collections.abc import Sequence
from math import ceil
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.checks import at_least, not_negative, one_of
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import descend, path, repeat, trajectory
from metafunc.transforms.objectives import pool
from metafunc.transforms.optim import adam, sgd
from metafunc.types import Batch, MetaLearner, Model, Params, Scalar, Task, Tree

InnerOptimiser = Literal["adam", "sgd"]


def _shuffled_rows(mask: Tensor, shape: tuple[int, int], generator: Generator) -> Tensor:
    """(tasks, steps, batch) row numbers: walks through each task's real rows in random order, again and again."""
    num_tasks, num_rows = mask.shape
    count = shape[0] * shape[1]
    fewest = max(int(mask.sum(1).min()), 1)
    num_walks = ceil(count / fewest)
    draws = torch.rand(num_tasks, num_walks, num_rows, generator=generator, device=generator.device).to(mask.device)
    walks = torch.arange(num_walks, device=mask.device)[:, None]
    keys = torch.where(mask[:, None].bool(), draws + walks, float("inf"))
    order = keys.reshape(num_tasks, -1).argsort(stable=True, dim=1)[:, :count] % num_rows
    return order.reshape(num_tasks, *shape)


def _minibatches(task: Task, num_steps: int) -> Sequence[Batch]:
    rows = task.support.extra
    everything = pool(task)
    if isinstance(rows, tuple):
        return [everything] * num_steps
    return [tree.map(lambda leaf, chosen=rows[k]: leaf[chosen], everything) for k in range(num_steps)]


@built
def reptile(
    model: Model,
    likelihood: Likelihood,
    *,
    inner_lr: float = 0.001,
    num_steps: int = 5,
    batch_size: int = 10,
    optimiser: InnerOptimiser = "adam",
) -> MetaLearner[Params, Params]:
    """Reptile: an initialisation moved towards where plain training on each task ends.

    Args:
        model: the network.
        likelihood: the observation model, whose loss is trained on.
        inner_lr: step size of the inner optimiser.
        num_steps: inner steps in training.
        batch_size: rows in an inner minibatch in training; 0 takes all rows at once.
        optimiser: the inner optimiser; adam has no momentum (its first decay is 0).

    Returns:
        The learner; meta-parameters and task parameters are both the model's. On tasks that `prepare` has not seen,
        every inner step takes all rows.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, `num_steps` or `batch_size` is negative, or `optimiser` is
            unknown.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.reptile(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.02, optimiser="sgd")
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Nichol, Achiam, Schulman (2018), algorithm 2 and section 6.
    """
    not_negative(inner_lr=inner_lr)
    at_least(0, num_steps=num_steps)
    at_least(0, batch_size=batch_size)
    one_of(optimiser, get_args(InnerOptimiser), "optimiser")
    inner_steps = num_steps
    step = descend(likelihood.of(model), adam(inner_lr, b1=0.0) if optimiser == "adam" else sgd(inner_lr))

    def prepare(meta: Tree, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
        if step is None or batch_size == 0:
            return tasks
        pooled = torch.vmap(pool)(tasks)
        mask = torch.ones(pooled.x.shape[:2], device=pooled.x.device) if isinstance(pooled.mask, tuple) else pooled.mask
        rows = _shuffled_rows(mask, (inner_steps, batch_size), generator)
        return tasks._replace(support=tasks.support._replace(extra=rows))

    def task_loss(meta: Tree, task: Task, /) -> Scalar:
        target = tree.detach(trajectory(step, tree.detach(meta), _minibatches(task, inner_steps))[-1])
        offset = tree.sub(meta, target)
        return 0.5 * tree.dot(offset, offset)

    return MetaLearner(
        init=model.init,
        prepare=prepare,
        adapt=repeat(step, num_steps, finish=model.finish),
        path=path(step, finish=model.finish),
        task_loss=task_loss,
        predict=likelihood.predict(model),
        normalisation=model.normalisation,
    )
