"""A run that is there, or the words of a training that makes one, among the flags of a command that goes on with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metafunc_cli.errors import UsageError
from metafunc_cli.settings.arguments import ONE, Taken, taken, tokens
from metafunc_cli.settings.decision_options import Shown
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES
from metafunc_cli.settings.run_argument import HELP, parse

SHARED = ("--json", "--quiet", "--imports")


class Asked(NamedTuple):
    """A command line taken apart.

    Args:
        run: the run's folder; None where a training comes first.
        words: of that training.
        typed: all words of the command.
        tables: beside a run, the names that are no run.
        own: the command's own options.
        shown: what becomes of the result.
    """

    run: Path | None
    words: list[str]
    typed: Sequence[str]
    tables: list[str]
    own: Any
    shown: Shown


def run_or_training(command: str, argv: Sequence[str], what: str, options: type) -> Asked:
    """Take a command line apart.

    Args:
        command: its name.
        argv: the words.
        what: its description, for help.
        options: the dataclass of its own options.

    Raises:
        UsageError: there is neither a run nor an algorithm with tasks, or a flag that a run does not take.
    """
    typed = ("metafunc", command, *argv)
    known = {**taken("", options), **taken("", Shown), **dict.fromkeys(HELP, Taken(0, str))}
    names, mine, rest = _sorted(argv, known)
    asked: Mapping[str, Any] = vars(
        parse(f"metafunc {command}", what, mine, {"decision": options(), "output": Shown()})
    )
    runs = [name for name in names if (Path(name) / "config.json").exists()]
    if len(runs) > 1:
        raise UsageError(f"{command} takes one run, not {len(runs)}: {', '.join(runs)}.")
    if runs:
        if rest:
            raise UsageError(f"{rest[0]} is an option of a training, and {runs[0]} is trained: leave it out.")
        others = [name for name in names if name not in runs]
        return Asked(Path(runs[0]), [], typed, others, asked["decision"], asked["output"])
    _check_training(command, names)
    shared = [flag for flag in mine if flag in SHARED]
    return Asked(None, [*names, *rest, *shared], typed, [], asked["decision"], asked["output"])


def _check_training(command: str, names: Sequence[str]) -> None:
    """Refuse a command line that names neither a run nor something to train on."""
    example = f"metafunc {command} runs/dkt-sinusoid-1, or metafunc {command} dkt TABLE.csv"
    if not names:
        raise UsageError(f"{command} needs the folder of a run, or an algorithm and tasks to train it on: {example}.")
    for name in names:
        known = name in ALGORITHMS or name in FAMILIES or ":" in name
        if not known and not Path(name).exists():
            raise UsageError(f"{name} is no run, algorithm, task family or table: {example}.")
        if not known and Path(name).is_dir() and not any(Path(name).glob("*.parquet")):
            raise UsageError(f"{name} is no run: it has no config.json. Give the folder that metafunc train wrote.")


def _sorted(argv: Sequence[str], known: Mapping[str, Taken]) -> tuple[list[str], list[str], list[str]]:
    """Names, this command's flags, and the flags of a training."""
    others: dict[str, Taken] = {}
    for rows, prefix in ((ALGORITHMS, ""), (FAMILIES, "data")):
        for entry in rows.values():
            others |= taken(prefix, entry.fields)
    names: list[str] = []
    mine: list[str] = []
    rest: list[str] = []
    for token in tokens(argv, lambda flag: {**others, **known}.get(flag, ONE)):
        (names if not token.flag else mine if token.flag in known else rest).extend(token.words)
    return names, mine, rest
