"""A probe of memorisation: how well a learner does without the right support set."""

import torch
from torch import Tensor

from metafunc import tree
from metafunc.evaluation.scoring import Scores, chunks, score
from metafunc.execution import device
from metafunc.types import Batch, M, MetaLearner, P, Task


def probed(learner: MetaLearner[M, P], meta: M, tasks: Task, chunk_size: int) -> Scores:
    """The error (mse) or accuracy of tasks, (tasks,), adapted on their `own` support set, on an `empty` one (no row of
    it counts), and on another task's (`shuffled`).

    Args:
        learner: who adapts, by as many steps as in training.
        meta: its meta-parameters.
        tasks: a block of two or more prepared tasks.
        chunk_size: tasks that are adapted at the same time.
    """
    support: Batch = tasks.support
    whole = support.x.new_ones(support.x.shape[:2]) if isinstance(support.mask, tuple) else support.mask
    supports = {
        "own": support,
        "empty": support._replace(mask=torch.zeros_like(whole)),
        "shuffled": tree.map(lambda leaf: leaf.roll(1, 0), support),
    }

    def of_task(task: Task) -> Tensor:
        found = score(learner.predict(learner.adapt(meta, task.support), task.query.x), task.query)
        return found["accuracy"] if "accuracy" in found else found["mse"]

    where = tree.leaves(meta)[0].device
    found: Scores = {}
    with torch.no_grad():
        for name, one in supports.items():
            parts = [
                torch.vmap(of_task)(device.move(some, where)) for some in chunks(Task(one, tasks.query), chunk_size)
            ]
            found[name] = torch.cat(parts).cpu()
    return found
