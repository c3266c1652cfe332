"""A loop over tasks with `torch.autograd`, and nothing else: in float64 the reference for everyone's gradient."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.speed.contenders import conditioning
from benchmarks.speed.contenders.networks import Forward, forward_of, loss_of, optimiser_of, parameters_of, tasks_of
from benchmarks.speed.workloads import OnStep, Workload


def train(work: Workload, on_step: OnStep, option: str = "") -> None:
    """Meta-train."""
    params = [leaf.requires_grad_() for leaf in parameters_of(work)]
    tasks = tasks_of(work)
    optimiser = optimiser_of(work, params)
    task_loss = adapting(work) if work.learner == "maml" else conditioning.task_loss_of(work)
    for _ in range(work.outer_steps):
        optimiser.zero_grad()
        for task in tasks:
            (task_loss(params, *task) / work.num_tasks).backward()
        optimiser.step()
        on_step(params)


def adapting(work: Workload) -> conditioning.TaskLoss:
    """What parameters lose on the query set after the inner steps."""
    forward, loss_fn = forward_of(work), loss_of(work)
    adapt = stein if work.num_particles else descend

    def task_loss(
        params: list[Tensor], support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> Tensor:
        for _ in range(work.num_steps):
            params = adapt(forward, loss_fn, params, support_x, support_y, work.inner_lr)
        if not work.num_particles:
            return loss_fn(forward(params, query_x), query_y)
        losses = [loss_fn(forward(particle, query_x), query_y) for particle in zip(*params, strict=True)]
        return torch.stack(losses).mean()

    return task_loss


Loss = Callable[[Tensor, Tensor], Tensor]


def descend(forward: Forward, loss_fn: Loss, params: list[Tensor], x: Tensor, y: Tensor, lr: float) -> list[Tensor]:
    """One differentiable step of gradient descent."""
    gradients = torch.autograd.grad(loss_fn(forward(params, x), y), params, create_graph=True)
    return [leaf - lr * gradient for leaf, gradient in zip(params, gradients, strict=True)]


def stein(forward: Forward, _: Loss, params: list[Tensor], x: Tensor, y: Tensor, lr: float) -> list[Tensor]:
    """One differentiable step of Stein variational gradient descent, particle by particle."""
    particles = list(zip(*params, strict=True))
    count = len(particles)
    flat = [torch.cat([leaf.flatten() for leaf in particle]) for particle in particles]
    gradients = []
    for particle in particles:
        loss = (forward(particle, x) - y).square().sum() / 2
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, particle, create_graph=True)]))
    squares = [[(flat[j] - flat[m]).square().sum() for m in range(count)] for j in range(count)]
    pairs = sorted(float(squares[j][m].detach()) for j in range(count) for m in range(j + 1, count))
    median = (pairs[(len(pairs) - 1) // 2] + pairs[len(pairs) // 2]) / 2
    bandwidth = median / float(torch.tensor(float(count), dtype=torch.float64).log())
    moved = []
    for m in range(count):
        move = torch.zeros_like(flat[m])
        for j in range(count):
            kernel = torch.exp(-squares[j][m] / bandwidth)
            move = move + kernel * gradients[j] - 2 / bandwidth * (flat[m] - flat[j]) * kernel
        moved.append(flat[m] - lr * move / count)
    return _unflatten(torch.stack(moved), params)


def _unflatten(rows: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = rows.split([leaf[0].numel() for leaf in like], dim=1)
    return [part.reshape(leaf.shape) for part, leaf in zip(parts, like, strict=True)]
