"""A probe of memorisation: how well a learner does without the right support set."""

import torch
from torch import Tensor

from metafunc import tree
from metafunc.evaluation.scoring import Draws, Scores, chunks, fitting, main_score
from metafunc.execution import device
from metafunc.types import Batch, M, P, Task

PROBED = 100
"""Tasks that are adapted on wrong support sets as well."""


def probed(draws: Draws[M, P]) -> Scores:
    """The metric that validation follows, (tasks,), after as many steps as in training on the `own` support set, on an
    `empty` one (no row of it counts), and on another task's (`shuffled`).

    A block of a single task, which has no other to take a support set from, is left out.
    """
    return draws.joined([_of_block(draws, tasks) for tasks in draws.blocks() if _count(tasks) > 1], 0)


def _count(tasks: Task) -> int:
    return tree.leaves(tasks)[0].shape[0]


def _of_block(draws: Draws[M, P], tasks: Task) -> Scores:
    support: Batch = tasks.support
    whole = support.x.new_ones(support.x.shape[:2]) if isinstance(support.mask, tuple) else support.mask
    supports = {
        "own": support,
        "empty": support._replace(mask=torch.zeros_like(whole)),
        "shuffled": tree.map(lambda leaf: leaf.roll(1, 0), support),
    }
    learner = draws.learner

    def of_task(task: Task) -> Tensor:
        return main_score(learner.predict(learner.adapt(draws.meta, task.support), task.query.x), task.query)

    where = tree.leaves(draws.meta)[0].device
    size = draws.chunk_size or fitting(learner, draws.meta, tasks, 0)
    found: Scores = {}
    with torch.no_grad():
        for name, one in supports.items():
            parts = [torch.vmap(of_task)(device.move(some, where)) for some in chunks(Task(one, tasks.query), size)]
            found[name] = torch.cat(parts).cpu()
    return found
