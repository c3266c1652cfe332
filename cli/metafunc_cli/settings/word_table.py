"""Makes `words.json`: all names, flags and values that the tab key offers, so that an answer reads no settings.

The classes of settings take three times as long to import as an answer may take.
"""

import json
from collections.abc import Mapping
from itertools import chain
from typing import Any, Literal, get_args, get_origin, get_type_hints

from metafunc_cli.commands import tune
from metafunc_cli.presets.all import PRESETS
from metafunc_cli.settings import options
from metafunc_cli.settings.arguments import taken
from metafunc_cli.settings.bench_options import Benching
from metafunc_cli.settings.checking_options import Checking
from metafunc_cli.settings.comparison_options import Comparison
from metafunc_cli.settings.decision_options import Acquiring, Optimising, Shown
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, MODELS
from metafunc_cli.settings.next_words import RUN_FOLDERS, Flag, Words
from metafunc_cli.settings.tuning_options import Tuning
from metafunc_cli.suites import suite

OPTIONS: Mapping[str, tuple[type, ...]] = {
    "train": (options.Training, options.Output),
    "auto": (options.Choosing,),
    "eval": (options.Testing, options.Report),
    "plot": (options.Plotting,),
    "report": (options.Reporting,),
    "play": (options.Serving,),
    "compare": (Comparison,),
    "bench": (Benching,),
    "tune": (options.Training, Tuning),
    "predict": (options.Prediction,),
    "optimise": (Optimising, Shown),
    "acquire": (Acquiring, Shown),
    "push": (options.Pushing,),
    "check": (Checking,),
}
"""By command, the dataclasses of its own flags."""
OF_DATA = ("--seed", "--out", "--overwrite", "--json", "--quiet")
"""The flags of `train` that `auto` takes beside those of the data."""


def source() -> str:
    """The text that `words.json` should have: a line for each name."""
    parts = [
        f'"{part}": {{\n' + ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items()) + "\n}"
        for part, rows in words().items()
    ]
    return "{" + ",\n".join(parts) + "}\n"


def words() -> Words:
    """What there is to offer, by part and name."""
    of_commands = {
        name: {flag: each for fields in several for flag, each in flags("", fields).items()}
        for name, several in OPTIONS.items()
    }
    of_train, of_tables = of_commands["train"], flags("data", FAMILIES["regression"].fields)
    of_commands["tune"] = {name: each for name, each in of_commands["tune"].items() if name not in tune.NOT_HERE}
    of_commands["auto"] |= {name: of_train[name] for name in OF_DATA} | of_tables
    searched = {"tune": {"numbers": numbers("", options.Training)}}
    suites = {name: suite.read(name) for name in suite.known()}
    return {
        "commands": {name: {"flags": each, **searched.get(name, {})} for name, each in of_commands.items()},
        "algorithms": {
            name: {
                "kinds": row.kinds,
                "over_vectors": row.over_vectors,
                "flags": flags("", row.fields),
                "numbers": numbers("", row.fields),
            }
            for name, row in ALGORITHMS.items()
        },
        "families": {
            name: {"kinds": row.kinds, "model": row.model, "flags": flags("data", row.fields)}
            for name, row in FAMILIES.items()
        },
        "suites": {
            name: {"learners": each.algorithms, "families": [family.name for family in each.families]}
            for name, each in suites.items()
        },
        "networks": {
            name: {"flags": flags("model", row.fields), "numbers": numbers("model.", row.fields)}
            for name, row in MODELS.items()
        },
    }


def numbers(prefix: str, fields: type) -> list[str]:
    """The names that `tune --space` has for those fields of a dataclass that are numbers, or lists of them."""
    hints = get_type_hints(fields)
    return [
        prefix + name
        for name, hint in hints.items()
        if {int, float} & {hint, *get_args(hint)} and f"--{name.replace('_', '-')}" not in tune.NOT_HERE
    ]


def flags(prefix: str, fields: type) -> dict[str, Flag]:
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
        return (RUN_FOLDERS,)
    literals = _literals(hint)
    return literals or tuple(by_name.get(name, ()))


def _literals(hint: Any) -> tuple[str, ...]:
    if get_origin(hint) is Literal:
        return tuple(map(str, get_args(hint)))
    return tuple(chain.from_iterable(map(_literals, get_args(hint))))
