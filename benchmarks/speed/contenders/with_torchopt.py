"""torchopt's MetaSGD, as its MAML example calls it: the module's state is put back after each task."""

import torchopt

from benchmarks.speed.contenders.networks import loss_of, module_of, optimiser_of, tasks_of
from benchmarks.speed.workloads import OnStep, Workload


def train(work: Workload, on_step: OnStep, option: str = "") -> None:
    """Meta-train."""
    module, loss_fn, tasks = module_of(work), loss_of(work), tasks_of(work)
    parameters = list(module.parameters())
    optimiser = optimiser_of(work, parameters)
    inner = torchopt.MetaSGD(module, lr=work.inner_lr)
    start = torchopt.extract_state_dict(module, by="reference", detach_buffers=True)
    inner_start = torchopt.extract_state_dict(inner, by="reference")
    for _ in range(work.outer_steps):
        optimiser.zero_grad()
        for support_x, support_y, query_x, query_y in tasks:
            for _ in range(work.num_steps):
                inner.step(loss_fn(module(support_x), support_y))
            (loss_fn(module(query_x), query_y) / work.num_tasks).backward()
            torchopt.recover_state_dict(module, start)
            torchopt.recover_state_dict(inner, inner_start)
        optimiser.step()
        on_step(parameters)
