"""The joint score of many tasks, row by row: what `autoregressive` computes for one task, in a meta-test."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.data.sampling import generator_for
from metafunc.evaluation import autoregressive
from metafunc.evaluation.metrics.scores import per_row
from metafunc.evaluation.noise_scale import noise_scale
from metafunc.evaluation.scoring import Draws, Progress, chunks, fitting, quiet
from metafunc.execution import device
from metafunc.types import Batch, M, MetaLearner, P, Sampler, Task, Tree


def joint_nll(
    draws: Draws[M, P], *, num_rows: int | None = None, noise: Tree = (), on_progress: Progress = quiet
) -> Float[Tensor, " tasks"]:
    """Minus the log-probability of each task's query rows together, in nats per row, after the trained number of steps.

    Args:
        draws: the tasks.
        num_rows: how many of a task's query rows count, from the first; None: all.
        noise: a standard deviation for predictions without one.
        on_progress: called with (tasks done, tasks in all).
    """
    learner, meta = draws.learner, draws.meta
    where = tree.leaves(meta)[0].device
    grown = replace(draws, sampler=_pooling(draws.sampler, num_rows))

    def of_task(task: Task, order: Tensor, chunk_size: int | None) -> Tensor:
        log_prob = autoregressive.log_joint(learner, meta, task.support, order, noise=noise, chunk_size=chunk_size)
        return -per_row(log_prob, task.query.y, task.query.mask)

    found = []
    for block, tasks in zip(grown.own_blocks, grown.blocks(on_progress=on_progress), strict=True):
        num_tasks, rows = tasks.query.x.shape[:2]
        generator = generator_for(draws.seed, f"order-{draws.split}", block)
        orders = torch.rand(num_tasks, rows, dtype=torch.float64, generator=generator).argsort(1)
        copies = draws.chunk_size or fitting(learner, meta, tasks, 0)
        # Every row of a task takes a copy of it: several tasks together, or some rows of one.
        size, some_rows = (copies // rows, None) if copies >= rows else (1, copies)
        for part, own in zip(chunks(tasks, size), torch.split(orders, size), strict=True):
            with torch.no_grad():
                each = torch.vmap(lambda task, order, n=some_rows: of_task(task, order, n))
                found.append(each(device.move(part, where), own.to(where)).cpu())
    return draws.cat(found)


def fitted_noise(validation: Draws[M, P], *, spread: bool) -> Tensor:
    """The likeliest noise scale after the trained number of steps, for a learner without one.

    Args:
        validation: the validation tasks.
        spread: whether there are several particles.
    """
    learner = validation.learner

    def once(meta: M, support: Batch, num_steps: int, /) -> P:
        return tree.map(lambda leaf: leaf[None], learner.adapt(meta, support))

    adapted: MetaLearner[M, P] = replace(learner, path=once)
    return noise_scale(replace(validation, learner=adapted), 0, spread=spread).scale[0]


def _pooling(sampler: Sampler, num_rows: int | None) -> Sampler:
    """Tasks whose support sets have the query rows as well."""

    def pooled(generator: Generator, num_tasks: int, /) -> Task:
        tasks = sampler(generator, num_tasks)
        query = tree.map(lambda leaf: leaf[:, :num_rows], tasks.query)
        return Task(torch.vmap(autoregressive.pooled)(tasks.support, query), query)

    return pooled
