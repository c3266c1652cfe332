"""Which words can come next on a command line: commands, names, flags and their values, presets and runs.

An answer reads `words.json`, which `word_table` has made of all settings, and imports none of them.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from metafunc_cli.settings.arguments import VARIADIC, is_flag
from metafunc_cli.settings.rows import VECTORS

RUNS = "runs"
DEEP = 3
"""So many folders below `runs` a run is looked for: those of a comparison lie in its own."""
TABLES = (".csv", ".parquet")
FILE = "words.json"
RUN_FOLDERS = "<runs>"
"""In that file, in the place of values: the runs that there are."""
Words: TypeAlias = dict[str, dict[str, dict[str, Any]]]
"""By part (commands, algorithms, families, networks) and name: flags, kinds, and a family's usual network."""
FIXED: Mapping[str, tuple[str, ...]] = {
    "list": ("algorithms", "tasks", "networks", "presets", "runs", "--json"),
    "completion": ("bash", "zsh", "fish"),
}
"""The words of commands that have no dataclass."""


class Flag(NamedTuple):
    """What is known of a flag.

    Args:
        number: how many values it takes; -1: any number.
        values: those that there are, if they can be counted.
    """

    number: int
    values: Sequence[str] = ()


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
        return [*_words()["algorithms"]]
    if command == "bench":
        return [*_words()["suites"]]
    several = command == "compare"
    return [
        str(run) for run in run_folders() if several or not any((Path(each) / "config.json").exists() for each in rest)
    ]


def _pairs(rest: Sequence[str]) -> list[str]:
    """Algorithms and families, of those whose kind is that of what is given already."""
    algorithms, families = _words()["algorithms"], _words()["families"]
    algorithm, family = _given(rest, algorithms), _given(rest, families)
    kind = families[family]["kinds"][0] if family else None
    kinds = algorithms[algorithm]["kinds"] if algorithm else None
    first = [] if algorithm else [name for name, row in algorithms.items() if kind is None or kind in row["kinds"]]
    second = [] if family else [name for name, row in families.items() if kinds is None or row["kinds"][0] in kinds]
    return [*first, *second]


def _given(rest: Sequence[str], table: Collection[str]) -> str | None:
    return next((word for word in rest if word in table), None)


def _flags(command: str, rest: Sequence[str]) -> dict[str, Flag]:
    """The flags that a command has with the names that were given: no name of a user's module is imported."""
    algorithms, families, networks = (_words()[part] for part in ("algorithms", "families", "networks"))
    found = dict(_words()["commands"].get(command, {}).get("flags", {}))
    if command == "eval":
        family = next(filter(None, map(_family_of, rest)), None)
        found |= families[family]["flags"] if family in families else {}
    elif command in ("train", "tune"):
        family = _given(rest, families)
        algorithm = _given(rest, algorithms) or ("mixed" if family == "regression" else "maml")
        table = any(Path(word).suffix.lower() in TABLES for word in rest)
        fits = (name for name, row in families.items() if row["kinds"][0] in algorithms[algorithm]["kinds"])
        family = family or ("regression" if table else next(fits))
        usual = VECTORS if algorithms[algorithm]["over_vectors"] else families[family]["model"]
        network = _given(rest, networks) or usual
        rows = (algorithms[algorithm], networks[network])
        found |= algorithms[algorithm]["flags"] | families[family]["flags"] | networks[network]["flags"]
        if command == "tune":
            names = [name for row in (_words()["commands"]["tune"], *rows) for name in row["numbers"]]
            found["--space"] = (VARIADIC, [f"{name}:" for name in names])
    elif command == "bench":
        suites = _words()["suites"]
        named = [word for word in rest if word in suites] or suites
        for part in ("learners", "families"):
            found[f"--{part}"] = (VARIADIC, [name for suite in named for name in suites[suite][part]])
    return {flag: Flag(number, _now(values)) for flag, (number, values) in found.items()}


def _now(values: Sequence[str]) -> Sequence[str]:
    return [*map(str, run_folders())] if RUN_FOLDERS in values else values


def _family_of(word: str) -> str | None:
    """The family of a run, if a word names one whose configuration can be read."""
    try:
        name = json.loads((Path(word) / "config.json").read_text())["tasks"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


@cache
def _words() -> Words:
    found: Words = json.loads(Path(__file__).with_name(FILE).read_text(encoding="utf-8"))
    return found
