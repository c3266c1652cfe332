"""The trials of a comparison: each a learner trained with a seed, or loaded from its run, and its meta-test."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc.checks import counted
from metafunc_cli import tied
from metafunc_cli.commands.run_names import named_apart
from metafunc_cli.commands.same_tasks import check_same_tasks
from metafunc_cli.commands.timing import Account, Clock
from metafunc_cli.commands.trained_together import trained_together
from metafunc_cli.commands.trial import Trial
from metafunc_cli.commands.trial_cells import Failed, attempted, chosen, folder_name, side_by_side
from metafunc_cli.display.progress import Callback, Overall, progress
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import UsageError
from metafunc_cli.settings import compose
from metafunc_cli.settings.comparison_options import Comparison
from metafunc_cli.settings.compose import Request
from metafunc_cli.settings.names import look_over_imports

if TYPE_CHECKING:
    from metafunc.training.events import Event
    from metafunc.training.run import Run

LEAVING = 1.5 * tied.GRACE
"""Seconds in which an earlier attempt at a training will have left its folder."""


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
    from metafunc.training import config

    built = {}
    for algorithm, each in requests.items():
        with refusals(each[0].settings):
            settings = each[0].settings.to_json()
            built[algorithm] = config.build(settings, imports=True)
            config.check(settings, *built[algorithm])
    configs = {algorithm: each[0].settings.to_json()["tasks"] for algorithm, each in requests.items()}
    check_same_tasks([(algorithm, family, configs[algorithm]) for algorithm, (_, family) in built.items()], asked)
    batches = {algorithm: _batches(screen, algorithm, each, asked) for algorithm, each in requests.items()}
    cells = {
        _title(algorithm, batch): (algorithm, requests[algorithm][0].settings.training.steps)
        for algorithm, each in batches.items()
        for batch in each
    }
    overall, rows = Overall(cells), []
    failed = side_by_side(screen, argv, requests, asked) if asked.jobs > 1 or asked.scheduler else {}
    for algorithm, each in requests.items():
        trials: list[Trial] = []
        for seeds in batches[algorithm]:
            names = [folder_name(algorithm, seed) for seed in seeds]
            if len(seeds) > 1:
                several = partial(_together, screen, each[0], [out / name for name in names], seeds, overall)
                for found in attempted(failed, _title(algorithm, seeds), partial(several, built[algorithm], failed)):
                    trials += found
            elif names[0] not in failed:
                given = None if seeds[0] else built[algorithm]
                one = partial(_trained, screen, each[seeds[0]], out / names[0], seeds[0], given, overall)
                trials += attempted(failed, names[0], one)
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


def _batches(screen: Screen, algorithm: str, each: Sequence[Request], asked: Comparison) -> list[Sequence[int]]:
    """The seeds of an algorithm by which of them are trained together."""
    from metafunc.training.train_many import user_supplied

    alone: list[Sequence[int]] = [[seed] for seed in range(len(each))]
    if not asked.together or len(each) == 1:
        return alone
    if own := user_supplied(each[0].settings.to_json()):
        screen.say(f"note: {own} may depend on the seed; {algorithm} is trained with one seed after the other.")
        return alone
    return [range(len(each))]


def _title(algorithm: str, seeds: Sequence[int]) -> str:
    """What is trained at once, as its progress says it."""
    last = f" to {seeds[-1]}" if len(seeds) > 1 else ""
    return f"{folder_name(algorithm, seeds[0])}{last}"


def _together(
    screen: Screen,
    request: Request,
    folders: Sequence[Path],
    seeds: Sequence[int],
    overall: Overall,
    built: Any,
    failed: Failed,
) -> list[Trial]:
    name = _title(request.settings.names["algorithm"], seeds)
    with progress(screen.err, overall.title(name), quiet=screen.quiet) as advance:
        show = Callback(screen, overall.around(name, advance))
        return trained_together(request, folders, seeds, built, show, failed)


def _trained(screen: Screen, request: Request, folder: Path, seed: int, built: Any, overall: Overall) -> Trial:
    from metafunc.training.config import build, train
    from metafunc.training.run import Run

    run, config = Run(folder), request.settings.to_json()
    with refusals(request.settings):  # a user-supplied module may depend on the seed
        learner_and_family = built or build(config, imports=True)
    clock, account = Clock(), Account(run)
    try:
        title = overall.title(folder.name)
        with progress(screen.err, title, quiet=screen.quiet) as advance, refusals(request.settings):
            timed = clock.around(Callback(screen, overall.around(folder.name, advance)))

            def on_event(event: "Event") -> None:
                timed(event)
                if event.phase == "checkpoint":
                    account.keep(clock.taken, clock.validations)

            trained = train(
                config,
                out=folder,
                resume=True,
                imports=True,
                on_event=on_event,
                built=learner_and_family,
            )
    except UsageError as error:
        raise UsageError(f"{error} Take another --out for other settings.") from error
    finally:
        account.keep(clock.taken, clock.validations)
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
            family = tasks_of(run.config, imports=imports)
        if not run.same_data(family.info):
            warnings.warn(
                f"the data of {run.path} are not what they were when it was trained: what is tested here may have been "
                "trained on.",
                stacklevel=2,
            )
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
    from metafunc.training.state import stopped_early

    saved, _ = checkpoint.newest(run.checkpoints)
    steps = sections.get("training", {}).get("steps")
    if saved is not None and steps is not None and saved.step < steps and not stopped_early(saved):
        warnings.warn(
            f"{run.path} has done {saved.step} of its {counted(steps, 'steps')}, and is taken as it is.", stacklevel=2
        )
