"""Writes `generated.py` from the builders' signatures and docstrings, and `words.json` from all settings.

`python -m metafunc_cli.settings.generate` does so.
"""

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from metafunc_cli.settings.signature import Hyperparameter, hyperparameters, summary

if TYPE_CHECKING:
    from metafunc.training.outer import OuterUpdate
    from metafunc.types import Model

HEADER = '''"""Every algorithm, task family, network and outer update, written by `nox -s config`: do not edit.

It repeats the builders' signatures and docstrings, so that the command line can answer without importing torch.
"""
# ruff: noqa: E501 - the help texts are not wrapped, since the terminal does that

from dataclasses import dataclass
from typing import Literal, TypeAlias

from metafunc_cli.settings.rows import Row
'''
IMAGE = (1, 28, 28)
"""The shape of an input, for what an algorithm makes of images."""
ALL_KINDS = ("regression", "classification")


def main() -> None:
    """Write the files again."""
    from metafunc.data.atomic_write import write_text

    write_text(Path(__file__).with_name("generated.py"), source())
    from metafunc_cli.settings import next_words, word_table  # of what was just written

    write_text(Path(__file__).with_name(next_words.FILE), word_table.source())


def source() -> str:
    """The text that `generated.py` should have, before `ruff format`."""
    from metafunc.algorithms import ALGORITHMS
    from metafunc.algorithms.post_hoc import TRANSFORMS
    from metafunc.data.table import FAMILIES
    from metafunc.training.build import MODELS
    from metafunc.training.outer import OUTER, SCHEDULES

    algorithms = {name: (row.sources, "", row.kinds, "mlp") for name, row in ALGORITHMS.items()}
    families = {name: ((row.builder,), "Data", (row.kind,), row.network) for name, row in FAMILIES.items()}
    models = {name: ((factory,), "Network", ALL_KINDS, "mlp") for name, factory in MODELS.items()}
    parts = [HEADER]
    for title, table in (("ALGORITHMS", algorithms), ("FAMILIES", families), ("MODELS", models)):
        rows = []
        for name, (builders, suffix, kinds, network) in table.items():
            given = [0 if suffix == "Data" else len(positional(builder)) for builder in builders]
            fields = [f for builder, n in zip(builders, given, strict=True) for f in hyperparameters(builder, given=n)]
            if not suffix:
                fields = as_in_the_table(ALGORITHMS[name].hyperparameters, fields)
            parts.append(dataclass_source(class_name(name) + suffix, builders[0], fields))
            rest = "" if kinds == ALL_KINDS else f", {kinds!r}"
            rest += "" if network == "mlp" else f", {network!r}"
            rest += "" if suffix or ALGORITHMS[name].trains else ", trains=False"
            rest += ", over_vectors=True" if not suffix and over_vectors(name) else ""
            rows.append(f"    {name!r}: Row({class_name(name) + suffix}, {summary(builders[0])!r}{rest}),")
        parts.append(f"{title} = {{\n" + "\n".join(rows) + "\n}\n")
    for title, names in (("OuterOptimiser", OUTER), ("Schedule", SCHEDULES)):
        parts.append(f"{title}: TypeAlias = Literal[{', '.join(map(repr, names))}]\n")
    parts.append(f"OUTER = {outer_updates(OUTER)!r}\n")
    parts.append(f"TRANSFORMS = {(*TRANSFORMS,)!r}\n")
    return "\n\n".join(parts)


def over_vectors(name: str) -> bool:
    """Whether a network of an algorithm is over vectors where inputs are images."""
    from metafunc import nn
    from metafunc.algorithms import ALGORITHMS
    from metafunc.algorithms.by_name import parts

    if "classification" not in ALGORITHMS[name].kinds or ALGORITHMS[name].knows_tasks:
        return False
    shapes: list[tuple[int, ...]] = []

    def network(shape: tuple[int, ...], outputs: int | None, /) -> "Model":
        shapes.append(shape)
        return nn.mlp(shape, outputs)

    parts(name, network, IMAGE, "classification", 5)
    return any(len(shape) < len(IMAGE) for shape in shapes)


def outer_updates(table: Mapping[str, "OuterUpdate"]) -> dict[str, str]:
    """What there is to read of each outer update: its first line, and the kinds that it is for where not for all."""
    found = {}
    for name, row in table.items():
        only = "" if {*ALL_KINDS} <= {*row.kinds} else f" ({' and '.join(row.kinds)} only)"
        found[name] = summary(row.update or row.optimiser).removesuffix(".") + only
    return found


def as_in_the_table(arguments: Mapping[str, inspect.Parameter], fields: list[Hyperparameter]) -> list[Hyperparameter]:
    """An algorithm's settings, in the order and with the defaults that the table of algorithms has for them."""
    known = {field.name: field for field in fields}
    return [replace(known[name], default=argument.default) for name, argument in arguments.items()]


def dataclass_source(name: str, builder: Callable[..., Any], fields: list[Hyperparameter]) -> str:
    """One frozen dataclass, a docstring under every field."""
    # What is never asked of these classes is not made: it would take a tenth of the time that an answer may take.
    lines = ["@dataclass(frozen=True, repr=False, eq=False)", f"class {name}:", f'    """{summary(builder)}"""']
    for field in fields:
        default = "" if field.default is MISSING else f" = {field.default!r}"
        lines.append(f"    {field.name}: {type_source(field.type)}{default}")
        lines += [f'    """{field.help or f"see {builder.__name__}."}"""']
    return "\n".join(lines) + "\n"


def type_source(hint: Any) -> str:
    """A type as source text."""
    if get_origin(hint) is Literal:
        return f"Literal[{', '.join(map(repr, get_args(hint)))}]"
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join("None" if part is type(None) else type_source(part) for part in get_args(hint))
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)


def class_name(name: str) -> str:
    """maml_plus_plus becomes MamlPlusPlus."""
    return "".join(word.capitalize() for word in name.split("_"))


def positional(builder: Callable[..., Any]) -> list[str]:
    """The names of the arguments that are no hyperparameters."""
    arguments = inspect.signature(builder).parameters.values()
    return [argument.name for argument in arguments if argument.kind is not argument.KEYWORD_ONLY]


if __name__ == "__main__":
    main()
