"""The command line: finds the command, runs it, and turns every ending into an exit code and one clear message."""

import metafunc_cli.search_path  # noqa: F401 - before anything that a file in the current folder could pass for

# isort: split

import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType

from metafunc_cli.errors import FAILURE, INTERRUPTED, OK, TRACEBACK, USAGE, UsageError, check_words, expected, unknown
from metafunc_cli.launch import shows, speaks_of
from metafunc_cli.tied import tie

COMMANDS = {
    "train": ("[ALGORITHM] [TASKS | TABLE] [OPTIONS]", "meta-train, then meta-test on new tasks"),
    "auto": ("TABLE [OPTIONS]", "choose the learner that predicts a table best, and train it"),
    "eval": ("RUN [OPTIONS]", "meta-test a run again, on other tasks or with more steps"),
    "plot": ("RUN [OPTIONS]", "draw a run: learning, adaptation, tasks before and after it"),
    "report": ("RUN|COMPARISON [OPTIONS]", "one HTML file: tables that sort, pictures, functions to explore"),
    "play": ("RUN [OPTIONS]", "a page to click support points on, and see the learner adapt"),
    "compare": ("[RUN ...] [OPTIONS]", "train algorithms, or take runs, and compare them"),
    "bench": ("SUITE | SUITE.toml [OPTIONS]", "a suite of comparisons: one table, ranks, costs and citations"),
    "tune": ("[ALGORITHM] [TASKS] --space ... [OPTIONS]", "search the settings of a training by validation"),
    "predict": ("RUN --support F --query F --out F", "adapt to a new task from files, and predict"),
    "optimise": ("RUN [OPTIONS]", "find the best row of a pool, or point of a box, in few tries"),
    "acquire": ("RUN [OPTIONS]", "let a learner ask for labels, against labels at random"),
    "push": ("RUN user/name [--private]", "put a run onto the Hugging Face hub"),
    "check": ("TARGET [OPTIONS]", "check meta-gradients through your module, loss or learner"),
    "list": ("[SECTION [NAME]] [--json]", "algorithms, tasks, networks, presets, or your runs"),
    "completion": ("bash | zsh | fish", "what your shell needs to complete words at the tab key"),
}
HELP = """usage: metafunc COMMAND [OPTIONS]

{what}

commands:
{commands}

options:
  -h, --help   this text; `metafunc COMMAND --help` has that command's
  --version    the version

{codes}
"""
WHAT = "Bayesian meta-learning as pure functions. `metafunc train` alone trains MAML on sinusoids, in under a minute."
CODES = "exit codes: 0 done, 1 failure, 2 usage, 3 data or machine unavailable, 4 diverged, 129, 130 or 143 interrupted"
WIDE = 120
"""Columns from which each command is shown with what it takes, and where a terminal's are not known."""
COMPLETE = "__complete"
"""What the shells ask by, as `metafunc completion` prints it."""
TERMINATED = {128 + number for number in (1, 15)}  # SIGHUP, which Windows does not know, and SIGTERM


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, _terminate)
    _open_streams()
    tie()
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # another one, while the first was reported
        code = INTERRUPTED
        if os.environ.get(TRACEBACK):
            raise
    finally:
        _no_handlers()
    sys.exit(code)


def _no_handlers() -> None:
    """From here on a signal ends the process at once: an exception in what Python does at its end would be shown."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _open_streams() -> None:
    """Streams that are closed are opened to nowhere, and characters that one cannot show are replaced."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as the process lives
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def run(argv: Sequence[str]) -> int:
    """Run a command line.

    Args:
        argv: its words.

    Returns:
        The exit code.
    """
    if os.environ.get(TRACEBACK):
        return _dispatch(argv)
    try:
        code = _dispatch(argv)
        sys.stdout.flush()
    except UsageError as error:
        return _fail(argv, str(error), USAGE, shown=speaks_of(error))
    except BrokenPipeError:
        _leave_stdout()  # The reader of our output has left; it must not be flushed into the pipe again at exit.
        return FAILURE
    except KeyboardInterrupt:
        return _fail(argv, *_stopped(INTERRUPTED))
    except SystemExit as ended:
        if ended.code not in TERMINATED:
            raise  # of tyro, after help or a malformed flag
        return _fail(argv, *_stopped(ended.code))
    except Exception as error:  # no traceback reaches a user who has not asked for one
        return _fail(argv, *(_stopped_by(error) or expected(error, argv)), shown=speaks_of(error))
    return code


def _dispatch(argv: Sequence[str]) -> int:
    if argv and argv[0] == COMPLETE:  # whose last word is empty after a space
        from metafunc_cli.commands.completion import answer

        return answer(argv[1:], [*COMMANDS])
    check_words(argv)
    if [*argv[:2]] == ["train", "auto"]:
        argv = argv[1:]
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(_help(shutil.get_terminal_size((WIDE, 24)).columns))
        return OK
    if argv[0] == "--version":
        from importlib.metadata import version  # with Python's modules for mail, which take a while

        print(f"metafunc {version('metafunc')}")
        return OK
    if argv[0] not in COMMANDS:
        raise unknown("command", argv[0], COMMANDS)
    try:
        os.getcwd()
    except OSError as error:  # torch's mathematics library ends the process for want of one
        raise UsageError("The current folder has been deleted or cannot be entered: change to another one.") from error
    command: Callable[[Sequence[str]], int] = import_module(f"metafunc_cli.commands.{argv[0]}").main
    return command(argv[1:])


def _help(columns: int) -> str:
    """What there is, in as many columns as a terminal has: in few of them the commands are shown by their names."""
    wide = columns >= WIDE
    usages = {name: f"{name} {usage}" if wide else name for name, (usage, _) in COMMANDS.items()}
    width = max(map(len, usages.values())) + 3
    lines = [f"  {usages[name]:{width}}{summary}" for name, (_, summary) in COMMANDS.items()]
    what, codes = (textwrap.fill(text, max(40, columns)) for text in (WHAT, CODES))
    return HELP.format(what=what, commands="\n".join(lines), codes=codes)


def _fail(argv: Sequence[str], message: str, code: int, *, shown: bool | None = None) -> int:
    """Say why, in as far as that can still be shown, and this is the rank to say it."""
    if not (shows() if shown is None else shown):
        return code
    from metafunc_cli.display.visible import visible  # with rich, which a line that succeeds may do without

    name = f" {argv[0]}" if argv and argv[0] in COMMANDS else ""
    with suppress(OSError, ValueError):  # a full disk or a reader that has gone; a stream that was closed
        print(visible(f"metafunc{name}: {message}"), file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except OSError:  # which Python would try again at its end
        _leave_stdout()
    return code


def _stopped(code: int) -> tuple[str, int]:
    return ("interrupted." if code == INTERRUPTED else f"{signal.Signals(code - 128).name} stopped it."), code


def _stopped_by(error: BaseException) -> tuple[str, int] | None:
    """The ending by a signal that some code has turned into an error of its own, as Python does in `__set_name__`."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return _stopped(INTERRUPTED)
        if isinstance(cause, SystemExit) and cause.code in TERMINATED:
            return _stopped(cause.code)
        cause = cause.__cause__
    return None


def _leave_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
