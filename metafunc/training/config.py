"""From a configuration to a finished training.

A configuration is what `config.json` holds: `algorithm`, `tasks` and `model`, each a name with its settings, and
`training`, whose names are those of `metafunc.fit`, `Execution`, `Recording` and `training.outer.outer_for`, with
`validate_every`, `validation_tasks`, `validate_by` and `patience` for `Validation`, and what it starts from:
`init_from`, a run, and `noise_from`. The patience is three for tasks of a table where none is given; 0: without end.
A noise scale that is learned starts at that of the training tasks ("data") or at the algorithm's
setting `noise_scale` ("setting"). Where neither is asked for it is the former for tasks of a table, unless `init_from`
or another `noise_scale` than the algorithm's usual one is given. What else the command line keeps there, the
meta-test's settings, is passed over.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from metafunc.algorithms import ALGORITHMS
from metafunc.checks import at_least, did_you_mean, one_of
from metafunc.data.sampling import generator_for
from metafunc.evaluation.validation import of_table
from metafunc.execution.distributed import ALONE, Ranks
from metafunc.execution.plan import Execution
from metafunc.execution.rank_agreement import agreement
from metafunc.recipe import Printed
from metafunc.training import patience, warm_start
from metafunc.training.build import Config, Learner, learner_for
from metafunc.training.build import build as build
from metafunc.training.checkpoint import newest
from metafunc.training.events import Callback, ignore
from metafunc.training.fit import Fit, fit
from metafunc.training.outer import outer_for
from metafunc.training.run import Run
from metafunc.training.settings import Recording, Validation
from metafunc.training.stack import STACK
from metafunc.training.trackers import Tracker
from metafunc.types import TaskFamily

OF_FIT = ("steps", "num_tasks", "seed")
OF_RECORDING = ("checkpoint_every", "checkpoint_seconds", "log_every")
OF_VALIDATION = {
    "validate_every": "every",
    "validation_tasks": "num_tasks",
    "validate_by": "metric",
    "patience": "patience",
}
"""The fields of `Validation` by the names that they have here, where they stand beside those of other groups."""
OF_TEST = ("test_tasks", "test_steps")
NOISE_FROM = ("data", "setting")
"""Where a learned noise scale starts."""
TABLE = "regression"
"""The family of tasks from a table."""


def _picked(settings: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name in names}


def _keywords(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


KINDS: Mapping[str, Any] = {
    **_picked(get_type_hints(fit), OF_FIT),
    **_picked(get_type_hints(outer_for), _keywords(outer_for)),
    **_picked(get_type_hints(Recording), OF_RECORDING),
    **{name: get_type_hints(Validation)[field] for name, field in OF_VALIDATION.items()},
    **get_type_hints(Execution),
    "compile": str,  # one of three, which `Execution` looks at
    "reduce": str,  # likewise
    "init_from": str | Path | None,
    "noise_from": str | None,
}
"""The types of the settings in the section `training`, as `isinstance` takes them."""


@dataclass(frozen=True, repr=False)
class Trained(Printed):
    """A learner that was trained by its configuration.

    Args:
        learner: the learner.
        family: where its tasks came from.
        fit: what the training ended with.
    """

    learner: Learner
    family: TaskFamily
    fit: Fit[Any]


def train(
    config: Config,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    imports: bool = False,
    trackers: Sequence[Tracker] = (),
    on_event: Callback = ignore,
    built: tuple[Learner, TaskFamily] | None = None,
    ranks: Ranks = ALONE,
) -> Trained:
    """Meta-train what a configuration describes; settings that it leaves out have the defaults of `fit`.

    Args:
        config: the sections `algorithm`, `tasks`, `model` and `training`, of which the last needs `steps`.
        out: the run's folder; None writes nothing.
        resume: go on from the newest whole checkpoint in `out`; what it once started from need not be there any more.
        overwrite: delete the run in `out` first.
        imports: whether names like `package.module:attribute`, here and in the run of `init_from`, may be imported.
        trackers: take the same numbers as the log file.
        on_event: called on every `Event`.
        built: the learner and the tasks, where the caller has built or wrapped them already.
        ranks: as in `fit`.

    Raises:
        ValueError: a section, a name or a setting is unknown, missing or out of range, or as `fit`.
        DataUnavailable: the family's data cannot be had.
        Diverged: a meta-gradient is not finite.
        Interrupted: a signal asked to stop.

    Examples:
        >>> from metafunc.training.config import train
        >>> training = {"steps": 3, "outer_lr": 0.01, "schedule": "cosine"}
        >>> config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "training": training}
        >>> train(config).fit.step
        3
    """
    with agreement(ranks) as settled:
        settings = checked(config.get("training", {}))
        learner, family = built or build(config, imports=imports)
        goes_on = settled.reach(ranks.first and begun(out, resume))[0]
        # All take what rank 0 starts from; a stack's members are trained by every rank, so that none waits for them.
        own = ranks.first or config.get("algorithm", {}).get("name") == STACK
        start = start_of(learner, family, config, settings, imports, on_event) if own and not goes_on else None
        asked = asked_of_fit(learner, family, config, overwrite=overwrite, trackers=trackers)
        settled.reach()
    found = fit(
        learner,
        family,
        start=start,
        out=out,
        resume=resume,
        on_event=on_event,
        ranks=ranks,
        seed=settings.get("seed", 0),
        **asked,
    )
    return Trained(learner, family, found)


def check(config: Config, learner: Learner, family: TaskFamily) -> None:
    """Look over the section `training` of a configuration, as `train` does before it begins.

    Raises:
        ValueError: as there.

    Examples:
        >>> from metafunc.training import config
        >>> asked = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "training": {"steps": -5}}
        >>> config.check(asked, *config.build(asked))
        Traceback (most recent call last):
        ValueError: steps must be at least 0, not -5.
    """
    asked = asked_of_fit(learner, family, config, overwrite=False)
    at_least(0, steps=asked["steps"])
    at_least(1, num_tasks=asked.get("num_tasks"))


def asked_of_fit(
    learner: Learner, family: TaskFamily, config: Config, *, overwrite: bool, trackers: Sequence[Tracker] = ()
) -> dict[str, Any]:
    """What a configuration asks of `fit`, and of `fit_many`: all that they have in common."""
    settings = checked(config.get("training", {}))
    return {
        "outer": outer_for(learner, family, **_picked(settings, _keywords(outer_for))),
        "validation": _validation(settings, family),
        "recording": Recording(config, overwrite, trackers=trackers, **_picked(settings, OF_RECORDING)),
        "execution": execution_of(settings),
        **_picked(settings, [name for name in OF_FIT if name != "seed"]),
    }


def execution_of(settings: Mapping[str, Any]) -> Execution:
    """How the section `training` of a configuration asks for its steps to be executed.

    Examples:
        >>> from metafunc.training.config import execution_of
        >>> execution_of({"steps": 100, "threads": 1}).threads
        1
    """
    return Execution(**_picked(settings, get_type_hints(Execution)))


def _validation(settings: Mapping[str, Any], family: TaskFamily) -> Validation:
    given = _picked(settings, OF_VALIDATION)
    at_least(1, **_picked(given, ("validate_every", "validation_tasks")))  # by the names that they have here
    at_least(0, **_picked(given, ("patience",)))
    asked = given.get("patience")
    usual = patience.USUAL if asked is None and of_table(family) else None
    return Validation(**{**{OF_VALIDATION[name]: value for name, value in given.items()}, "patience": asked or usual})


def begun(out: Path | str | None, resume: bool) -> bool:
    """Whether there is a checkpoint to go on from, wherever the training once started."""
    return resume and out is not None and newest(Run(Path(out)).checkpoints)[0] is not None


def start_of(
    learner: Learner,
    family: TaskFamily,
    config: Config,
    settings: Mapping[str, Any],
    imports: bool,
    on_event: Callback,
) -> Any | None:
    """The meta-parameters to start from; None: the learner's own. Those of a stack are its members', trained first."""
    if config.get("algorithm", {}).get("name") == STACK:
        each = [member["config"] for member in config["algorithm"]["members"]]
        made = [(one, (learner_for(one, family, imports=imports), family)) for one in each]
        return tuple(train(one, built=built, on_event=on_event).fit.best for one, built in made)
    source, seed = settings.get("init_from"), settings.get("seed", 0)
    if source:
        if settings.get("noise_from") == "data":
            raise ValueError("init_from and noise_from='data' are two starts: give one of them.")
        return warm_start.from_run(learner, source, seed=seed, imports=imports)
    asked = settings.get("noise_from")
    if asked is not None:
        one_of(asked, NOISE_FROM, "noise_from")
    if learner.begin is not None:
        if asked == "data":
            raise ValueError("start='em' and noise_from='data' are two starts: give one of them.")
        return None
    if asked == "setting" or (asked is None and not _noise_is_open(family, config)):
        return None
    meta = learner.init(generator_for(seed, "init", 0))
    if asked is None and learner.noise_leaf is None:
        return None
    tasks = family.train(generator_for(seed, "noise", 0), warm_start.NUM_TASKS)
    return warm_start.with_noise_of(learner, meta, tasks)


def _noise_is_open(family: TaskFamily, config: Config) -> bool:
    """Whether tasks are those of a table, and the algorithm has the noise scale that it has by default."""
    section = config.get("algorithm", {})
    row = ALGORITHMS.get(section.get("name"))
    # The command line states every setting: what it states as the builder does was not chosen.
    usual = row.hyperparameters["noise_scale"].default if row and "noise_scale" in row.hyperparameters else None
    return family.name == TABLE and section.get("noise_scale", usual) == usual


def checked(settings: Any) -> Mapping[str, Any]:
    """The section `training`, whose names and types are known."""
    if not isinstance(settings, Mapping):
        raise ValueError(f"The configuration's section 'training' must hold settings by name, not {settings!r}.")
    known = {*KINDS, *OF_TEST}
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"training has no setting {name!r}.{did_you_mean(name, known)}")
        if name in KINDS and not isinstance(value, KINDS[name]):
            kind = KINDS[name].__name__ if isinstance(KINDS[name], type) else KINDS[name]
            raise ValueError(f"training: {name} must be of type {kind}, not {value!r}.")
    if "steps" not in settings:
        raise ValueError("training needs the setting 'steps'.")
    return settings
