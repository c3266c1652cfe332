"""The trials of a comparison: each a learner trained with a seed, or loaded from its run, and its meta-test."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc_cli import tied
from metafunc_cli.commands.run_names import named_apart
from metafunc_cli.commands.same_tasks import check_same_tasks
from metafunc_cli.commands.timing import SECONDS, Clock, Times, times_of
from metafunc_cli.commands.trial_cells import Failed, attempted, chosen, folder_name, side_by_side
from metafunc_cli.display.progress import Callback, Overall, progress
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import UsageError
from metafunc_cli.settings import compose
from metafunc_cli.settings.compose import Request
from metafunc_cli.settings.names import look_over_imports
from metafunc_cli.settings.options import Comparison

if TYPE_CHECKING:
    from metafunc.training.run import Run

LEAVING = 1.5 * tied.GRACE
"""Seconds in which an earlier attempt at a training will have left its folder."""


@dataclass(frozen=True)
class Trial:
    """A trained learner and where its tasks come from."""

    run: "Run"
    learner: Any
    meta: Any
    family: Any
    seed: int


@dataclass(frozen=True)
class Contender:
    """One row of a comparison: the trials of the same learner under different seeds, and what is done to it."""

    algorithm: str
    tasks: str
    trials: tuple[Trial, ...]
    transforms: tuple[str, ...] = ()


def train(
    screen: Screen, argv: Sequence[str], requests: Mapping[str, Sequence[Request]], out: Path, asked: Comparison
) -> tuple[list[Contender], Failed]:
    """Train what is not trained yet, each trial into its folder `ALGORITHM-SEED`; first all learners are built.

    Returns:
        The rows of what is trained, and the trainings that have failed, which hold up no other.

    Raises:
        UsageError: a learner cannot be built, or has other tasks to be tested on than the first.
        Interrupted: a signal asked to stop; what is done is kept.
    """
    from metafunc.training.config import build

    built = {}
    for algorithm, each in requests.items():
        with refusals(each[0].settings):
            built[algorithm] = build(each[0].settings.to_json(), imports=True)
    configs = {algorithm: each[0].settings.to_json()["tasks"] for algorithm, each in requests.items()}
    check_same_tasks([(algorithm, family, configs[algorithm]) for algorithm, (_, family) in built.items()], asked)
    cells = {
        folder_name(algorithm, seed): (algorithm, request.settings.training.steps)
        for algorithm, each in requests.items()
        for seed, request in enumerate(each)
    }
    overall, rows = Overall(cells), []
    failed = side_by_side(screen, argv, requests, asked) if asked.jobs > 1 or asked.scheduler else {}
    for algorithm, each in requests.items():
        trials = []
        for seed, request in enumerate(each):
            name = folder_name(algorithm, seed)
            one = partial(_trained, screen, request, out / name, seed, None if seed else built[algorithm], overall)
            trials += [] if name in failed else attempted(failed, name, one)
        if trials:
            rows.append(Contender(algorithm, each[0].settings.names["tasks"], tuple(trials)))
    return rows, failed


def train_cell(screen: Screen, requests: Mapping[str, Sequence[Request]], out: Path, number: int) -> Trial:
    """Do the training with a number alone.

    Raises:
        UsageError: there are not so many, or it was begun with other settings.
        Interrupted: a signal asked to stop; what is done is kept.
    """
    from metafunc.training.folder_lock import wait_until_free

    algorithm, seed = chosen(requests, number)
    name, request = folder_name(algorithm, seed), requests[algorithm][seed]
    wait_until_free(out / name, LEAVING)  # by an earlier attempt, whose machine has lost it
    return _trained(
        screen, request, out / name, seed, None, Overall({name: (algorithm, request.settings.training.steps)})
    )


def _trained(screen: Screen, request: Request, folder: Path, seed: int, built: Any, overall: Overall) -> Trial:
    from metafunc.training.config import build, train
    from metafunc.training.run import Run

    run, config = Run(folder), request.settings.to_json()
    with refusals(request.settings):  # a user-supplied module may depend on the seed
        learner_and_family = built or build(config, imports=True)
    before, clock = times_of(run) if (folder / SECONDS).exists() else Times(0.0, 0.0), Clock()
    try:
        title = overall.title(folder.name)
        with progress(screen.err, title, quiet=screen.quiet) as advance, refusals(request.settings):
            trained = train(
                config,
                out=folder,
                resume=True,
                imports=True,
                on_event=clock.around(Callback(screen, overall.around(folder.name, advance))),
                built=learner_and_family,
            )
    except UsageError as error:
        raise UsageError(f"{error} Take another --out for other settings.") from error
    finally:
        if clock.taken.wall:
            wall, cpu = before.plus(clock.taken)
            run.write(SECONDS, {"seconds": wall, "cpu_seconds": cpu})
    return Trial(run, trained.learner, trained.fit.best, trained.family, seed)


def from_runs(folders: Sequence[str], *, imports: bool) -> list[Contender]:
    """Finished runs; those that differ in nothing but their seed make one row.

    Raises:
        UsageError: a folder holds no trained learner, names code to import, or has tasks of another kind.
    """
    from metafunc.training.build import tasks_of
    from metafunc.training.load import load
    from metafunc.training.run import Run

    rows: dict[str, list[Trial]] = {}
    for folder in folders:
        run = Run(Path(folder))
        sections = compose.recorded_in(run.path)
        look_over_imports(sections, run.path / "config.json", allowed=imports)
        seed = sections.get("training", {}).get("seed", 0)
        _warn_if_unfinished(run, sections)
        with refusals():
            loaded: tuple[Any, Any] = load(run.path, imports=imports)
            family = tasks_of(run.config)
        settings = {**sections, "training": {**sections.get("training", {}), "seed": None}}
        trials = rows.setdefault(json.dumps(settings, sort_keys=True), [])
        if same := [trial for trial in trials if trial.seed == seed]:
            raise UsageError(
                f"{folder} and {same[0].run.path} are the same training with the same seed ({seed}), which would count "
                "as two: leave one out."
            )
        trials.append(Trial(run, *loaded, family, seed))
    labels = named_apart([json.loads(settings) for settings in rows], [row[0].run.path for row in rows.values()])
    return [
        Contender(label, trials[0].run.config["tasks"]["name"], tuple(trials))
        for label, trials in zip(labels, rows.values(), strict=True)
    ]


def _warn_if_unfinished(run: "Run", sections: Mapping[str, Any]) -> None:
    from metafunc.training import checkpoint

    saved, _ = checkpoint.newest(run.checkpoints)
    steps = sections.get("training", {}).get("steps")
    if saved is not None and steps is not None and saved.step < steps:
        warnings.warn(f"{run.path} has done {saved.step} of its {steps} steps, and is taken as it is.", stacklevel=2)
