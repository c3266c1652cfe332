"""metafunc as its users call it: a learner, a family of tasks, `fit`."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

import metafunc
from benchmarks.speed.contenders.networks import module_of, optimiser_of, parameters_of
from benchmarks.speed.workloads import FLOOR, HEADS, LAYERS, OnStep, Workload
from metafunc import Batch, MetaLearner, Model, Task, TaskFamily, algorithms, nn, query_loss, tree
from metafunc.bayes.ensemble import lift
from metafunc.bayes.stein import svgd
from metafunc.execution.distributed import ALONE, Ranks
from metafunc.nn import likelihood
from metafunc.training.events import Event
from metafunc.training.settings import adam
from metafunc.transforms import inner, optim
from metafunc.types import Params


def train(work: Workload, on_step: OnStep, option: str = "auto") -> None:
    """Meta-train."""
    execution = metafunc.Execution("off" if option == "off" else "auto", work.chunk or None)
    fitted(work, on_step, learner_of(work, option), execution)


def fitted(
    work: Workload,
    on_step: OnStep,
    learner: MetaLearner[Any, Any],
    execution: metafunc.Execution,
    ranks: Ranks = ALONE,
) -> None:
    """Meta-train a learner."""
    support_x, support_y, query_x, query_y = map(torch.tensor, work.tasks())
    tasks = Task(Batch(support_x, support_y), Batch(query_x, query_y))

    def sampler(generator: torch.Generator, num_tasks: int) -> Task:
        return tree.at(tasks, slice(num_tasks))

    family = TaskFamily("fixed", work.kind, work.input_shape, work.num_outputs, sampler, sampler, sampler)
    start = tree.unflatten(learner.init(torch.Generator()), parameters_of(work))
    leaves: list[Tensor] = []

    def outer(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        own = list(parameters)
        if not leaves:  # of several trainings the first one's
            leaves.extend(own)
        return adam(own) if work.outer == "adam" else optimiser_of(work, own)

    def done(position: int, event: Event) -> None:
        if event.phase == "train" and position == max(0, work.seeds - 1):
            on_step(leaves)

    asked: dict[str, Any] = {
        "steps": work.outer_steps,
        "num_tasks": work.num_tasks,
        "outer": metafunc.Outer(optimiser=outer),
        "execution": execution,
    }
    if work.seeds:
        seeds = range(work.seeds)
        metafunc.fit_many(learner, family, seeds=seeds, start=[start] * len(seeds), on_event=done, **asked)
    else:
        metafunc.fit(learner, family, start=start, ranks=ranks, on_event=partial(done, 0), **asked)


def learner_of(work: Workload, option: str) -> MetaLearner[Any, Any]:
    """MAML on the network of a workload, or what else it asks for."""
    if work.learner != "maml":
        return _conditioning(work)
    if option == "module":
        model = nn.from_module(module_of(work), batch_norm="batch" if work.images else "refuse")
    elif work.residual:
        model = nn.resnet12(work.input_shape, work.num_outputs, width=work.widths[0])
    elif work.images:
        model = nn.conv4(work.input_shape, work.num_outputs, filters=work.widths[0])
    else:
        model = nn.mlp(work.input_shape, work.num_outputs, hidden=work.widths)
    observed = likelihood.for_kind(work.kind, work.num_outputs)
    learner = algorithms.maml(model, observed, inner_lr=work.inner_lr, num_steps=work.num_steps)
    if work.rematerialise:
        loss = observed.of(model)
        step = inner.rematerialised(inner.descend(loss, optim.sgd(work.inner_lr)))
        adapt = inner.repeat(step, work.num_steps)
        return replace(learner, adapt=adapt, task_loss=query_loss(adapt, loss))
    return _stein(work, learner, model) if work.num_particles else learner


def _conditioning(work: Workload) -> MetaLearner[Any, Any]:
    """A learner that adapts without steps."""
    network, width = partial(nn.mlp, hidden=work.widths), work.widths[-1]
    inputs = work.input_shape[0]
    if work.learner == "dkt":
        return algorithms.dkt(network((inputs,), width), likelihood.gaussian(), num_features=width)
    return algorithms.tnp(
        network((inputs + 1,), width),
        network((width,), 2),
        likelihood.heteroscedastic(floor=FLOOR),
        width=width,
        num_heads=HEADS,
        num_layers=LAYERS,
        num_hidden=2 * width,
        noise_floor=FLOOR,
    )


def _stein(work: Workload, learner: MetaLearner[Any, Any], model: Model) -> MetaLearner[Any, Any]:
    """An ensemble of MAML's learners whose members adapt together."""
    observed = likelihood.for_kind(work.kind, work.num_outputs)
    adapt = svgd(observed.nll(model), lr=work.inner_lr, num_steps=work.num_steps)

    def loss(particles: Params, query: Batch) -> Tensor:
        return torch.vmap(observed.of(model), in_dims=(0, None))(particles, query).mean()

    point = lift(learner, num_particles=work.num_particles)
    return replace(point, adapt=adapt, task_loss=query_loss(adapt, loss))
