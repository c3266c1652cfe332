"""The command line: finds the command, runs it, and turns every ending into an exit code and one clear message."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from types import FrameType

from metafunc_cli.errors import DATA, DIVERGED, FAILURE, INTERRUPTED, OK, USAGE, UsageError, unknown

COMMANDS = {
    "train": ("[ALGORITHM] [TASKS] [OPTIONS]", "meta-train, then meta-test on new tasks"),
    "eval": ("RUN [OPTIONS]", "meta-test a run again, on other tasks or with more steps"),
    "plot": ("RUN [OPTIONS]", "draw a run: learning and adaptation curves, tasks before and after"),
    "compare": ("[RUN ...] [OPTIONS]", "train algorithms, or take runs, and compare them"),
    "predict": ("RUN --support F --query F --out F", "adapt to a new task from files, and predict"),
    "check": ("TARGET [OPTIONS]", "check meta-gradients through your module, loss or learner"),
    "list": ("", "algorithms, tasks, networks and presets"),
}
HELP = """usage: metafunc COMMAND [OPTIONS]

Bayesian meta-learning as pure functions. `metafunc train` alone trains MAML on sinusoids, in under a minute.

commands:
{commands}

options:
  -h, --help   this text; `metafunc COMMAND --help` has that command's
  --version    the version

exit codes: 0 done, 1 failure, 2 usage, 3 data unavailable or damaged, 4 diverged, 130 or 143 interrupted
"""
TRACEBACK = "METAFUNC_TRACEBACK"


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, _terminate)
    _open_streams()
    sys.exit(run(sys.argv[1:]))


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
        return _fail(argv, str(error), USAGE)
    except BrokenPipeError:
        # The reader of our output has left; stdout must not be flushed into the pipe again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except KeyboardInterrupt:
        return _fail(argv, "interrupted.", INTERRUPTED)
    except Exception as error:  # no traceback reaches a user who has not asked for one
        return _fail(argv, *_expected(error))
    return code


def _dispatch(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        usages = {name: f"{name} {usage}".strip() for name, (usage, _) in COMMANDS.items()}
        width = max(map(len, usages.values())) + 3
        sys.stdout.write(HELP.format(commands="\n".join(f"  {usages[n]:{width}}{COMMANDS[n][1]}" for n in COMMANDS)))
        return OK
    if argv[0] == "--version":
        print(f"metafunc {version('metafunc')}")
        return OK
    if argv[0] not in COMMANDS:
        raise unknown("command", argv[0], COMMANDS)
    command: Callable[[Sequence[str]], int] = import_module(f"metafunc_cli.commands.{argv[0]}").main
    return command(argv[1:])


def _expected(error: Exception) -> tuple[str, int]:
    """The message and the exit code of an exception.

    The exceptions of metafunc are looked up by name: importing them would import torch for a mere usage error.
    """
    codes = {"DataUnavailable": DATA, "Diverged": DIVERGED, "FileError": DATA, "CheckpointError": DATA}
    if type(error).__module__.startswith("metafunc.") and type(error).__name__ in codes:
        return str(error), codes[type(error).__name__]
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}.", FAILURE
    return f"{type(error).__name__}: {error}. {TRACEBACK}=1 shows where it comes from.", FAILURE


def _fail(argv: Sequence[str], message: str, code: int) -> int:
    name = f" {argv[0]}" if argv and argv[0] in COMMANDS else ""
    print(f"metafunc{name}: {message}", file=sys.stderr)
    return code


def _terminate(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
