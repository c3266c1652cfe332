"""Steps that follow lists of operations until machine code of the same lists is ready, and then change over.

The code gives the same numbers but for rounding, and when it is ready depends on the clock. So a run notes the step
from which it followed the code before it takes it: going on from an earlier step it changes over at that very step
again, and going on from a later one it begins with the code. Either way it is bitwise the run that was not stopped.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, fx

from metafunc import tree
from metafunc.execution import tracing
from metafunc.execution.aot.build import Build, BuildError, possible
from metafunc.execution.aot.serialise import describe
from metafunc.execution.tracing import Captured, Run, Signature

T = TypeVar("T")
NUDGE = 8
SLACK = 10
"""Code may be off by ten times what the list's result moves when its inputs move by eight roundings: where a kink
flips in the one it may flip in the other; and by a rounding of each operation."""
BACKGROUND = 19


class Halted(Exception):  # noqa: N818 - it names what happened
    """A signal came while a step waited for its code; the step has not been taken."""


class Swap(NamedTuple):
    """A run's change from lists to code.

    Args:
        step: the first step with code.
        arguments: a sum of the shapes and types that the code is for.
    """

    step: int
    arguments: str


class Compiler:
    """Compiles one run's steps.

    Args:
        at_once: wait for the code before the first step, instead of compiling in the background while steps go on.
        swap: when the run changed over before it was stopped; None: it did not.
        record: told of the change before it takes place.
        warn: told when there will be no code, and why.
        halted: whether to stop waiting.

    Example:
        >>> from metafunc.execution import aot
        >>> from metafunc import value_and_grad
        >>> with aot.Compiler(at_once=False) as compiler:
        ...     step = value_and_grad(lambda meta, task: (meta - task.query).square().sum(), lower=compiler.lower)
    """

    def __init__(
        self,
        *,
        at_once: bool,
        swap: Swap | None = None,
        record: Callable[[Swap], None] = lambda swap: None,
        warn: Callable[[str], None] = lambda message: None,
        halted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.at_once, self.swap = at_once, swap
        self.record, self.warn, self.halted = record, warn, halted
        self.step = 0
        self.pending: _Pending | None = None
        self.begun = False

    def __enter__(self) -> "Compiler":
        return self

    def __exit__(self, *_: object) -> None:
        if self.pending is not None:
            self.pending.build.close()

    def lower(self, function: Callable[..., T]) -> Captured[T]:
        """A pure function that follows its list of operations, and its code once that is there."""
        return _Compiled(function, self)

    def between_steps(self, step: int) -> None:
        """Called before each step: change over if it is time to.

        Raises:
            Halted: while waiting for code that a stopped run had at this step.
        """
        self.step = step
        if self.pending is not None:
            ready = self.pending.build.done() if self.swap is None else step >= self.swap.step
            if ready:
                self.change_over()

    def needed_now(self, key: Signature) -> bool:
        """Whether the arguments' first step has to be taken by code already."""
        if self.swap is None:
            return self.at_once
        return self.step >= self.swap.step and _sum(key) == self.swap.arguments

    def begin(self, captured: "_Compiled[Any]", key: Signature, noted: fx.GraphModule, leaves: list[Tensor]) -> None:
        """Start to compile a list; in the background only a run's first."""
        needed = self.needed_now(key)
        if not needed and (self.begun or (self.swap is not None and _sum(key) != self.swap.arguments)):
            return
        self.begun = True
        try:
            if not possible(leaves[0].device.type):
                captured.noted[key] = self._trial(captured, key, noted, tracing.by_inductor(noted, leaves))
                return
            described, constants = describe(noted, leaves)
            build = Build(described, niceness=0 if needed else BACKGROUND)
        except Exception as error:  # whatever inductor fails with
            self.refuse(error)
            return
        self.pending = _Pending(captured, key, noted, constants, build)

    def change_over(self) -> None:
        """Wait for the code, if need be, and let the next call try it."""
        if (pending := self.pending) is None:
            return
        if not pending.build.wait(self.halted):
            raise Halted
        self.pending = None
        captured, key, noted, constants, build = pending
        try:
            run = build.load()
        except BuildError as error:
            self.refuse(error)
        else:
            captured.noted[key] = self._trial(captured, key, noted, lambda *leaves: run([*leaves, *constants]))
        finally:
            build.close()

    def refuse(self, error: Exception) -> None:
        """Say that there will be no code."""
        first = next(iter(str(error).splitlines()), type(error).__name__)
        again = " It had been, when this run was stopped: numbers may differ in the last bits." if self.swap else ""
        self.warn(f"The step cannot be compiled ({first}); it is carried out without.{again}")

    def _trial(self, captured: "_Compiled[Any]", key: Signature, noted: fx.GraphModule, code: Run) -> Run:
        """The first call with code: by the list as well, and only if they agree is the code followed from here on."""

        def tried(*leaves: Tensor) -> list[Tensor]:
            expected: list[Tensor] = noted(*leaves)
            found = code(*leaves)
            if not agree(noted, leaves, expected, found):
                captured.noted[key] = noted
                self.refuse(ValueError("its code gives other numbers than its operations"))
                return expected
            if not self.at_once and self.swap is None:
                self.swap = Swap(self.step, _sum(key))
                self.record(self.swap)
            captured.noted[key] = code
            return found

        return tried


def _sum(key: Signature) -> str:
    return hashlib.sha256(str(key).encode()).hexdigest()[:16]


def agree(noted: fx.GraphModule, leaves: Sequence[Tensor], expected: list[Tensor], found: list[Tensor]) -> bool:
    """Whether a result is that of a list of operations but for rounding."""
    moved = noted(*[_nudged(leaf) for leaf in leaves])
    whole = math.hypot(*(float(leaf.norm()) for leaf in expected))

    def close(one: Tensor, other: Tensor, beside: Tensor) -> bool:
        rounding = tracing.operations(noted) * torch.finfo(one.dtype).eps * whole
        return float((one - other).norm()) <= SLACK * float((one - beside).norm()) + rounding

    return all(map(close, expected, found, moved))


def _nudged(leaf: Tensor) -> Tensor:
    if not leaf.is_floating_point():
        return leaf
    signs = 1 - 2 * (torch.arange(leaf.numel(), device=leaf.device) % 2).reshape(leaf.shape)
    return torch.empty_like(leaf).copy_(leaf * (1 + NUDGE * torch.finfo(leaf.dtype).eps * signs))


class _Pending(NamedTuple):
    captured: "_Compiled[Any]"
    key: Signature
    noted: fx.GraphModule
    constants: list[Tensor]
    build: Build


class _Compiled(Captured[T]):
    def __init__(self, function: Callable[..., T], compiler: Compiler) -> None:
        super().__init__(function)
        self.compiler = compiler

    def unnoted(self, key: Signature, arguments: tuple[Any, ...]) -> T:
        """As it is written, or compiled before the first call where code is needed at once."""
        full = len(self.structures) >= tracing.MOST
        if key in self.noted or full or not self.compiler.needed_now(key):
            return super().unnoted(key, arguments)
        self.structures[key] = value = self.function(*arguments)
        self.note(key, arguments, value)
        self.compiler.change_over()
        return self(*arguments)

    def note(self, key: Signature, arguments: tuple[Any, ...], value: T) -> None:
        """Note the operations, and begin to compile them."""
        super().note(key, arguments, value)
        if isinstance(noted := self.noted[key], fx.GraphModule):
            self.compiler.begin(self, key, noted, tree.leaves(arguments))
        else:
            self.compiler.refuse(ValueError("there is no list of its operations to compile"))
