"""Which algorithm, task family, network and preset a command line means."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from metafunc_cli.errors import UsageError, unknown
from metafunc_cli.presets.all import PRESETS
from metafunc_cli.presets.preset import Preset
from metafunc_cli.settings import user_builders
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, MODELS
from metafunc_cli.settings.rows import VECTORS, Row

SECTIONS = ("algorithm", "tasks", "model")
QUICK = "quick"


def refuse_imports(recorded: Mapping[str, Any], file: str | Path | None, typed: Collection[str | None] = ()) -> None:
    """Refuse to run code because a file names it; names on the command line are the user's own wish.

    Raises:
        UsageError: a recorded name points into a module, and was not typed as well.
    """
    for section in SECTIONS:
        settings = recorded.get(section)
        name = str(settings.get("name", "")) if isinstance(settings, Mapping) else ""
        if user_builders.is_own(name) and name not in typed:
            raise UsageError(f"{file} names {name}, and importing that runs its code. Add --imports if you trust it.")


def look_over_imports(recorded: Mapping[str, Any], file: str | Path, *, allowed: bool) -> None:
    """What a run's settings name is looked for in the current folder too, if importing it is allowed.

    A folder of data in which a command is run holds no code that anybody asked for: it comes onto the import path where
    a module of the user's is named, and otherwise not.

    Raises:
        UsageError: importing is not allowed, and a recorded name points into a module.
    """
    if not allowed:
        refuse_imports(recorded, file)
    elif any(user_builders.is_own(recorded.get(section, {}).get("name", "")) for section in SECTIONS):
        user_builders.look_in_current_folder()


def row(section: str, name: str) -> Row:
    """What there is to know of a name.

    Raises:
        UsageError: there is no such name.
    """
    table = {"algorithm": ALGORITHMS, "tasks": FAMILIES, "model": MODELS}[section]
    if name in table:
        return table[name]
    if user_builders.is_own(name) and section == "algorithm":
        return user_builders.row(name, given=2)
    if user_builders.is_own(name) and section == "tasks":
        return user_builders.family(name)
    if user_builders.is_own(name) and section == "model":
        return user_builders.row(name, offered=("input_shape", "num_outputs"))
    what = {"algorithm": "algorithm", "tasks": "task family", "model": "network"}[section]
    raise unknown(what, name, table)


def preset_of(name: str | None, *, empty: bool) -> Preset | None:
    """The preset that was asked for, or that stands for an empty command line.

    Raises:
        UsageError: there is no such preset.
    """
    by_name = {preset.name: preset for preset in PRESETS}
    if name is None:
        return by_name[QUICK] if empty else None
    if name not in by_name:
        raise unknown("preset", name, by_name)
    return by_name[name]


def quick_preset(names: Mapping[str, str], preset: Preset | None) -> Preset | None:
    """The preset that is quick by itself, where it is of this pair and network; otherwise the one that there is."""
    quick = next(preset for preset in PRESETS if preset.name == QUICK)
    return quick if (quick.algorithm, quick.tasks, quick.model) == tuple(names.values()) else preset


def choose(
    given: Sequence[str], model: str | None, recorded: Mapping[str, Any], preset: Preset | None
) -> tuple[dict[str, str], Preset | None]:
    """The three names by section, and the preset that belongs to them.

    Args:
        given: the names on the command line.
        model: the value of `--model`.
        recorded: the sections of a settings file.
        preset: the one that was asked for.

    Raises:
        UsageError: a name is unknown, or two do not fit each other.
    """
    if len(given) > 2:
        for name in given:
            if not (name in ALGORITHMS or name in FAMILIES or user_builders.is_own(name)):
                raise unknown("algorithm or task family", name, (*ALGORITHMS, *FAMILIES))
        raise UsageError(f"train takes an algorithm and a task family, not {len(given)} names: {', '.join(given)}.")
    algorithm, tasks = _told_apart(given)
    stored = {section: recorded.get(section, {}).get("name") for section in SECTIONS}
    algorithm = algorithm or stored["algorithm"] or (preset.algorithm if preset else usual_learner(tasks))
    kinds = row("algorithm", algorithm).kinds
    tasks = tasks or stored["tasks"] or (preset.tasks if preset else _first_fitting(kinds))
    kind = next(iter(row("tasks", tasks).kinds), None)  # that of a user-supplied family shows when it is built
    if kind is not None and kind not in kinds:
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
    over_vectors = row("algorithm", algorithm).over_vectors
    usual = preset.model if preset else VECTORS if over_vectors else row("tasks", tasks).model
    return {"algorithm": algorithm, "tasks": tasks, "model": model or stored["model"] or usual}, preset


def usual_learner(tasks: str | None) -> str:
    """The algorithm of a task family where none is named."""
    return "mixed" if tasks == "regression" else "maml"


def _told_apart(given: Sequence[str]) -> tuple[str | None, str | None]:
    """Which of at most two names is the algorithm; the other is the family. No name is both.

    A name of the user's is what the other one is not; of two, and alone, the first is the algorithm.
    """
    families = [name for name in given if name in FAMILIES]
    algorithms = [name for name in given if name in ALGORITHMS]
    for name in filter(user_builders.is_own, given):
        (families if algorithms else algorithms).append(name)
    strange = [name for name in given if name not in (*families, *algorithms)]
    for names, what, other in (
        (families, "task families", "an algorithm"),
        (algorithms, "algorithms", "a task family"),
    ):
        if len(names) > 1:
            raise UsageError(f"{' and '.join(names)} are both {what}: give one of them, and {other}.")
    if strange and algorithms:
        raise unknown("task family", strange[0], FAMILIES)
    if strange and (families or len(strange) > 1):
        raise unknown("algorithm", strange[0], ALGORITHMS)
    if strange:
        raise unknown("algorithm or task family", strange[0], (*ALGORITHMS, *FAMILIES))
    return next(iter(algorithms), None), next(iter(families), None)


def _first_fitting(kinds: Sequence[str]) -> str:
    return next(name for name in ("sinusoid", "glyphs", "navigation") if FAMILIES[name].kinds[0] in kinds)
