"""A search for the settings of a training: trials by Optuna, each a run of its own, judged by validation.

The tree-structured Parzen estimator proposes the next trial from those that have ended; one that is worse at a
validation than the median of the others at the same step is pruned; one that diverges counts as pruned. The test split
is never drawn from.

A study is a folder. Any number of workers, on any machines that share the folder, take trials from it. A worker that
dies leaves a trial that is running and a lock that no process holds: another adopts the trial, under its number, whose
run goes on from the last checkpoint. Trial k is proposed by a generator of (seed, k), from what has ended before it: a
single worker finds the same, whether it is interrupted or not; what several find depends on which ends first.

References:
    Bergstra, Bardenet, Bengio, Kegl (2011), "Algorithms for hyper-parameter optimization". Akiba, Sano, Yanase, Ohta,
    Koyama (2019), "Optuna: a next-generation hyperparameter optimization framework".
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from metafunc.checks import at_least
from metafunc.data.sampling import generator_for
from metafunc.evaluation.validation import metric_to_follow
from metafunc.training import checkpoint, search_space
from metafunc.training import config as configs
from metafunc.training.build import build, learner_for
from metafunc.training.events import Callback, Diverged, Event, Interrupted, ignore
from metafunc.training.run import Run
from metafunc.training.search_space import Space
from metafunc.training.settings import Validation
from metafunc.training.study import Study, Taken, opened, read
from metafunc.training.tried import Found
from metafunc.training.validation_tasks import undecided
from metafunc.types import TaskFamily

if TYPE_CHECKING:
    from optuna import Trial

OnTrial: TypeAlias = Callable[[int, Mapping[str, Any]], Callback]
"""From a trial's number and values to what is called on the events of its training."""


class _Pruned(Exception):  # noqa: N818 - it names what happened
    """A trial is worse than the median of the others at the same step."""


def search(
    config: Mapping[str, Any],
    space: Space,
    *,
    out: Path | str,
    num_trials: int,
    seed: int = 0,
    prunes: bool = True,
    storage: str | None = None,
    imports: bool = False,
    on_trial: OnTrial = lambda number, values: ignore,
) -> Found:
    """Search for the settings of the best validation, or go on with a search, alone or beside other workers.

    Args:
        config: what is the same for all trials, as `training.config.train` takes it.
        space: what is searched, by `section.setting`.
        out: the study's folder, which all workers share; each trial is a run in it.
        num_trials: of the study, those that there are already included.
        seed: what trials are proposed with; that of their trainings is the configuration's.
        prunes: whether trials end that are worse than the median of the others.
        storage: the address of a database for Optuna, such as `sqlite:///study.db`; None: a file in the folder.
        imports: whether names like `package.module:attribute` may be imported.
        on_trial: called when a trial begins or is adopted.

    Returns:
        All trials, when none is left that is running.

    Raises:
        ValueError: the space or a setting at its ends is refused, validation does not decide, or the folder has another
            study.
        ModuleNotFoundError: Optuna is not installed.
        DataUnavailable: the family's data cannot be had.
        Interrupted: a signal asked to stop; the same call goes on.

    Examples:
        >>> import tempfile
        >>> from metafunc.training.search import search
        >>> from metafunc.training.search_space import Range
        >>> def searched():  # a minute of it
        ...     training = {"steps": 1000, "validate_every": 100}
        ...     config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "training": training}
        ...     space = {"algorithm.inner_lr": Range(1e-3, 0.3, log=True)}
        ...     return search(config, space, out=tempfile.mkdtemp(), num_trials=20).ranked[0].values
    """
    at_least(1, num_trials=num_trials)
    family, metric = looked_over(config, space, imports=imports)
    about = {"config": config, "seed": seed, "prunes": prunes, "metric": metric}
    study = opened(Path(out), space, about, storage)
    worker = _Worker(study, config, family, imports, on_trial)
    with closing(study.trials(num_trials)) as trials:  # which lets go of a trial that is interrupted
        for taken in trials:
            worker.run(taken)
    return read(study)


@dataclass(frozen=True)
class _Worker:
    """Runs trials of a study."""

    study: Study
    config: Mapping[str, Any]
    family: TaskFamily
    imports: bool
    on_trial: OnTrial

    def run(self, taken: Taken) -> None:
        """Run a trial, or go on with it, and record how it ends."""
        trial, run = taken.trial, Run(taken.folder)
        values = self.study.values(trial)
        config = search_space.configured(self.config, values)
        begun, _ = checkpoint.newest(run.checkpoints)
        if not self.study.goes_on(taken, 0 if begun is None else begun.step):
            return
        shown = self.on_trial(trial.number, values)

        def on_event(event: Event) -> None:
            shown(event)
            if event.phase == "resumed":
                for line in run.lines():
                    if "validation" in line:
                        self._report(trial, line["step"], line["validation"])
            if event.phase == "validation":
                self._report(trial, event.step, event.values["validation"])
                if self.study.prunes and event.step < event.steps and trial.should_prune():
                    raise _Pruned

        try:
            learner = learner_for(config, self.family, imports=self.imports)
            configs.train(
                config,
                out=run.path,
                resume=True,
                imports=self.imports,
                on_event=on_event,
                built=(learner, self.family),
            )
        except _Pruned:
            self.study.tell(taken, "pruned")
        except Interrupted:
            self.study.interrupted(taken)
            raise
        except Diverged as error:
            self.study.tell(taken, "diverged", str(error))
        except ValueError as error:
            self.study.tell(taken, "failed", str(error))
        else:
            self.study.tell(taken, "complete")

    def _report(self, trial: "Trial", step: int, validation: Mapping[str, float]) -> None:
        known = self.study.frozen(trial).intermediate_values
        if step not in known:
            trial.report(validation[self.study.metric], step)


def looked_over(config: Mapping[str, Any], space: Space, *, imports: bool = False) -> tuple[TaskFamily, str]:
    """Build the learner at the ends of the space. Returns the tasks, and the metric that its validations follow.

    Raises:
        ValueError: as `search`.
        DataUnavailable: the family's data cannot be had.
    """
    search_space.check(space)
    _, family = build(config, imports=imports)
    settings = config["training"]
    every, number, asked = map(settings.get, ("validate_every", "validation_tasks", "validate_by"))
    number = number or Validation().num_tasks
    if every is None:
        raise ValueError("A search needs validations, and validate_every is None: give it a number of steps.")
    seed = settings.get("seed", 0)
    if said := undecided(family, seed, number):
        raise ValueError(f"{said}: a search would choose by chance.")
    found: dict[str, dict[str, Any]] = {}
    for values in search_space.corners(space):
        here = search_space.configured(config, values)
        learner = learner_for(here, family, imports=imports)
        configs.check(here, learner, family)
        meta, draws = learner.init(generator_for(seed, "init", 0)), generator_for(seed, "validation", 0)
        tasks = learner.prepare(meta, family.validation(draws, 1), draws, step=None, num_steps=0)
        found.setdefault(metric_to_follow(learner, meta, family, tasks, asked), values)
    if len(found) > 1:
        (one, values), (other, others) = [*found.items()][:2]
        raise ValueError(
            f"Validation follows {one} at {values} and {other} at {others}, which are not compared: decide by "
            "validate_by."
        )
    return family, next(iter(found))
