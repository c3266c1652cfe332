"""From a configuration to a finished training.

A configuration is what `config.json` holds: `algorithm`, `tasks` and `model`, each a name with its settings, and
`training`, whose names are those of `metafunc.fit`, `Execution`, `Recording` and `training.outer.outer_for`, with
`validate_every` and `init_from`. What else the command line keeps there, the meta-test's settings, is passed over.
"""

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from metafunc.checks import did_you_mean
from metafunc.execution.plan import Execution
from metafunc.training import warm_start
from metafunc.training.build import MODELS as MODELS
from metafunc.training.build import Config, Learner
from metafunc.training.build import build as build
from metafunc.training.build import learner_of as learner_of
from metafunc.training.build import own_steps as own_steps
from metafunc.training.build import tasks_of as tasks_of
from metafunc.training.checkpoint import newest
from metafunc.training.events import Callback, ignore
from metafunc.training.fit import Fit, fit
from metafunc.training.outer import outer_for
from metafunc.training.renamed import RENAMED as RENAMED
from metafunc.training.run import Run
from metafunc.training.settings import Recording, Validation
from metafunc.training.trackers import Tracker
from metafunc.types import TaskFamily

OF_FIT = ("steps", "num_tasks", "seed")
OF_RECORDING = ("checkpoint_every", "checkpoint_seconds", "log_every")
OF_TEST = ("test_tasks", "test_steps")


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
            outer=outer_for(learner, family, **_picked(settings, _outer())),
            validation=Validation(every=settings.get("validate_every")),
            recording=Recording(config, overwrite, trackers=trackers, **_picked(settings, OF_RECORDING)),
            execution=Execution(**_picked(settings, _names(Execution))),
            on_event=on_event,
            **_picked(settings, OF_FIT),
        ),
    )


def _start(
    learner: Learner, settings: Mapping[str, Any], out: Path | str | None, *, resume: bool, imports: bool
) -> Any:
    """The meta-parameters to start from; a run that has a checkpoint goes on from that."""
    source = settings.get("init_from")
    begun = resume and out is not None and newest(Run(Path(out)).checkpoints)[0] is not None
    if not source or begun:
        return None
    return warm_start.from_run(learner, source, seed=settings.get("seed", 0), imports=imports)


def _checked(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    known = {*OF_FIT, *_outer(), *OF_RECORDING, *_names(Execution), *OF_TEST, "validate_every", "init_from"}
    for name in settings:
        if name not in known:
            raise ValueError(f"training has no setting {name!r}.{did_you_mean(name, known)}")
    if "steps" not in settings:
        raise ValueError("training needs the setting 'steps'.")
    return settings


def _picked(settings: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name in names}


def _names(dataclass: type) -> list[str]:
    return [field.name for field in fields(dataclass)]


def _outer() -> list[str]:
    parameters = inspect.signature(outer_for).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
