"""How far a training is: a live bar on a terminal, and otherwise a plain line every half minute."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from metafunc_cli.display.results import tidy
from metafunc_cli.display.screen import Screen
from metafunc_cli.display.visible import visible

if TYPE_CHECKING:
    from metafunc.training.events import Event

SECONDS = 30.0
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
        if "validation" in event.values:
            scores = event.values["validation"].items()
            self.scores = "".join(f"  validation {metric} {tidy(value)}" for metric, value in scores)
        if event.phase == "train":
            self.losses.append(event.values["loss"])
            loss = tidy(sum(self.losses) / len(self.losses))
            self.advance(event.step, event.steps, f"loss {loss}{self.scores}")


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
