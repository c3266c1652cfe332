"""What can be checked about a user-supplied meta-learner: its tasks and steps are found by trying."""

import itertools
from collections.abc import Iterator
from typing import Any, get_args

import torch
from torch import Generator, Tensor

from metafunc import algorithms, tree
from metafunc.algorithms.networks import no_network
from metafunc.checks import look_up
from metafunc.testing.diagnosis.checklist import Checklist, Step, step_of
from metafunc.testing.diagnosis.inputs import InputsError
from metafunc.testing.diagnosis.loss_problem import refuse_loss, refuse_unfinished
from metafunc.testing.identities.table import applicable
from metafunc.testing.numerics import rounding
from metafunc.testing.numerics.report import RAISED, described
from metafunc.testing.problems.cases import LearnerCase
from metafunc.testing.problems.small import SMALL, build_small, network, random_tasks, small
from metafunc.types import Categorical, Kind, MetaLearner, Predictive, Task, Tree

SIDES = (28, 32)
NUM_STEPS = SMALL["num_steps"]
MOST_STEPS = 12
"""Inner steps among which those of a learner's `adapt` are looked for."""


def examine_algorithm(name: str) -> Checklist:
    """Check a row of `metafunc.algorithms.ALGORITHMS`, on every kind of task that it takes.

    Raises:
        ValueError: if there is no such row, or it acts in environments.
    """
    row = look_up(algorithms.ALGORITHMS, name, "algorithm")
    if name not in algorithms.SUPERVISED:
        raise ValueError(
            f"{name} learns from trajectories, which are random: its gradients are checked as exact expectations, by "
            "metafunc.testing.problems.expectations."
        )
    steps: list[Step] = []
    for kind in row.kinds:
        learner = build_small(name, network, kind, 3, **small(row))
        meta = learner.init(Generator().manual_seed(0))
        case = LearnerCase(
            learner,
            meta,
            random_tasks(kind),
            NUM_STEPS,
            row.exact,
            row.inner_steps,
            coherent=kind in row.coherent,
            jitter=row.jitter,
        )
        steps += [step._replace(summary=f"{kind}: {step.summary}") for step in _steps(case)]
    notes = [f"A small network on random tasks; inner steps: {NUM_STEPS if row.inner_steps else 'none'}."]
    if row.networks is no_network:
        notes.append("It has no meta-parameters, so there is no meta-gradient that could be asked about.")
    elif not row.exact:
        notes.append("It stops gradients, so whether its meta-gradient is the derivative of its loss is not asked.")
    return Checklist(tuple(notes), tuple(steps))


def examine_learner(
    learner: MetaLearner[Any, Any],
    *,
    input_shape: tuple[int, ...] | None = None,
    tasks: Task | None = None,
    exact: bool = True,
) -> Checklist:
    """Check a learner on tasks of its own, or on random ones that it takes.

    Args:
        learner: the learner; its meta-parameters are taken in double precision.
        input_shape: of a row, without the batch axis; None: guessed from the shapes of its meta-parameters.
        tasks: stacked tasks; None: random ones.
        exact: whether its meta-gradient is meant to be the derivative of its task loss.

    Raises:
        InputsError: if no random tasks are found that it takes.
        ValueError: if it does not take the tasks that are given, or its task loss is no finite scalar.
    """
    meta = _doubled(learner.init(Generator().manual_seed(0)))
    refuse_unfinished(meta, "The meta-parameters")
    tasks = _doubled(tasks) if tasks is not None else _tasks_for(learner, meta, input_shape)
    try:
        task = tree.at(learner.prepare(meta, tasks, Generator().manual_seed(0), step=0, num_steps=100), 0)
        value = learner.task_loss(meta, task)
    except RAISED as error:
        raise ValueError(f"the learner does not take these tasks. It raised {described(error)}") from error
    refuse_loss(value)
    num_steps, inner_steps = _steps_of(learner, meta, tasks)
    x = tasks.support.x
    notes = (
        f"Tasks: {rounding.count(tasks)}, with support inputs of shape {tuple(x.shape[1:])}; inner steps: "
        f"{num_steps if inner_steps else 'none'}.",
    )
    return Checklist(notes, _steps(LearnerCase(learner, meta, tasks, num_steps, exact, inner_steps)))


def _steps(case: LearnerCase[Any, Any]) -> tuple[Step, ...]:
    return tuple(step_of(identity, case) for identity in applicable(case))


def _doubled(values: Tree) -> Tree:
    return tree.map(lambda leaf: leaf.detach().double() if leaf.is_floating_point() else leaf, values)


def _tasks_for(learner: MetaLearner[Any, Any], meta: Tree, input_shape: tuple[int, ...] | None) -> Task:
    shapes = [input_shape] if input_shape is not None else list(dict.fromkeys(_input_shapes(meta)))
    problem = "Its meta-parameters tell no shape."
    for shape, kind, num_outputs in itertools.product(shapes, get_args(Kind)[:2], _output_sizes(meta)):
        tasks = _random_tasks(shape, kind, num_outputs)
        problem = _problem(learner, meta, tasks, kind, num_outputs)
        if not problem:
            return tasks
    raise InputsError(
        f"the learner takes none of the random tasks that were tried, with rows of shape "
        f"{', '.join(map(str, shapes[:8])) or '(none)'}. {problem}"
    )


def _random_tasks(shape: tuple[int, ...], kind: Kind, num_outputs: int) -> Task:
    generator = Generator().manual_seed(0)
    tasks = random_tasks(kind, num_outputs=num_outputs)

    def inputs(y: Tensor) -> Tensor:
        return torch.randn((*y.shape[:2], *shape), generator=generator, dtype=torch.float64)

    return Task(*(batch._replace(x=inputs(batch.y)) for batch in tasks))


def _problem(learner: MetaLearner[Any, Any], meta: Tree, tasks: Task, kind: Kind, num_outputs: int) -> str:
    """Why a learner does not take these tasks; empty if it does."""
    try:
        prepared = learner.prepare(meta, tasks, Generator().manual_seed(0), step=0, num_steps=100)
        task = tree.at(prepared, 0)
        learner.task_loss(meta, task)
        found: Predictive = learner.predict(learner.adapt(meta, task.support), task.query.x)
    except RAISED as error:
        return f"The last one raised {described(error)}"
    fits = isinstance(found, Categorical) == (kind == "classification")
    if fits and found[0].shape[1:] == (task.query.x.shape[0], num_outputs):
        return ""
    return f"For the last one it predicted a {type(found).__name__} of shape {tuple(found[0].shape)}."


def _input_shapes(meta: Tree) -> Iterator[tuple[int, ...]]:
    """The inputs of the first layers whose weights these could be."""
    for leaf in tree.leaves(meta):
        if leaf.ndim == 2:
            yield from ((leaf.shape[1],), (leaf.shape[0],))
        elif leaf.ndim == 4:
            yield from ((leaf.shape[1], side, side) for side in SIDES)


def _output_sizes(meta: Tree) -> list[int]:
    """Sizes of the last layers, and half of them for outputs that carry a noise scale."""
    sizes = [size for leaf in reversed(tree.leaves(meta)) if leaf.ndim in (1, 2) for size in leaf.shape]
    last = sizes[:4]
    return list(dict.fromkeys([*last, *(size // 2 for size in last if size > 1), 5]))


def _steps_of(learner: MetaLearner[Any, Any], meta: Tree, tasks: Task) -> tuple[int, bool]:
    """How many inner steps `adapt` takes, and whether it takes steps at all."""
    support = tree.at(tasks, 0).support
    rows = tree.unstack(learner.path(meta, support, MOST_STEPS))
    if len(rows) != MOST_STEPS + 1:
        return 1, False
    adapted = tree.leaves(learner.adapt(meta, support))
    for number, row in enumerate(rows):
        if all(torch.equal(x, y) for x, y in zip(tree.leaves(row), adapted, strict=True)):
            return number, True
    return 1, True
