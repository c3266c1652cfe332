"""higher, as its MAML example calls it: a monkey-patched module and a differentiable optimiser for each task."""

import higher
import torch

from benchmarks.speed.contenders.networks import loss_of, module_of, optimiser_of, tasks_of
from benchmarks.speed.workloads import OnStep, Workload


def train(work: Workload, on_step: OnStep, option: str = "") -> None:
    """Meta-train."""
    module, loss_fn, tasks = module_of(work), loss_of(work), tasks_of(work)
    optimiser = optimiser_of(work, module.parameters())
    inner = torch.optim.SGD(module.parameters(), lr=work.inner_lr)
    for _ in range(work.outer_steps):
        optimiser.zero_grad()
        for support_x, support_y, query_x, query_y in tasks:
            with higher.innerloop_ctx(module, inner, copy_initial_weights=False) as (functional, differentiable):
                for _ in range(work.num_steps):
                    differentiable.step(loss_fn(functional(support_x), support_y))
                (loss_fn(functional(query_x), query_y) / work.num_tasks).backward()
        optimiser.step()
        on_step(list(module.parameters()))
