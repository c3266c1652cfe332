"""A setting of a suite: by what flag it is given to which algorithms, and what is wrong with it, with its place."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from metafunc_cli.errors import UsageError, unknown
from metafunc_cli.settings import typed_json
from metafunc_cli.settings.generated import ALGORITHMS, MODELS
from metafunc_cli.settings.names import choose, row
from metafunc_cli.settings.options import Training

SECTIONS = ("data", "model")
HERE = "<here>"
"""Stands for the place of a setting until that is put in."""
NETWORK = "network"
OF_SUITE = ("seed", "test_tasks", "test_steps")
"""Settings of a training that the suite decides for all."""
Parts: TypeAlias = Mapping[str, Mapping[str, Sequence[type]]]
"""By algorithm and section, the dataclasses of what can be set."""


@dataclass(frozen=True)
class Setting:
    """A setting of a suite.

    Args:
        place: its path in the file.
        owner: the algorithm that it is for; empty for all that have it.
        section: "data", "model", or empty.
        name: with underscores.
        value: as TOML has it.
    """

    place: str
    owner: str
    section: str
    name: str
    value: Any

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is a setting of."""
        return self.owner, self.section, self.name

    @property
    def words(self) -> list[str]:
        """The flag of `metafunc compare` with its values."""
        name = "model" if self.name == NETWORK else self.name
        name = f"no_{name}" if self.value is False else name
        flag = f"--{'.'.join(filter(None, (self.owner, self.section, name.replace('_', '-'))))}"
        values = self.value if isinstance(self.value, list) else [] if isinstance(self.value, bool) else [self.value]
        return [flag, *map(str, values)]


@contextmanager
def at(place: str) -> Iterator[None]:
    """What is refused inside is refused with its place before it."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from error


def flattened(table: Any, place: str) -> Iterator[Setting]:
    """The settings of a table of tables: an algorithm's, the data's or the network's may be nested."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{place} is {table!r}, but it holds settings by name.")

    def each(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        for key, value in values.items():
            if isinstance(value, Mapping):
                yield from each(value, (*path, key))
            else:
                yield (*path, key), value

    for path, value in each(table, ()):
        parts = [part.replace("-", "_") for part in path]
        owner = parts.pop(0) if parts[0] in ALGORITHMS else ""
        section = parts.pop(0) if parts and parts[0] in SECTIONS else ""
        where = ".".join(filter(None, (place, *path)))
        if len(parts) != 1:
            raise unknown(f"algorithm or section in {where},", path[0], (*ALGORITHMS, *SECTIONS))
        yield Setting(where, owner, section, parts[0], None if value == "None" else value)


def parts_for(algorithms: Sequence[str], tasks: str, settings: Sequence[Setting]) -> Parts:
    """What can be set for the algorithms on a family, on the network that was named last."""
    named = next((each for each in reversed(settings) if each.key == ("", "", NETWORK)), None)
    if named is not None and named.value not in MODELS:
        with at(named.place):
            raise unknown("network", str(named.value), MODELS)
    network = None if named is None else named.value
    trained = dict.fromkeys(name.split("+")[0] for name in algorithms)
    return {algorithm: _parts_of(algorithm, tasks, network) for algorithm in trained}


def _parts_of(algorithm: str, tasks: str, network: str | None) -> Mapping[str, Sequence[type]]:
    """The dataclasses of what can be set for an algorithm on a family, by section."""
    names, _ = choose([algorithm, tasks], network, {}, None)
    hyper, data, model = (row(section, names[section]).fields for section in ("algorithm", "tasks", "model"))
    return {"": [hyper, Training], "data": [data], "model": [model]}


def takers(setting: Setting, parts: Parts) -> list[type]:
    """The dataclasses that have a setting, of the algorithms that it is for."""
    owners = [setting.owner] if setting.owner else list(parts)
    if setting.key == ("", "", NETWORK):
        return [Training]
    return [
        fields
        for owner in owners
        for fields in parts.get(owner, {}).get(setting.section, ())
        if setting.name in {field.name for field in _fields(fields)}
    ]


def _fields(fields: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(fields)


def check(setting: Setting, parts: Parts, keys: Sequence[str] = ()) -> None:
    """Refuse a setting that no learner has, or whose value is not of its type.

    Args:
        setting: the setting.
        parts: what can be set.
        keys: what else can stand beside it, for the message.
    """
    if setting.owner and setting.owner not in parts:
        raise UsageError(f"{setting.place} is for {setting.owner}, which is none of the learners: {', '.join(parts)}.")
    if setting.key == ("", "", NETWORK):
        return  # which `parts_for` has looked at
    found = takers(setting, parts)
    if not found or setting.name in OF_SUITE:
        owners = [setting.owner] if setting.owner else list(parts)
        names = {each.name for owner in owners for fields in parts[owner][setting.section] for each in _fields(fields)}
        beside = () if setting.owner or setting.section else keys
        with at(setting.place):
            raise unknown("setting", setting.name, sorted({*(names - {*OF_SUITE}), *beside}))
    for fields in dict.fromkeys(found):
        with _at_place_of(setting):
            typed_json.checked(fields, {setting.name: setting.value}, HERE)


@contextmanager
def _at_place_of(setting: Setting) -> Iterator[None]:
    """What is said of a setting by its name is said of its place in the file."""
    try:
        yield
    except UsageError as error:
        raise UsageError(str(error).replace(f"{HERE}.{setting.name}", setting.place, 1)) from error


@contextmanager
def as_in_file(settings: Sequence[Setting]) -> Iterator[None]:
    """What is refused as an option of a command line is said by its key in the file, without a command to type."""
    try:
        yield
    except UsageError as error:
        said = str(error).split(" Perhaps:\n")[0]
        for setting in sorted(settings, key=lambda each: not each.owner):  # what is given for one counts more
            flag = Setting("", "", setting.section, setting.name, 0).words[0]
            said = re.sub(rf"{re.escape(flag)}(?![\w-])", lambda _, place=setting.place: place, said)  # type: ignore[misc]
        raise UsageError(re.sub(r"--(?=[a-z])", "", said)) from error
