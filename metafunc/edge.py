"""What surrounds pure functions on a real machine: a device, threads, signals, and a first look at the data."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIG_DFL, SIGINT, SIGTERM, Signals, signal
from types import FrameType
from typing import TypeVar

import torch
from torch import Tensor

from metafunc import allocator, tree
from metafunc.types import Batch, Categorical, M, MetaLearner, P, Predictive, Task, TaskFamily

T = TypeVar("T")


def device_of(name: str | torch.device) -> torch.device:
    """The device of a name; "auto" takes the first there is of cuda, mps and cpu.

    Raises:
        ValueError: torch does not know the name, or the machine has no such device.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator if accelerator is not None else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch's CPU build raises an AssertionError for "cuda"
        raise ValueError(f"There is no device {str(name)!r} here ({error}); give cpu, cuda, mps or auto.") from error
    return device


def move(values: T, device: torch.device) -> T:
    """A tree on another device; the tree itself if it is there already."""
    return tree.map(lambda leaf: leaf.to(device), values)


@contextmanager
def surroundings(*, threads: int | None = None, deterministic: bool = False) -> Iterator[None]:
    """A number of torch threads and deterministic algorithms, for a while; both are put back afterwards.

    Freed memory is kept meanwhile.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(before[0] if threads is None else threads)
    torch.use_deterministic_algorithms(deterministic or before[1])
    try:
        with allocator.kept():
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


class Received:
    """The signal that asked to stop, once there was one."""

    signal: Signals | None = None


@contextmanager
def stopping(*, enabled: bool = True) -> Iterator[Received]:
    """Take note of the first SIGINT or SIGTERM instead of dying of it; the second one stops at once.

    Outside the main thread, where Python allows no handlers, and when not enabled, signals do what they always did.
    """
    received = Received()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, _: FrameType | None) -> None:
        if received.signal is None:
            received.signal = Signals(number)
        elif number == SIGTERM:
            raise SystemExit(128 + number)
        else:
            raise KeyboardInterrupt

    before = {number: signal(number, note) for number in (SIGINT, SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal(number, handler if handler is not None else SIG_DFL)


def look(learner: MetaLearner[M, P], meta: M, family: TaskFamily, tasks: Task) -> Predictive | None:
    """Look over the first tasks before any work, so that wrong data is a message and not a number.

    Args:
        learner: what will be trained or tested.
        meta: its meta-parameters.
        family: what the tasks should be like.
        tasks: stacked tasks.

    Returns:
        What the learner predicts for the first task's queries before it adapts; None if its data are no rows of inputs
        and targets.

    Raises:
        ValueError: axes disagree, a number is not finite, a label is out of range, the learner's output does not
            fit the family, or padded rows would enter batch statistics.
    """
    for part, batch in (("support", tasks.support), ("query", tasks.query)):
        if isinstance(batch, Batch):
            _check_batch(batch, f"{family.name}: the {part} set", family)
            _check_padding(batch, part, learner.normalisation)
    if not isinstance(tasks.query, Batch):
        return None
    return _check_output(learner, meta, family, tree.map(lambda leaf: leaf[0], tasks))


def _check_batch(batch: Batch, where: str, family: TaskFamily) -> None:
    x, y = batch.x, batch.y
    masks: list[Tensor] = [] if isinstance(batch.mask, tuple) else [batch.mask]
    if x.shape[2:] != family.input_shape:
        raise ValueError(f"{where} has inputs of shape {tuple(x.shape[2:])} a row, not {tuple(family.input_shape)}.")
    if any(leaf.shape[:2] != x.shape[:2] for leaf in (y, *masks)):
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in (x, y, *masks))
        raise ValueError(f"{where} has x, y (and mask) of shapes {shapes}: (tasks, rows) have to agree.")
    for name, leaf in zip(("x", "y", "mask"), (x, y, *masks), strict=False):
        if leaf.is_floating_point() and not torch.isfinite(leaf).all():
            task = int((~torch.isfinite(leaf)).flatten(1).any(1).nonzero()[0])
            raise ValueError(f"{where} has a {name} that is not finite (task {task}): drop or fill such rows.")
    if family.kind == "regression" and y.shape[2:] != (family.num_outputs,):
        raise ValueError(f"{where} has targets of shape {tuple(y.shape[2:])} a row, not ({family.num_outputs},).")
    if family.kind == "classification":
        if y.dtype != torch.int64 or y.ndim != 2:
            raise ValueError(f"{where} has labels of type {y.dtype} and shape {tuple(y.shape)}: int64 a row is needed.")
        if y.numel() and (int(y.min()) < 0 or int(y.max()) >= family.num_outputs):
            raise ValueError(
                f"{where} has labels from {int(y.min())} to {int(y.max())}: with {family.num_outputs} classes they "
                f"have to lie in 0..{family.num_outputs - 1}."
            )


def _check_padding(batch: Batch, part: str, normalisation: str) -> None:
    if normalisation == "none" or isinstance(batch.mask, tuple) or bool((batch.mask == 1).all()):
        return
    raise ValueError(
        f"The {part} sets are padded, and the model normalises by {normalisation} batch statistics, which padded rows "
        'would enter. Give tasks of one size, or a model with normalisation="none".'
    )


def _check_output(learner: MetaLearner[M, P], meta: M, family: TaskFamily, task: Task) -> Predictive:
    try:
        with torch.no_grad():  # before any inner step: on outputs that do not fit, its loss would fail less clearly
            params = tree.unstack(learner.path(meta, task.support, 0))[0]
            predictive = learner.predict(params, task.query.x)
    except RuntimeError as error:
        raise ValueError(
            f"The learner fails on the first task of {family.name} ({family.kind}, inputs of shape "
            f"{tuple(family.input_shape)}, {family.num_outputs} outputs): {error}"
        ) from error
    outputs = predictive[0]
    if isinstance(predictive, Categorical) != (family.kind == "classification"):
        raise ValueError(
            f"The learner predicts a {type(predictive).__name__}, but {family.name} is for {family.kind}: build it "
            f"with likelihood.for_kind({family.kind!r}, {family.num_outputs})."
        )
    expected = (task.query.x.shape[0], family.num_outputs)
    if outputs.ndim != 3 or outputs.shape[1:] != expected:
        raise ValueError(
            f"The learner predicts (particles, rows, outputs) = {tuple(outputs.shape)}, but {family.name} needs "
            f"(particles, {expected[0]}, {expected[1]}): build its model with num_outputs={family.num_outputs}."
        )
    return predictive
