r"""A trial of the ways that a step is to take, on its first tasks, against what it is by definition.

$$\frac1n \sum_i \nabla_\theta\, \ell(\theta, T_i)$$

is by definition a loop over tasks, and over the particles of each, with plain reverse mode of the task loss as its
formula reads. A step is quicker by `vmap`, with each task's own gradient or with that of their sum, where a loss keeps
weights in factors, and where several trainings take theirs at once. All of these are the same function as long as
every operation has the right batching rules and derivatives: which a user's model or
loss need not have, and some of torch's have not. So they are tried before they are used, on two tasks of the shapes
that a step has and in double precision, and what gives other numbers is not used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, Generic

import torch
from torch import Tensor

from metafunc import tree
from metafunc.execution.agreement import agree, nudged
from metafunc.execution.gradient import Gradient, by_autograd, value_and_grad
from metafunc.execution.plan import Plan
from metafunc.types import M, Scalar, Task, TaskLoss, Tree, definition_of

ROUNDINGS = 1000
"""Roundings of the whole gradient that a leaf of it may be off by: 2e-13 in float64, 1e-4 in float32. Terms that cancel
lose more, which is measured; a wrong derivative is off by 1e-6 and more."""
ROOM = 10**6
"""Numbers in the parameters and two tasks up to which memory is of no matter."""


@dataclass(frozen=True)
class Trial(Generic[M]):
    """What a training goes on with.

    Args:
        task_loss: the task loss, or what it is by definition.
        plan: how a step is executed.
        messages: which ways are not taken, and why.
    """

    task_loss: TaskLoss[M]
    plan: Plan
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Way(Generic[M]):
    """A way to a step: which loss, how executed, and in words."""

    task_loss: TaskLoss[M]
    plan: Plan
    words: str


def tried(task_loss: TaskLoss[M], plan: Plan, meta: M, tasks: Task) -> Trial[M]:
    """The quickest of the ways to a step that gives the numbers of the definition, the planned one first.

    It depends on the arguments alone, draws no random numbers, and takes no more memory than a planned step.

    Args:
        task_loss: (meta, task) to a scalar, for one task.
        plan: how its steps are to be executed.
        meta: the meta-parameters to start from; the ways are tried there, but off zeros.
        tasks: stacked, prepared tasks of the first step.

    Examples:
        >>> import torch
        >>> from metafunc.execution import plan, trial
        >>> from metafunc.execution.workload import Workload
        >>> planned = plan.choose(Workload(parameters=2, numbers=6, num_tasks=3, steps=10, device="cpu"))
        >>> found = trial.tried(lambda w, x: (w * x).sin().sum(), planned, torch.ones(2), torch.ones(3, 2))
        >>> found.plan == planned, found.messages
        (True, ())
    """
    ways = list(_ways(task_loss, plan))
    few, roomy = _few(plan, meta, tasks)
    meta = tree.map(_off_zero, meta)
    reason = ""
    for at, some in [_double((meta, few)), (meta, few)] if roomy else [(meta, few)]:
        with _undisturbed(meta):
            expected, reason = _attempt(ways[-1], at, some)
            if expected is not None:
                return _chosen(ways, at, some, expected)
    return Trial(task_loss, plan, (f"The ways to a step were not tried: {reason}.",))


def _attempt(way: _Way[M], meta: M, few: Task) -> tuple[list[Tensor] | None, str]:
    """The numbers of a way, or else why there are none."""
    try:
        return tree.leaves(_step(way)(meta, few)), ""
    except Exception as error:  # whatever a loss does that takes no double precision, or that vmap cannot batch
        return None, shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")


def _ways(task_loss: TaskLoss[M], plan: Plan) -> Iterator[_Way[M]]:
    """The ways to a step from the planned one on; the last is the definition."""
    definition = definition_of(task_loss)
    one_by_one = plan if plan.threaded else _one_by_one(plan)
    factored = "adapted weights in factors"
    losses = [(task_loss, "")] if definition is task_loss else [(task_loss, factored), (definition, "")]
    for seeds in (plan.seeds, 1) if plan.seeds > 1 else (1,):
        yield from _by_vmap(losses, plan._replace(seeds=seeds))
    for loss, kept in losses:
        yield _Way(loss, one_by_one, _said("one task after the other", kept))
    yield _Way(_in_loops(definition), one_by_one, "one task, and of each one particle, after the other")


def _by_vmap(losses: list[tuple[TaskLoss[M], str]], plan: Plan) -> Iterator[_Way[M]]:
    """Those of one training, or of several."""
    seeds = " of several seeds at once" if plan.seeds > 1 else ""
    for loss, kept in losses if not plan.threaded else ():
        if plan.per_task:
            yield _Way(loss, plan, _said(f"each task's own gradient by vmap{seeds}", kept))
        yield _Way(loss, plan._replace(per_task=False), _said(f"all tasks at once by vmap{seeds}", kept))


def _in_loops(task_loss: TaskLoss[M]) -> TaskLoss[M]:
    """The same without `vmap` over particles or draws."""

    def looped(meta: M, task: Task, /) -> Scalar:
        with tree.in_loops():
            return task_loss(meta, task)

    return looped


def _said(how: str, kept: str) -> str:
    return f"{how}, {kept}" if kept else how


def _one_by_one(plan: Plan) -> Plan:
    why = "Steps take one task after the other, because other ways give other numbers."
    trace = plan.trace or plan.compile or plan.background
    return plan._replace(compile=False, background=False, per_task=False, threaded=True, trace=trace, why=why, seeds=1)


def _few(plan: Plan, meta: M, tasks: Task) -> tuple[Task, bool]:
    """One or two tasks, and whether a step has the memory for them in double precision."""
    num_tasks = tree.leaves(tasks)[0].shape[0]
    together = min(plan.chunk_size or num_tasks, num_tasks)
    few: Task = tree.at(tasks, slice(min(2, together)))
    small = tree.size(meta) + tree.size(few) <= ROOM
    # Two tasks in double precision take what four in single do; one after the other, what two do.
    return few, small or (plan.threads > 1 if plan.threaded else together >= 4)


def _off_zero(leaf: Tensor) -> Tensor:
    """Zeros moved a little: what begins at zero, such as a last layer, hides a wrong factor beside it."""
    small = (1 + torch.arange(leaf.numel(), device=leaf.device).remainder(3)).reshape(leaf.shape) / 64
    return torch.where(leaf == 0, small.to(leaf), leaf)


def _double(values: Any) -> Any:
    return tree.map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, values)


def _undisturbed(meta: M) -> Any:
    """No random numbers are taken from training, whatever a loss draws."""
    device = tree.leaves(meta)[0].device
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def _chosen(ways: list[_Way[M]], meta: M, few: Task, expected: list[Tensor]) -> Trial[M]:
    """The first of the ways that gives the numbers of the last, which are known."""

    def right(numbers: list[Tensor] | None) -> bool:
        def nearby() -> list[Tensor]:
            return tree.leaves(_step(ways[-1])(*nudged((meta, few))))

        if numbers is None or not agree(expected, numbers, nearby, roundings=ROUNDINGS):
            return False
        # The gradient by itself as well: beside a large loss all of it would be a rounding.
        return agree(expected[1:], numbers[1:], lambda: nearby()[1:], roundings=ROUNDINGS)

    planned = ways[0]
    unchanged = Trial(planned.task_loss, planned.plan)
    found, reason = _attempt(planned, meta, few)
    if not _finite(expected):
        # Where neither is finite, training says which task diverges.
        said = ("The ways to a step were not compared: by definition the first one is not finite.",)
        return Trial(planned.task_loss, planned.plan, said if found is not None and _finite(found) else ())
    if right(found):
        return unchanged
    way = next((way for way in ways[1:-1] if right(_attempt(way, meta, few)[0])), ways[-1])
    if found is not None:
        off = _difference(expected, found, ["the loss", *tree.paths(meta)])
        reason = (
            f"are off by a relative {off} (of {_tasks(few)}, in {_dtype(meta)}), because an operation has a wrong "
            "derivative under vmap, or a loss is not a function of its arguments alone"
        )
    elif way.plan.threaded != planned.plan.threaded:
        return unchanged  # vmap refuses to draw random numbers, for one: training raises the same error
    else:
        reason = f"fail ({reason})"
    return Trial(way.task_loss, way.plan, (f"Steps by {planned.words} {reason}; they are taken by {way.words}.",))


def _step(way: _Way[M]) -> Gradient[M]:
    """The way, executed here and now."""
    if not way.plan.threaded:
        several = way.plan.seeds > 1
        step = value_and_grad(way.task_loss, per_task=way.plan.per_task, seeds=several)
        return _among_others(step) if several else step
    of_task = by_autograd(way.task_loss)

    def in_turn(meta: M, tasks: Task) -> tuple[Scalar, M]:
        each = tree.stack([of_task(meta, task) for task in tree.unstack(tasks)])
        return tree.map(lambda leaf: leaf.mean(0), each)

    return in_turn


def _among_others(step: Gradient[M]) -> Gradient[M]:
    """A training's step out of one of three trainings, whose meta-parameters and tasks are others."""

    def middle(meta: M, tasks: Task) -> tuple[Scalar, M]:
        less, more = tree.scale(meta, 0.5), tree.scale(meta, 1.5)
        reverse = tree.map(lambda leaf: leaf.flip(0), tasks)
        values, gradients = step(tree.stack([less, meta, more]), tree.stack([reverse, tasks, reverse]))
        return values[1], tree.at(gradients, 1)

    return middle


def _difference(expected: list[Tensor], found: list[Tensor], names: list[str]) -> str:
    """Where two results differ most, and by how much: the loss relatively to itself, a leaf to the whole gradient."""
    value, whole = expected[0].norm(), tree.norm(expected[1:])
    sizes = [value, *[whole] * (len(expected) - 1)]
    errors = [float((one - other).norm() / size) for one, other, size in zip(expected, found, sizes, strict=True)]
    worst = max(range(len(errors)), key=lambda i: errors[i])
    return f"{errors[worst]:.1e} in {names[worst]}"


def _finite(leaves: list[Tensor]) -> bool:
    return all(bool(leaf.isfinite().all()) for leaf in leaves)


def _tasks(few: Task) -> str:
    count = tree.leaves(few)[0].shape[0]
    return f"{count} task{'s' * (count > 1)}"


def _dtype(meta: Tree) -> str:
    return str(tree.leaves(meta)[0].dtype).removeprefix("torch.")
