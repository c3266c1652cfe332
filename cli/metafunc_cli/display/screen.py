"""Where the command line writes: results to stdout, everything else to stderr."""

import json
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

from metafunc_cli.display.visible import Visible
from metafunc_cli.errors import UsageError
from metafunc_cli.settings import spelling

if TYPE_CHECKING:
    from metafunc_cli.settings.compose import Settings


class Screen:
    """The two streams.

    Args:
        json: whether stdout is for one JSON object alone.
        quiet: whether to leave out progress.
        silent: show nothing at all, as all ranks but one.
    """

    def __init__(self, *, json: bool, quiet: bool, silent: bool = False) -> None:
        self.json, self.quiet = json and not silent, quiet or silent
        self.err = _console(_Forgiving(open(os.devnull, "w") if silent else sys.stderr))  # noqa: SIM115 - to the end
        self.out = self.err if json or silent else _console(sys.stdout)
        self._warned: set[str] = set()
        self._before: set[str] = set()
        warnings.showwarning = self._warning

    def result(self, value: Mapping[str, Any]) -> None:
        """Print the one JSON object, if it was asked for."""
        if self.json:
            print(json.dumps(value, allow_nan=False))

    def say(self, message: str) -> None:
        """Print a line on stderr."""
        self.err.print(message, markup=False, highlight=False, soft_wrap=True)

    def warn(self, message: str, *, of: Sequence[str] = ()) -> None:
        """Print a warning on stderr, if it has not been said before.

        Args:
            message: what of.
            of: what it is about, where it was received from others.
        """
        if message not in self._warned and _uncounted(message) not in self._before:
            self._warned.add(message)
            about = f"{', '.join(of)}: " if of else ""
            self.say(f"warning: {about}{message}")

    def begin_part(self) -> None:
        """Begin a part of what is done, such as a fold: warnings of the parts before are not said again with other
        numbers."""
        self._before = {*map(_uncounted, self._warned)}

    def tell(self, message: str) -> None:
        """Print prose on stderr, broken between words."""
        self.err.print(message, markup=False, highlight=False)

    def _warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        self.warn(str(message))


def _uncounted(message: str) -> str:
    """A message without its numbers."""
    return re.sub(r"\d+([.,]\d+)*", "", message)


@contextmanager
def refusals(
    settings: "Settings | None" = None, command: Sequence[str] = (), flags: Mapping[str, str] = MappingProxyType({})
) -> Iterator[None]:
    """What metafunc refuses because of its arguments is a usage error; a damaged file of a run is not.

    Args:
        settings: what was asked for, whose arguments are said as flags.
        command: the words of the command, for errors that know what it should have been.
        flags: by argument, a flag that stands for it in a command without such settings.
    """
    from metafunc.training.json_file import FileError

    try:
        yield
    except FileError:
        raise
    except ValueError as error:
        known = flags if settings is None else spelling.flags_of(settings)
        message = spelling.spelled(str(error), known)
        if settings is not None and command:
            better = spelling.corrected(command, getattr(error, "suggested", {}), settings)
            message += f" Perhaps:\n  {better}" if better else ""
        raise UsageError(message) from error


@contextmanager
def if_stopped(screen: Screen, message: str) -> Iterator[None]:
    """Say what is kept and how to go on, where a signal (`KeyboardInterrupt`, or `SystemExit`) ends what is done."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        screen.say(message)
        raise


class _Forgiving:
    """A stream for what only shows: where it is full or has no reader any more, nothing fails and nothing is shown."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if that can be."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # a full disk or a closed pipe; a stream that was closed
            return len(text)

    def flush(self) -> None:
        """Flush, if that can be."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _console(file: Any) -> Console:
    # Without a terminal rich assumes 80 columns, which breaks tables in two that a file holds easily.
    # No column at all, which a terminal of unknown size has, would show nothing.
    given = os.environ.get("COLUMNS")
    wide = None if (file.isatty() if given is None else given.strip("0").isdigit()) else 120
    console = Console(file=file, width=wide, highlight=False, markup=False, emoji=False)
    console.push_render_hook(Visible())
    return console
