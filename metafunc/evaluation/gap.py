r"""How far predictions are from the best that can be had, in nats per row, on tasks whose distribution is known.

$$\mathrm{gap} = \mathrm{NLL}_{\text{learner}} - \mathrm{NLL}_{\text{exact}} =
\tfrac1n \textstyle\sum_i \log \frac{p(y_i \mid x_i, D)}{q(y_i \mid x_i, D)}$$

task by task: its mean over tasks is a Kullback-Leibler divergence, and so at least 0 but for chance.
"""

import torch
from torch import Tensor

from metafunc.data.sampling import generator_for
from metafunc.evaluation.metrics import nll
from metafunc.evaluation.scoring import Draws, Progress, quiet, sampler_of
from metafunc.execution.device import device_of, move, surroundings
from metafunc.execution.distributed import ALONE, Ranks
from metafunc.execution.plan import Execution
from metafunc.types import Task, TaskFamily


def optimal_nll(
    family: TaskFamily,
    *,
    num_tasks: int,
    seed: int,
    split: str = "test",
    execution: Execution = Execution(),
    on_progress: Progress = quiet,
    ranks: Ranks = ALONE,
) -> Tensor | None:
    """The NLL of the exact prediction on a family's tasks (tasks,), in nats per row.

    Args:
        family: where the tasks come from.
        num_tasks: how many tasks.
        seed: what they are drawn with.
        split: a split or a variant.
        execution: on which device, by how many threads, and how many tasks at the same time.
        on_progress: called with (tasks done, tasks in all).
        ranks: the processes that share the tasks.

    Returns:
        One number for each of the tasks that `evaluate` draws for the same arguments; None where the best prediction of
        these tasks is not known.

    Raises:
        ValueError: the split is unknown.

    Examples:
        >>> from metafunc import data
        >>> optimal_nll(data.sinusoid(noise=0.1), num_tasks=2, seed=0).shape
        torch.Size([2])
        >>> optimal_nll(data.sinusoid(), num_tasks=2, seed=0) is None  # without noise its density has no bound
        True
    """
    sampler, learner = sampler_of(family, split), family.optima.get(split)
    if learner is None:
        return None
    meta = move(learner.init(generator_for(seed, "init", 0)), device_of(execution.device, ranks.local_rank))

    def of_task(task: Task) -> Tensor:
        return nll(learner.predict(learner.adapt(meta, task.support), task.query.x), task.query.y, task.query.mask)

    draws = Draws(learner, meta, sampler, seed, split, num_tasks, execution.chunk_size, ranks)
    with (
        torch.no_grad(),
        surroundings(threads=execution.threads or 1, deterministic=execution.deterministic),
    ):
        return draws.cat([torch.vmap(of_task)(chunk).cpu() for chunk in draws.chunks(on_progress=on_progress)])
