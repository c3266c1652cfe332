"""Which words can come next on a command line: commands, names, flags and their values, presets and runs."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from metafunc_cli.presets.all import PRESETS
from metafunc_cli.settings import options
from metafunc_cli.settings.arguments import VARIADIC, is_flag, taken
from metafunc_cli.settings.bench_options import Benching
from metafunc_cli.settings.checking_options import Checking
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, MODELS
from metafunc_cli.settings.tuning_options import Tuning
from metafunc_cli.suites.suite import known as suites

RUNS = "runs"
DEEP = 3
"""So many folders below `runs` a run is looked for: those of a comparison lie in its own."""
TABLES = (".csv", ".parquet")
OPTIONS: Mapping[str, tuple[type, ...]] = {
    "train": (options.Training, options.Output),
    "auto": (options.Choosing,),
    "eval": (options.Testing, options.Report),
    "plot": (options.Plotting,),
    "compare": (options.Comparison,),
    "bench": (Benching,),
    "tune": (options.Training, Tuning),
    "predict": (options.Prediction,),
    "check": (Checking,),
}
"""By command, the dataclasses of its own flags."""
FIXED: Mapping[str, tuple[str, ...]] = {
    "list": ("algorithms", "tasks", "networks", "presets", "runs", "--json"),
    "completion": ("bash", "zsh", "fish"),
}
"""The words of commands that have no dataclass."""
OF_DATA = ("--seed", "--out", "--overwrite", "--json", "--quiet")
"""The flags of `train` that `auto` takes beside those of the data."""


class Flag(NamedTuple):
    """What is known of a flag.

    Args:
        number: how many values it takes; -1: any number.
        values: those that there are, if they can be counted.
    """

    number: int
    values: tuple[str, ...] = ()


def next_words(words: Sequence[str], commands: Collection[str]) -> list[str]:
    """The words that the last one can become; none where the shell's own names of files will do.

    Args:
        words: those after the program's name; the last is being typed, and is empty after a space.
        commands: those that there are.

    Examples:
        >>> next_words(["tr"], ["train", "list"]), next_words(["list", "pre"], ["train", "list"])
        (['train'], ['presets'])
        >>> next_words(["train", "maml", "tiny"], ["train"])
        ['tiny_omniglot']
    """
    *before, word = words or ("",)
    if not before:
        return _fitting(word, (*commands, *(["--help", "--version"] if word.startswith("-") else ())))
    command, *rest = before
    given, joined, value = word.partition("=")
    flags = _flags(command, rest)
    if joined and given in flags:
        return [f"{given}={found}" for found in _fitting(value, flags[given].values)]
    if command in FIXED:
        return [found for found in _fitting(word, FIXED[command]) if found not in rest]
    open_flag = _open(rest, flags)
    of_flag = _fitting(word, open_flag.values) if open_flag else []
    if is_flag(word):
        return _fitting(word, (*flags, "--help"))
    if open_flag and open_flag.number != VARIADIC:
        return of_flag
    return [*of_flag, *_fitting(word, _names(command, rest, word))]


def run_folders(folder: Path = Path(RUNS)) -> Iterator[Path]:
    """The runs below a folder."""
    for depth in range(DEEP):
        yield from (file.parent for file in sorted(folder.glob("*/" * (depth + 1) + "config.json")))


def _fitting(word: str, known: Collection[str]) -> list[str]:
    return [name for name in dict.fromkeys(known) if name.startswith(word)]


def _open(rest: Sequence[str], flags: Mapping[str, Flag]) -> Flag | None:
    """The flag whose value comes next, if there is one."""
    places = [place for place, word in enumerate(rest) if is_flag(word)]
    if not places or "=" in rest[places[-1]]:
        return None
    flag = flags.get(rest[places[-1]].replace("_", "-"))
    values = len(rest) - places[-1] - 1
    return flag if flag and (flag.number == VARIADIC or values < flag.number) else None


def _names(command: str, rest: Sequence[str], word: str) -> list[str]:
    """The names that belong to no flag: an algorithm and a family that fit each other, or a run."""
    if command in ("train", "tune", "auto"):
        here = Path(word).parent if "/" in word else Path()
        tables = [str(file) for end in TABLES for file in sorted(here.glob(f"*{end}"))]
        return tables if command == "auto" else [*_pairs(rest), *tables]
    if command == "check":
        return [*ALGORITHMS]
    if command == "bench":
        return suites()
    several = command == "compare"
    return [
        str(run) for run in run_folders() if several or not any((Path(each) / "config.json").exists() for each in rest)
    ]


def _pairs(rest: Sequence[str]) -> list[str]:
    """Algorithms and families, of those whose kind is that of what is given already."""
    algorithm, family = _given(rest, ALGORITHMS), _given(rest, FAMILIES)
    first = (
        []
        if algorithm
        else [n for n, row in ALGORITHMS.items() if not family or FAMILIES[family].kinds[0] in row.kinds]
    )
    kinds = ALGORITHMS[algorithm].kinds if algorithm else ()
    second = [] if family else [n for n, row in FAMILIES.items() if not algorithm or row.kinds[0] in kinds]
    return [*first, *second]


def _given(rest: Sequence[str], table: Collection[str]) -> str | None:
    return next((word for word in rest if word in table), None)


def _flags(command: str, rest: Sequence[str]) -> dict[str, Flag]:
    """The flags that a command has with the names that were given: no name of a user's module is imported."""
    found = {name: flag for fields in OPTIONS.get(command, ()) for name, flag in _of("", fields).items()}
    algorithm, family = _given(rest, ALGORITHMS), _given(rest, FAMILIES)
    if command == "auto":
        usual = _of("", options.Training) | _of("", options.Output)
        found |= {name: usual[name] for name in OF_DATA} | _of("data", FAMILIES["regression"].fields)
    elif command == "eval":
        family = next(filter(None, map(_family_of, rest)), None)
        found |= _of("data", FAMILIES[family].fields) if family in FAMILIES else {}
    elif command in ("train", "tune"):
        algorithm = algorithm or ("mixed" if family == "regression" else "maml")
        table = any(Path(word).suffix.lower() in TABLES for word in rest)
        fits = (name for name, row in FAMILIES.items() if row.kinds[0] in ALGORITHMS[algorithm].kinds)
        family = family or ("regression" if table else next(fits))
        network = _given(rest, MODELS) or FAMILIES[family].model
        found |= _of("", ALGORITHMS[algorithm].fields) | _of("data", FAMILIES[family].fields)
        found |= _of("model", MODELS[network].fields)
    return found


def _family_of(word: str) -> str | None:
    """The family of a run, if a word names one whose configuration can be read."""
    try:
        name = json.loads((Path(word) / "config.json").read_text())["tasks"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _of(prefix: str, fields: type) -> dict[str, Flag]:
    """The flags of a dataclass."""
    hints = get_type_hints(fields, include_extras=True)
    values = {}
    for name, hint in hints.items():
        config = next((part for part in getattr(hint, "__metadata__", ()) if hasattr(part, "name")), None)
        called = getattr(config, "name", None) or name
        values[f"--{prefix}.{called}" if prefix else f"--{called}"] = _values(
            called, hint, getattr(config, "metavar", None)
        )
    numbers = {flag: each.number for flag, each in taken(prefix, fields).items()}
    if "--network" in numbers:  # which is typed --model
        numbers["--model"] = numbers.pop("--network")
    hyphened = {flag.replace("_", "-"): found for flag, found in values.items()}
    return {
        flag: Flag(number, hyphened.get(flag, ()))
        for flag, number in numbers.items()
        if number or not flag.rpartition(".")[2].removeprefix("--").startswith("no-") or flag in hyphened
    }


def _values(name: str, hint: Any, metavar: str | None) -> tuple[str, ...]:
    """What a flag can be given, where that can be counted."""
    by_name = {
        "preset": (preset.name for preset in PRESETS),
        "model": MODELS,
        "algorithms": ALGORITHMS,
        "tasks": FAMILIES,
        "device": ("auto", "cpu", "cuda", "mps"),
        "split": ("test", "validation", "train"),
    }
    if metavar == "RUN" and name != "out":
        return tuple(map(str, run_folders()))
    literals = _literals(hint)
    return literals or tuple(by_name.get(name, ()))


def _literals(hint: Any) -> tuple[str, ...]:
    if get_origin(hint) is Literal:
        return tuple(map(str, get_args(hint)))
    return tuple(chain.from_iterable(map(_literals, get_args(hint))))
