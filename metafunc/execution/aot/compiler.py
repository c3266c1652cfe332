"""Steps that replay their traced graph until compiled code of the same graph is ready, and then switch to it.

The code gives the same numbers but for rounding, and when it is ready depends on the clock. So a run records its first
compiled step before it takes it: resumed from an earlier step it switches at that very step again, and resumed from a
later one it begins with the code. Either way it is bitwise the run that was not stopped.

Shards of a step, and the ranks that share them, switch together: once the code is ready everywhere it is tried on every
shard of the next step, and where one refuses it all of them take that step again by their graphs, and go on with these.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, fx

from metafunc import tree
from metafunc.execution import agreement, tracing
from metafunc.execution.aot.build import Build, BuildError, cached, possible, usual_seconds
from metafunc.execution.aot.serialise import describe
from metafunc.execution.aot.switch import Halted, Switch, sum_of
from metafunc.execution.aot.worth import Pace, pays
from metafunc.execution.code_cache import CacheError
from metafunc.execution.tracing import Run, Signature, Traced

T = TypeVar("T")
BACKGROUND = 19


class Compiler:
    """Compiles one run's steps.

    Args:
        at_once: wait for the code before the first step, instead of compiling in the background while steps go on.
        switch: when the run switched to compiled code before it was stopped; None: it did not.
        record: called with the switch before it takes place.
        warn: called with the reason when there will be no code.
        halted: whether to stop waiting.
        shared: whether shards and ranks switch together, by what `settle` learns after every gradient.
        builds: whether this process compiles in the background; else it takes what another of this machine has made.
        steps: steps of the run in all.
        worth: how many times a build's time the steps left have to take, for a build in the background to begin; what
            the cache has is taken anyway. 0: it always begins.

    Examples:
        >>> from metafunc.execution import aot
        >>> from metafunc import value_and_grad
        >>> with aot.Compiler(at_once=False) as compiler:
        ...     step = value_and_grad(lambda meta, task: (meta - task.query).square().sum(), lower=compiler.lower)
    """

    def __init__(
        self,
        *,
        at_once: bool,
        switch: Switch | None = None,
        record: Callable[[Switch], None] = lambda switch: None,
        warn: Callable[[str], None] = lambda message: None,
        halted: Callable[[], bool] = lambda: False,
        shared: bool = False,
        builds: bool = True,
        steps: int = 0,
        worth: float = 0.0,
    ) -> None:
        self.at_once, self.switch = at_once, switch
        self.record, self.warn, self.halted = record, warn, halted
        self.shared, self.builds = shared, builds
        self.steps, self.worth = steps, worth
        self.step, self.pace = 0, Pace()
        self.asked: _Asked | None = None
        self.pending: _Pending | None = None
        self.begun = self.ready = self.refused = self.over = False
        self.trials: dict[Signature, _Trial] = {}

    def __enter__(self) -> "Compiler":
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def lower(self, function: Callable[..., T]) -> Traced[T]:
        """A pure function that replays its traced graph, and its compiled code once that is there."""
        return _Compiled(function, self)

    def between_steps(self, step: int) -> None:
        """Switch to compiled code if it is time to; called before each step.

        Raises:
            Halted: while waiting for code that a stopped run had at this step.
        """
        self.step = step
        if self.asked is not None:
            self._decide(self.asked)
        if self.pending is not None:
            ready = self.ready if self.shared else self.pending.build.done()
            if ready if self.switch is None else step >= self.switch.step:
                self.switch_now()

    def waits(self, step: int) -> bool:
        """Whether a resumed run waits for its code before a step; the same on all ranks."""
        return self.shared and self.switch is not None and step == self.switch.step

    def begins_with_code(self, step: int) -> bool:
        """Whether a run that is resumed at a step had its code by then."""
        return self.switch is not None and step >= self.switch.step

    def notes(self) -> tuple[int, int]:
        """Whether there is no code here that waits for the others, and whether it was refused here."""
        if not self.shared:
            return 1, 0
        if self.pending is not None and self.pending.build.failed():
            self.switch_now()  # which says why not
        ready = self.pending is not None and self.pending.build.done()
        return int(not ready), int(self.refused)

    def settle(self, *, unready: int, refused: int) -> bool:
        """Switch as all shards and ranks do, by the largest of their notes. Returns whether the gradient has to be
        taken again, by graphs."""
        if not self.shared:
            return False
        self.ready = not unready
        trials, self.trials = self.trials, {}
        for key, trial in trials.items():
            trial.owner.graphs[key] = trial.graph if refused else trial.code
            if not (refused or self.at_once or self.switch):
                self.switch = Switch(self.step, sum_of(key))
                self.record(self.switch)
        if refused:
            if not self.refused:
                self.refuse(ValueError("another rank has no code for it"))
            self.drop()
            self.refused, self.over = False, True
        return bool(refused)

    def drop(self) -> None:
        """Compile no more."""
        self.asked = None
        if self.pending is not None:
            self.pending.build.close()
            self.pending = None

    def needed_now(self, key: Signature) -> bool:
        """Whether the arguments' first step has to be a compiled one already."""
        if self.over or self.switch is None:
            return self.at_once and not self.over
        return self.step >= self.switch.step and sum_of(key) == self.switch.arguments

    def begin(self, owner: "_Compiled[Any]", key: Signature, graph: fx.GraphModule, leaves: list[Tensor]) -> None:
        """Start to compile a graph; in the background only a run's first."""
        needed = self.needed_now(key)
        if self.over:
            return
        if not needed and (self.begun or (self.switch is not None and sum_of(key) != self.switch.arguments)):
            return
        self.begun = True
        try:
            if not possible(leaves[0].device.type):
                owner.graphs[key] = self._trial(owner, key, graph, tracing.by_inductor(graph, leaves))
                return
            self.asked = _Asked(owner, key, graph, *describe(graph, leaves))
            known = needed or self.switch is not None or not (self.worth and self.builds)
            if known or cached(self.asked.described):
                self._build(niceness=0 if needed else BACKGROUND, builds=self.builds or needed)
        except Exception as error:  # whatever inductor fails with
            self.asked = None
            self.refuse(error)

    def _decide(self, asked: "_Asked") -> None:
        """Build in the background what pays, once that is known."""
        self.pace.mark()
        if not self.pace.known:
            return
        left = self.pace.step * (self.steps - self.step)
        try:
            if cached(asked.described) or pays(left, usual_seconds(asked.described), worth=self.worth):
                self._build(niceness=BACKGROUND, builds=True)
        except (CacheError, OSError) as error:
            self.refuse(error)
        self.asked = None

    def _build(self, *, niceness: int, builds: bool) -> None:
        assert self.asked is not None
        owner, key, graph, described, constants = self.asked
        self.asked = None
        self.pending = _Pending(owner, key, graph, constants, Build(described, niceness=niceness, builds=builds))

    def switch_now(self) -> None:
        """Wait for the code, if need be, and let the next call try it."""
        if (pending := self.pending) is None:
            return
        if not pending.build.wait(self.halted):
            raise Halted
        self.pending = None
        owner, key, graph, constants, build = pending
        try:
            run = build.load()
        except (BuildError, CacheError, OSError) as error:  # the last of a full disk
            self.refuse(error)
        else:
            owner.graphs[key] = self._trial(owner, key, graph, lambda *leaves: run([*leaves, *constants]))
        finally:
            build.close()

    def refuse(self, error: Exception) -> None:
        """Warn that there will be no code."""
        self.refused = True
        first = next(iter(str(error).splitlines()), type(error).__name__)
        again = " It had been, when this run was stopped: numbers may differ in the last bits." if self.switch else ""
        self.warn(f"The step cannot be compiled ({first}); it runs without.{again}")

    def _trial(self, owner: "_Compiled[Any]", key: Signature, graph: fx.GraphModule, code: Run) -> Run:
        """The first call with code, or those of all shards: by the graph as well, and only if they agree does the code
        stay."""

        def tried(*leaves: Tensor) -> list[Tensor]:
            expected: list[Tensor] = graph(*leaves)
            refused: Exception | None = None
            try:
                found = code(*leaves)
                if not agree(graph, leaves, expected, found):
                    refused = ValueError("its code gives other numbers than its graph")
            except RuntimeError as error:  # such as an operation that compiled code cannot call
                refused = error
            if refused is not None:
                owner.graphs[key] = graph
                self.refuse(refused)
                return expected
            if self.shared:
                self.trials[key] = _Trial(owner, graph, code)
                return found
            if not self.at_once and self.switch is None:
                self.switch = Switch(self.step, sum_of(key))
                self.record(self.switch)
            owner.graphs[key] = code
            return found

        return tried


def agree(graph: fx.GraphModule, leaves: Sequence[Tensor], expected: list[Tensor], found: list[Tensor]) -> bool:
    """Whether a result is that of a traced graph but for rounding, of which each operation may add one."""
    roundings = tracing.operations(graph)
    return agreement.agree(expected, found, lambda: graph(*agreement.nudged(list(leaves))), roundings=roundings)


class _Trial(NamedTuple):
    owner: "_Compiled[Any]"
    graph: fx.GraphModule
    code: Run


class _Asked(NamedTuple):
    owner: "_Compiled[Any]"
    key: Signature
    graph: fx.GraphModule
    described: str
    constants: list[Tensor]


class _Pending(NamedTuple):
    owner: "_Compiled[Any]"
    key: Signature
    graph: fx.GraphModule
    constants: list[Tensor]
    build: Build


class _Compiled(Traced[T]):
    def __init__(self, function: Callable[..., T], compiler: Compiler) -> None:
        super().__init__(function)
        self.compiler = compiler
        self.reason = "it cannot be traced"

    def eager(self, key: Signature, arguments: tuple[Any, ...]) -> T:
        """As it is written, or compiled before the first call where code is needed at once."""
        full = len(self.structures) >= tracing.MAX_SIGNATURES
        if key in self.graphs or full or not self.compiler.needed_now(key):
            return super().eager(key, arguments)
        self.structures[key] = value = self.function(*arguments)
        self.trace(key, arguments, value)
        self.compiler.switch_now()
        return self(*arguments)

    def trace(self, key: Signature, arguments: tuple[Any, ...], value: T) -> None:
        """Trace the function, and begin to compile its graph."""
        super().trace(key, arguments, value)
        if isinstance(graph := self.graphs[key], fx.GraphModule):
            self.compiler.begin(self, key, graph, tree.leaves(arguments))
        else:
            self.compiler.refuse(ValueError(self.reason))

    def refuse(self, reason: str) -> None:
        """Keep the reason for the compiler's own message."""
        self.reason = reason
