"""How far a training is: a live bar on a terminal, and otherwise a plain line every half minute."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from metafunc_cli.display.results import tidy

SECONDS = 30.0
WINDOW = 50
"""Steps that the shown loss is the mean of."""

Show = Callable[[int, int, str], None]


@contextmanager
def progress(console: Console, title: str, *, quiet: bool) -> Iterator[Show]:
    """Something to call with (steps done, steps in all, what else there is to say).

    Args:
        console: where; stderr.
        title: what is going on.
        quiet: show nothing.
    """
    if quiet:
        yield lambda done, total, news: None
    elif console.is_terminal and not console.is_dumb_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Count(),
            TextColumn("{task.fields[news]}", style="dim"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            refresh_per_second=5,
        ) as bar:
            task = bar.add_task(title, total=None, news="")
            yield lambda done, total, news: bar.update(task, completed=done, total=total, news=news)
    else:
        yield _Lines(console, title)


class Loss:
    """The mean loss of the last steps."""

    def __init__(self) -> None:
        self.last: deque[float] = deque(maxlen=WINDOW)

    def add(self, loss: float | None) -> str:
        """Take note of one step's loss; returns what to show."""
        self.last.extend(() if loss is None else (loss,))
        return f"loss {tidy(sum(self.last) / len(self.last))}" if self.last else ""


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f}/{task.total:,.0f}" if task.total is not None else "starting")


class _Lines:
    """A plain line now and then."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title
        self.began = self.last = time.monotonic()
        self.first: int | None = None

    def __call__(self, done: int, total: int, news: str) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done
        if now - self.last < SECONDS:
            return
        self.last = now
        rate = (done - self.first) / (now - self.began)
        left = f"  {timedelta(seconds=round((total - done) / rate))} left" if rate > 0 else ""
        self.console.print(f"{self.title} {done}/{total}  {news}{left}", soft_wrap=True, highlight=False)
