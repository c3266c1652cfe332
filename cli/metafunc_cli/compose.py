"""From a command line to settings: flags over the file of `--config`, over a preset, over the builders' defaults."""

import dataclasses
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from metafunc_cli import custom, strict
from metafunc_cli.arguments import Taken, split, taken
from metafunc_cli.config import ALGORITHMS, FAMILIES, MODELS
from metafunc_cli.errors import UsageError, unknown
from metafunc_cli.options import Output, Training
from metafunc_cli.presets import PRESETS, Preset
from metafunc_cli.rows import Row

SECTIONS = ("algorithm", "tasks", "model")
QUICK = "quick"


@dataclass(frozen=True)
class Settings:
    """All that decides a run.

    Args:
        names: of the algorithm, the task family and the network, by section.
        hyper: the algorithm's settings.
        data: the family's.
        network: the network's.
        training: the outer loop's.
    """

    names: Mapping[str, str]
    hyper: Any
    data: Any
    network: Any
    training: Training

    def to_json(self) -> dict[str, Any]:
        """The settings as config.json holds them, which `--config` reads back."""
        parts = (self.hyper, self.data, self.network)
        sections = {
            section: {"name": self.names[section], **dataclasses.asdict(part)}
            for section, part in zip(SECTIONS, parts, strict=True)
        }
        found: dict[str, Any] = plain({**sections, "training": dataclasses.asdict(self.training)})
        return found


@dataclass(frozen=True)
class Request:
    """What `metafunc train` was asked for."""

    settings: Settings
    output: Output
    preset: Preset | None


def read(argv: Sequence[str]) -> Request:
    """The settings of a command line; help and malformed flags end the program here.

    Raises:
        UsageError: a name is unknown, two do not fit each other, or a file cannot be read as settings.
    """
    arguments = split(argv, _known(), {*ALGORITHMS, *FAMILIES})
    resume = arguments.values.get("--resume")
    file = str(Path(resume) / "config.json") if resume else arguments.values.get("--config")
    recorded = sections_of(Path(file)) if file else {}
    preset = _preset(arguments.values.get("--preset"), empty=not (arguments.names or recorded))
    if "--imports" not in arguments.flags:
        refuse_imports(recorded, file, typed={*arguments.names, arguments.values.get("--model")})
    names, preset = _names(arguments.names, arguments.values.get("--model"), recorded, preset)
    request = _parse(arguments.flags, names, recorded, preset)
    if resume:
        _refuse_changes(resume, recorded, request)
    return request


def sections_of(file: Path) -> dict[str, dict[str, Any]]:
    """The sections of a settings file.

    Raises:
        UsageError: it has none, or others.
    """
    found = strict.load(file)
    for section, values in found.items():
        if section not in (*SECTIONS, "training"):
            raise unknown(f"section in {file}", section, (*SECTIONS, "training"))
        if not isinstance(values, dict):
            raise UsageError(f"{file}: {section} holds no settings by name.")
        if section in SECTIONS and not isinstance(values.get("name"), str):
            raise UsageError(f"{file}: {section} has no name.")
    return found


def refuse_imports(recorded: Mapping[str, Any], file: str | Path | None, typed: Collection[str | None] = ()) -> None:
    """Refuse to run code because a file names it; names on the command line are the user's own wish.

    Raises:
        UsageError: a recorded name points into a module, and was not typed as well.
    """
    for section in SECTIONS:
        name = recorded.get(section, {}).get("name", "")
        if custom.is_own(name) and name not in typed:
            raise UsageError(f"{file} names {name}, and importing that runs its code. Add --imports if you trust it.")


def row(section: str, name: str) -> Row:
    """What there is to know of a name.

    Raises:
        UsageError: there is no such name.
    """
    table = {"algorithm": ALGORITHMS, "tasks": FAMILIES, "model": MODELS}[section]
    if name in table:
        return table[name]
    if custom.is_own(name) and section == "algorithm":
        return custom.row(name, given=2)
    if custom.is_own(name) and section == "model":
        return custom.row(name, offered=("input_shape", "num_outputs"))
    what = {"algorithm": "algorithm", "tasks": "task family", "model": "network"}[section]
    raise unknown(what, name, table)


def plain(value: Any) -> Any:
    """A value as it is after a round trip through JSON: tuples are lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def instance(fields: type, *layers: Mapping[str, Any]) -> Any:
    """A dataclass with later layers over earlier ones over its defaults; what nobody gives is left for tyro to ask."""
    needed = {f.name: tyro.MISSING for f in dataclasses.fields(fields) if f.default is MISSING}
    merged: dict[str, Any] = dict(needed)
    for layer in layers:
        merged |= layer
    return fields(**merged)


@contextmanager
def uncoloured() -> Iterator[None]:
    """tyro knows a dumb terminal but not NO_COLOR."""
    before = os.environ.get("TERM")
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"
    try:
        yield
    finally:
        if before is not None:
            os.environ["TERM"] = before
        elif os.environ.get("NO_COLOR"):
            del os.environ["TERM"]


def _known() -> dict[str, Taken]:
    flags = {"--help": Taken(0, str), "-h": Taken(0, str), "--model": Taken(1, str)}
    for fields in (Training, Output, *(r.fields for r in ALGORITHMS.values())):
        flags |= taken("", fields)
    for prefix, table in (("data", FAMILIES), ("model", MODELS)):
        for entry in table.values():
            flags |= taken(prefix, entry.fields)
    return flags


def _preset(name: str | None, *, empty: bool) -> Preset | None:
    by_name = {preset.name: preset for preset in PRESETS}
    if name is None:
        return by_name[QUICK] if empty else None
    if name not in by_name:
        raise unknown("preset", name, by_name)
    return by_name[name]


def _names(
    given: Sequence[str], model: str | None, recorded: Mapping[str, Any], preset: Preset | None
) -> tuple[dict[str, str], Preset | None]:
    """The three names, and the preset that belongs to them."""
    if len(given) > 2:
        raise UsageError(f"train takes an algorithm and a task family, not {len(given)} names: {', '.join(given)}.")
    algorithm, tasks = _sorted_out(given)
    stored = {section: recorded.get(section, {}).get("name") for section in SECTIONS}
    algorithm = algorithm or stored["algorithm"] or (preset.algorithm if preset else "maml")
    kinds = row("algorithm", algorithm).kinds
    tasks = tasks or stored["tasks"] or (preset.tasks if preset else _first_fitting(kinds))
    (kind,) = row("tasks", tasks).kinds
    if kind not in kinds:
        fitting = [name for name, entry in ALGORITHMS.items() if kind in entry.kinds]
        families = [name for name, entry in FAMILIES.items() if entry.kinds[0] in kinds]
        raise UsageError(
            f"{algorithm} is for {' and '.join(kinds)}, and {tasks} is {kind}. "
            f"{algorithm} takes {', '.join(families)}; {tasks} goes with {', '.join(fitting)}."
        )
    if preset is None:
        preset = next((p for p in PRESETS if (p.algorithm, p.tasks) == (algorithm, tasks)), None)
    elif (preset.algorithm, preset.tasks) != (algorithm, tasks):
        raise UsageError(
            f"The preset {preset.name} is for {preset.algorithm} on {preset.tasks}, not for {algorithm} on {tasks}: "
            "leave the names or the preset out."
        )
    usual = preset.model if preset else "conv4" if kind == "classification" else "mlp"
    return {"algorithm": algorithm, "tasks": tasks, "model": model or stored["model"] or usual}, preset


def _sorted_out(given: Sequence[str]) -> tuple[str | None, str | None]:
    """Which of at most two names is the algorithm; the other is the family. No name is both."""
    families = [name for name in given if name in FAMILIES]
    others = [name for name in given if name not in FAMILIES]
    if len(families) > 1:
        raise UsageError(f"{' and '.join(families)} are both task families: give one of them, and an algorithm.")
    if len(others) == 2:
        if others[0] in ALGORITHMS and others[1] in ALGORITHMS:
            raise UsageError(f"{' and '.join(others)} are both algorithms: give one of them, and a task family.")
        known = [name for name in others if name in ALGORITHMS or custom.is_own(name)]
        raise (
            unknown("task family", others[1], FAMILIES)
            if known[:1] == others[:1]
            else unknown("algorithm", others[0], ALGORITHMS)
        )
    for name in others:
        if name not in ALGORITHMS and not custom.is_own(name):
            raise (
                unknown("algorithm", name, ALGORITHMS)
                if families
                else unknown("algorithm or task family", name, (*ALGORITHMS, *FAMILIES))
            )
    return (others[0] if others else None), (families[0] if families else None)


def _first_fitting(kinds: Sequence[str]) -> str:
    return next(
        name for name in ("sinusoid", "glyphs", "omniglot") if name in FAMILIES and FAMILIES[name].kinds[0] in kinds
    )


def _parse(
    flags: Sequence[str], names: Mapping[str, str], recorded: Mapping[str, Any], preset: Preset | None
) -> Request:
    rows = {section: row(section, names[section]) for section in SECTIONS}
    usual: dict[str, Mapping[str, Any]] = {"algorithm": {}, "tasks": {}, "model": {}, "training": {}}
    if preset:
        usual = {"algorithm": preset.hyper, "tasks": preset.data, "model": preset.network, "training": preset.training}
        usual["model"] = usual["model"] if preset.model == names["model"] else {}
    parts = {}
    for section, fields in {**{s: rows[s].fields for s in SECTIONS}, "training": Training}.items():
        stored = dict(recorded.get(section, {}))
        if section in SECTIONS and stored.pop("name", None) != names[section]:
            stored = {}
        parts[section] = instance(fields, usual[section], strict.checked(fields, stored, section))
    whole = make_dataclass(
        "Train",
        [
            ("algorithm", Annotated[type(parts["algorithm"]), tyro.conf.OmitArgPrefixes]),
            ("data", type(parts["tasks"])),
            ("model", type(parts["model"])),
            ("training", tyro.conf.OmitArgPrefixes[Training]),
            ("output", tyro.conf.OmitArgPrefixes[Output]),
        ],
    )
    with uncoloured():
        found = tyro.cli(
            whole,
            args=flags,
            default=whole(parts["algorithm"], parts["tasks"], parts["model"], parts["training"], Output()),
            prog=f"metafunc train {names['algorithm']} {names['tasks']}",
            description=_description(names, preset),
        )
    return Request(Settings(names, found.algorithm, found.data, found.model, found.training), found.output, preset)


def _description(names: Mapping[str, str], preset: Preset | None) -> str:
    origin = f"preset {preset.name}: {preset.source}" if preset else "the builders' defaults"
    return (
        "Meta-train ALGORITHM on TASKS, then meta-test it on new tasks: metafunc train [ALGORITHM] [TASKS] [OPTIONS], "
        "in any order.\n\n"
        f"ALGORITHM: {', '.join(ALGORITHMS)}, or package.module:builder of your own.\n"
        f"TASKS: {', '.join(FAMILIES)}.\n\n"
        f"Below are the options of {names['algorithm']} on {names['tasks']} with the network {names['model']} "
        f"({origin}); other names have others."
    )


def _refuse_changes(run: str, recorded: Mapping[str, Any], request: Request) -> None:
    new = request.settings.to_json()
    for section in new:
        for name, value in new[section].items():
            old = recorded.get(section, {}).get(name)
            if old != value:
                raise UsageError(
                    f"{run} was begun with {section}.{name} = {old}, and a resumed run keeps its settings: leave out "
                    f"what would make it {value}, or start a new run with --config {run}/config.json."
                )
    if request.output.out or request.output.overwrite:
        raise UsageError("--resume goes on in the run's own folder: leave out --out and --overwrite.")
