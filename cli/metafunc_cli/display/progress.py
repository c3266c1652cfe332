"""How far trainings are and how long they will take: a live bar on a terminal, else a plain line every half minute."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from metafunc.checks import counted
from metafunc_cli.display.durations import duration
from metafunc_cli.display.results import tidy
from metafunc_cli.display.screen import Screen
from metafunc_cli.display.visible import visible

if TYPE_CHECKING:
    from metafunc.training.events import Event

SECONDS = 30.0
STEPS = 20
"""After so many steps it is said how long the others will take,"""
SOON, FEW = 5.0, 2
"""or after so many seconds, and as many steps."""
LONG = 600.0
"""Seconds from which something shorter is offered."""
WINDOW = 50
"""Steps that the shown loss is the mean of."""

Show = Callable[[int, int, str], None]


@contextmanager
def progress(console: Console, title: str, *, quiet: bool) -> Iterator[Show]:
    """Something to call with (steps done, steps in all, what else to show).

    Args:
        console: where; stderr.
        title: what is going on.
        quiet: show nothing.
    """
    title = visible(title)
    if quiet:
        yield lambda done, total, extra: None
    elif console.is_terminal and not console.is_dumb_terminal:
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Count(),
            TextColumn("{task.fields[extra]}", style="dim", markup=False),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            refresh_per_second=5,
        ) as bar:
            task = bar.add_task(title, total=None, extra="")
            yield lambda done, total, extra: bar.update(task, completed=done, total=total, extra=extra)
    else:
        yield _Lines(console, title)


class Callback:
    """Shows the events of a training: warnings as lines, and its progress with the mean loss of the last steps."""

    def __init__(self, screen: Screen, advance: Show) -> None:
        self.screen, self.advance = screen, advance
        self.losses: deque[float] = deque(maxlen=WINDOW)
        self.scores = ""

    def __call__(self, event: "Event") -> None:
        if event.phase == "warning":
            self.screen.say(f"warning: {event.message}")
        if event.phase == "stopped":
            self.screen.say(event.message)
        if "validation" in event.values:
            scores = event.values["validation"].items()
            self.scores = "".join(f"  validation {metric} {tidy(value)}" for metric, value in scores)
        if event.phase == "train":
            self.losses.append(event.values["loss"])
            loss = tidy(sum(self.losses) / len(self.losses))
            self.advance(event.step, event.steps, f"loss {loss}{self.scores}")


def both(*callbacks: "Callable[[Event], None]") -> "Callable[[Event], None]":
    """One callback that hands an event to several."""

    def called(event: "Event") -> None:
        for callback in callbacks:
            callback(event)

    return called


class Estimate:
    """Says once, after a few steps, how long a training will take, and what to do instead where that is long.

    Args:
        screen: where.
        instead: what else could be done, said where it will take more than `LONG` seconds.
    """

    def __init__(self, screen: Screen, instead: str = "") -> None:
        self.screen, self.instead = screen, instead
        self.began: tuple[int, float] | None = None
        self.said = screen.quiet

    def __call__(self, event: "Event") -> None:
        if self.said or event.phase != "train":
            return
        now = time.monotonic()
        self.began = self.began or (event.step, now)  # after the first step, in which much is prepared
        steps, seconds = event.step - self.began[0], now - self.began[1]
        if steps >= STEPS or (steps >= FEW and seconds >= SOON):
            self.said = True
            left = (event.steps - event.step) * seconds / steps
            about = "about " * (left >= 1)  # below that its words say already that it is no exact time
            self.screen.say(f"{about}{duration(left)} for the other {counted(event.steps - event.step, 'steps')}")
            if left > LONG and self.instead:
                self.screen.say(self.instead)


class Overall:
    """How far all the trainings of a comparison are.

    Args:
        each: by their folders' names, in the order in which they come, what is trained and for how many steps.
    """

    def __init__(self, each: Mapping[str, tuple[str, int]]) -> None:
        self.each = dict(each)
        self.spent: dict[str, tuple[float, int]] = {}
        """By what is trained, seconds and steps."""

    def title(self, name: str) -> str:
        """What is trained now, and which of how many it is."""
        return f"{name} ({[*self.each].index(name) + 1} of {len(self.each)})"

    def around(self, name: str, show: Show) -> Show:
        """Shows a training's progress, and how long all will take."""
        learner = self.each[name][0]
        before = self.spent.get(learner, (0.0, 0))
        began: list[tuple[int, float]] = []

        def shown(done: int, total: int, extra: str) -> None:
            began.append((done, time.monotonic())) if not began else None
            seconds, steps = time.monotonic() - began[0][1], done - began[0][0]
            self.spent[learner] = before[0] + seconds, before[1] + steps
            left = self.left(name, done)
            show(done, total, extra if left is None else f"{extra}  all in {duration(left)}")

        return shown

    def left(self, name: str, done: int) -> float | None:
        """The seconds that are left, by the time that steps have taken; None while nothing is known."""
        known = {learner: seconds / steps for learner, (seconds, steps) in self.spent.items() if steps}
        if not known:
            return None
        usual = sum(known.values()) / len(known)
        names = [*self.each]
        left = 0.0
        for other in names[names.index(name) :]:
            learner, steps = self.each[other]
            left += known.get(learner, usual) * (steps - (done if other == name else 0))
        return left


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f}/{task.total:,.0f}" if task.total is not None else "starting")


class _Lines:
    """A plain line now and then."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title
        self.began = self.last = time.monotonic()
        self.first: int | None = None

    def __call__(self, done: int, total: int, extra: str) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done
        if now - self.last < SECONDS:
            return
        self.last = now
        rate = (done - self.first) / (now - self.began)
        left = f"  {timedelta(seconds=round((total - done) / rate))} left" if rate > 0 else ""
        self.console.print(f"{self.title} {done}/{total}  {extra}{left}", soft_wrap=True, highlight=False)
