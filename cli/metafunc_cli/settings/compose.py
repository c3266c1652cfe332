"""From a command line to settings: flags over the file of `--config`, over a preset, over the builders' defaults."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from metafunc.training import record
from metafunc.training.renamed import current
from metafunc_cli.errors import UsageError, unknown
from metafunc_cli.presets.preset import Preset
from metafunc_cli.presets.quick import made_small
from metafunc_cli.settings import typed_json
from metafunc_cli.settings.arguments import Arguments, Taken, split, taken, together
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, MODELS
from metafunc_cli.settings.misspelt import look_over, refuse_stray_words
from metafunc_cli.settings.names import QUICK, SECTIONS, choose, preset_of, quick_preset, refuse_imports, row
from metafunc_cli.settings.options import Output, Training
from metafunc_cli.settings.table_argument import resolved, tables_in

TABULAR = "regression"
"""What the tasks of a table are where no family is named."""
CLASSES = "--data.classes"
"""A flag that only tables of classes have."""


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
    """What `metafunc train` was asked for, and what was guessed beside it.

    Args:
        settings: all that decides the run.
        output: where the settings come from, and what becomes of the result.
        preset: what the settings were taken from; None: the builders' defaults, or a file.
        note: what was guessed.
        changed: whether flags made the settings others than the preset's, the file's or the defaults.
    """

    settings: Settings
    output: Output
    preset: Preset | None
    note: str = ""
    changed: bool = False


def read(argv: Sequence[str], typed: Sequence[str] = ()) -> Request:
    """The settings of a command line, of `metafunc train` or, where all words are `typed`, of another command; help and
    malformed flags end the program here.

    Raises:
        UsageError: a name is unknown, two do not fit each other, or a file cannot be read as settings.
    """
    known, flags, typed = {*ALGORITHMS, *FAMILIES}, known_flags(), typed or ("metafunc", "train", *argv)
    free = {*known, *tables_in(argv, known)}  # words that belong to no flag
    arguments = split(argv, flags, free)
    arguments, note = resolved(arguments, known, _of_table(arguments), FAMILIES, typed)
    if not {name for name in arguments.names if ":" not in name} <= known:
        refuse_stray_words(argv, flags, free)
    resume = arguments.values.get("--resume")
    file = str(Path(resume) / "config.json") if resume else arguments.values.get("--config")
    recorded = recorded_in(Path(resume)) if resume else sections_of(Path(file)) if file else {}
    preset = preset_of(arguments.values.get("--preset"), empty=not (arguments.names or recorded))
    if "--imports" not in arguments.flags:
        refuse_imports(recorded, file, typed={*arguments.names, arguments.values.get("--model")})
    quick = "--quick" in arguments.flags
    if quick and recorded:
        raise UsageError(f"--quick makes settings small, and {resume or file} has its own: leave one of them out.")
    names, preset = choose(arguments.names, arguments.values.get("--model"), recorded, preset)
    request = replace(_parse(arguments.flags, names, recorded, preset, quick=quick, typed=typed), note=note)
    if resume:
        _refuse_changes(resume, recorded, request)
    return request


def sections_of(file: Path) -> dict[str, dict[str, Any]]:
    """The sections of a settings file.

    Raises:
        UsageError: it has none, or others.
    """
    return _checked(typed_json.load(file), file)


def recorded_in(run: Path) -> dict[str, dict[str, Any]]:
    """The sections of a run's configuration, which is held against what its checkpoints recorded.

    Raises:
        UsageError: the folder is no run, or was made with other sections than the command line's.
        FileError: the configuration is damaged, or is not what was recorded.
    """
    if not (run / "config.json").exists():
        raise UsageError(f"{run} is no run: it has no config.json. Give the folder that metafunc train wrote.")
    return _checked(record.config(run), run / "config.json")


def _checked(found: dict[str, Any], file: Path) -> dict[str, dict[str, Any]]:
    for section, values in found.items():
        if section not in (*SECTIONS, "training"):
            raise unknown(f"section in {file}", section, (*SECTIONS, "training"))
        if not isinstance(values, dict):
            raise UsageError(f"{file}: {section} holds no settings by name.")
        if section in SECTIONS and not isinstance(values.get("name"), str):
            raise UsageError(f"{file}: {section} has no name.")
    return current(found, ALGORITHMS)


def anchored(section: Any, name: str = "path") -> Any:
    """Settings with what a field names by its full path, such as local data, so that any folder will do."""
    path = getattr(section, name, None)
    if path is None or not Path(path).exists():
        return section
    return replace(section, **{name: str(Path(path).resolve())})


def plain(value: Any) -> Any:
    """A value as it is after a round trip through JSON: tuples are lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def instance(fields: type, *layers: Mapping[str, Any]) -> Any:
    """A dataclass with later layers over earlier ones over its defaults; what none gives is left for tyro to ask."""
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


def known_flags() -> dict[str, Taken]:
    """What the flags of `train` take, of whatever algorithm, task family and network."""
    flags = {**dict.fromkeys(("--help", "-h"), Taken(0, str)), "--model": Taken(1, str)}
    for fields in (Training, Output, *(r.fields for r in ALGORITHMS.values())):
        flags = together(flags, taken("", fields))
    for prefix, table in (("data", FAMILIES), ("model", MODELS)):
        for entry in table.values():
            flags = together(flags, taken(prefix, entry.fields))
    return flags


def _parse(
    flags: Sequence[str],
    names: Mapping[str, str],
    recorded: Mapping[str, Any],
    preset: Preset | None,
    *,
    quick: bool,
    typed: Sequence[str],
) -> Request:
    preset = quick_preset(names, preset) if quick else preset
    parts = before_flags(names, recorded, preset, quick=quick)
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
    prog = f"metafunc train {names['algorithm']} {names['tasks']}"
    if not {"-h", "--help"} & {*flags}:
        prefixed = [("", parts["algorithm"]), ("data", parts["tasks"]), ("model", parts["model"])]
        look_over(prog, flags, [*prefixed, ("", parts["training"]), ("", Output())], typed)
    with uncoloured():
        found = tyro.cli(
            whole,
            args=flags,
            default=whole(parts["algorithm"], parts["tasks"], parts["model"], parts["training"], Output()),
            prog=prog,
            description=_description(names, preset),
        )
    settings = Settings(names, found.algorithm, found.data, found.model, found.training)
    changed = settings.to_json() != Settings(names, *parts.values()).to_json()
    return Request(settings, found.output, preset, changed=changed)


def before_flags(
    names: Mapping[str, str], recorded: Mapping[str, Any], preset: Preset | None, *, quick: bool = False
) -> dict[str, Any]:
    """The settings by section, with `training`, that flags are then laid over.

    Args:
        names: of the algorithm, the task family and the network.
        recorded: the sections of a settings file.
        preset: the one that is taken, if any.
        quick: whether they are made small, where the preset is not so by itself.
    """
    rows = {section: row(section, names[section]) for section in SECTIONS}
    steps = {} if getattr(rows["algorithm"], "trains", True) else {"steps": 1}
    usual: dict[str, Mapping[str, Any]] = {"algorithm": {}, "tasks": {}, "model": {}, "training": steps}
    if preset:
        usual = {"algorithm": preset.hyper, "tasks": preset.data, "model": preset.network, "training": preset.training}
        usual["model"] = usual["model"] if preset.model == names["model"] else {}
    if quick and not (preset and preset.name == QUICK):
        usual = _made_small(names, usual)
    parts = {}
    for section, fields in {**{s: rows[s].fields for s in SECTIONS}, "training": Training}.items():
        stored = dict(recorded.get(section, {}))
        if section in SECTIONS and stored.pop("name", None) != names[section]:
            stored = {}
        parts[section] = instance(fields, usual[section], typed_json.checked(fields, stored, section))
    return parts


def _of_table(arguments: Arguments) -> str:
    """The family that a table's tasks are of: classification where the algorithm, or a flag, is for nothing else."""
    kinds = [ALGORITHMS[name].kinds for name in arguments.names if name in ALGORITHMS]
    only = CLASSES in arguments.values or any(TABULAR not in each for each in kinds)
    return "classification" if only else TABULAR


def _made_small(names: Mapping[str, str], usual: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    rows = {section: row(section, names[section]) for section in SECTIONS}
    classes, kind = {section: each.fields for section, each in rows.items()}, next(iter(rows["tasks"].kinds), TABULAR)
    return made_small(names, usual, classes, kind, trains=getattr(rows["algorithm"], "trains", True))


def _description(names: Mapping[str, str], preset: Preset | None) -> str:
    origin = f"preset {preset.name}: {preset.source}" if preset else "the builders' defaults"
    return (
        "Meta-train ALGORITHM on TASKS, then meta-test it on new tasks: metafunc train [ALGORITHM] [TASKS] [OPTIONS], "
        "in any order. A table (TABLE.csv or .parquet) may stand for TASKS: its columns are guessed, and named.\n\n"
        f"ALGORITHM: {', '.join(ALGORITHMS)}, or package.module:builder.\n"
        f"TASKS: {', '.join(FAMILIES)}, or package.module:family.\n\n"
        f"Below are the options of {names['algorithm']} on {names['tasks']} with the network {names['model']} "
        f"({origin}); other names have others."
    )


def _refuse_changes(run: str, recorded: Mapping[str, Any], request: Request) -> None:
    settings = request.settings
    parts = (settings.hyper, settings.data, settings.network, settings.training)
    usual = {
        section: {f.name: plain(f.default) for f in dataclasses.fields(part)}
        for section, part in zip((*SECTIONS, "training"), parts, strict=True)
    }
    new = settings.to_json()
    for section in new:
        for name, value in new[section].items():
            # A setting that came later than the run was what is usual.
            old = recorded.get(section, {}).get(name, usual[section].get(name))
            if old != value:
                raise UsageError(
                    f"{run} was begun with {section}.{name} = {old}, and a resumed run keeps its settings: leave out "
                    f"what would make it {value}, or start a new run with --config {run}/config.json."
                )
    if request.output.out or request.output.overwrite:
        raise UsageError("--resume goes on in the run's own folder: leave out --out and --overwrite.")
