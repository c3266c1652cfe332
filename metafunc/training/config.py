"""From a configuration to a finished training.

A configuration is what `config.json` holds: `algorithm`, `tasks` and `model`, each a name with its settings, and
`training`, whose names are those of `metafunc.fit`, `Execution`, `Recording` and `training.outer.outer_for`, with
`validate_every` and `validation_tasks` for `Validation`, and `init_from`. What else the command line keeps there, the
meta-test's settings, is passed over.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from metafunc.checks import at_least, did_you_mean
from metafunc.execution.plan import Execution
from metafunc.training import warm_start
from metafunc.training.build import Config, Learner
from metafunc.training.build import build as build
from metafunc.training.checkpoint import newest
from metafunc.training.events import Callback, ignore
from metafunc.training.fit import Fit, fit
from metafunc.training.outer import outer_for
from metafunc.training.run import Run
from metafunc.training.settings import Recording, Validation
from metafunc.training.trackers import Tracker
from metafunc.types import TaskFamily

OF_FIT = ("steps", "num_tasks", "seed")
OF_RECORDING = ("checkpoint_every", "checkpoint_seconds", "log_every")
OF_VALIDATION = {"validate_every": "every", "validation_tasks": "num_tasks"}
"""The fields of `Validation` by the names that they have here, where they stand beside those of other groups."""
OF_TEST = ("test_tasks", "test_steps")


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
    "init_from": str | Path | None,
}
"""The types of the settings in the section `training`, as `isinstance` takes them."""


@dataclass(frozen=True)
class Trained:
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

    Raises:
        ValueError: a section, a name or a setting is unknown, missing or out of range, or as `fit`.
        DataUnavailable: the family's data cannot be had.
        Diverged: a meta-gradient is not finite.
        Interrupted: a signal asked to stop.

    Example:
        >>> from metafunc.training.config import train
        >>> training = {"steps": 3, "outer_lr": 0.01, "schedule": "cosine"}
        >>> config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "training": training}
        >>> train(config).fit.step
        3
    """
    settings = _checked(config.get("training", {}))
    learner, family = built or build(config, imports=imports)
    return Trained(
        learner,
        family,
        fit(
            learner,
            family,
            start=_start(learner, settings, out, resume=resume, imports=imports),
            out=out,
            resume=resume,
            outer=outer_for(learner, family, **_picked(settings, _keywords(outer_for))),
            validation=_validation(settings),
            recording=Recording(config, overwrite, trackers=trackers, **_picked(settings, OF_RECORDING)),
            execution=execution_of(settings),
            on_event=on_event,
            **_picked(settings, OF_FIT),
        ),
    )


def execution_of(settings: Mapping[str, Any]) -> Execution:
    """How the section `training` of a configuration asks for its steps to be executed.

    Example:
        >>> from metafunc.training.config import execution_of
        >>> execution_of({"steps": 100, "threads": 1}).threads
        1
    """
    return Execution(**_picked(settings, get_type_hints(Execution)))


def _validation(settings: Mapping[str, Any]) -> Validation:
    given = _picked(settings, OF_VALIDATION)
    at_least(1, **given)  # by the names that they have here
    return Validation(**{OF_VALIDATION[name]: value for name, value in given.items()})


def _start(
    learner: Learner, settings: Mapping[str, Any], out: Path | str | None, *, resume: bool, imports: bool
) -> Any:
    """The meta-parameters to start from; a run that has a checkpoint goes on from that."""
    source = settings.get("init_from")
    begun = resume and out is not None and newest(Run(Path(out)).checkpoints)[0] is not None
    if not source or begun:
        return None
    return warm_start.from_run(learner, source, seed=settings.get("seed", 0), imports=imports)


def _checked(settings: Any) -> Mapping[str, Any]:
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
