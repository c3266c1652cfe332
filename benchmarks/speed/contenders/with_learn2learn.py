"""learn2learn's MAML wrapper: a clone of the module for each task."""

from learn2learn.algorithms.maml import MAML

from benchmarks.speed.contenders.networks import loss_of, module_of, optimiser_of, tasks_of
from benchmarks.speed.workloads import OnStep, Workload


def train(work: Workload, on_step: OnStep, option: str = "") -> None:
    """Meta-train."""
    maml, loss_fn, tasks = MAML(module_of(work), lr=work.inner_lr), loss_of(work), tasks_of(work)
    optimiser = optimiser_of(work, maml.parameters())
    for _ in range(work.outer_steps):
        optimiser.zero_grad()
        for support_x, support_y, query_x, query_y in tasks:
            learner = maml.clone()
            for _ in range(work.num_steps):
                learner.adapt(loss_fn(learner(support_x), support_y))
            (loss_fn(learner(query_x), query_y) / work.num_tasks).backward()
        optimiser.step()
        on_step(list(maml.parameters()))
