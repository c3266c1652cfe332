"""The trials of a comparison: each a learner trained with a seed, or loaded from its run, and its meta-test."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc_cli.commands.run_names import named_apart
from metafunc_cli.commands.same_tasks import check_same_tasks
from metafunc_cli.commands.timing import Clock, add
from metafunc_cli.commands.trained_together import trained_together
from metafunc_cli.commands.trial import Trial
from metafunc_cli.display.progress import Callback, Overall, progress
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import UsageError
from metafunc_cli.settings import compose
from metafunc_cli.settings.compose import Request
from metafunc_cli.settings.names import look_over_imports
from metafunc_cli.settings.options import Comparison

if TYPE_CHECKING:
    from metafunc.training.run import Run


@dataclass(frozen=True)
class Contender:
    """One row of a comparison: the trials of the same learner under different seeds, and what is done to it."""

    algorithm: str
    tasks: str
    trials: tuple[Trial, ...]
    transforms: tuple[str, ...] = ()


def train(screen: Screen, requests: Mapping[str, Sequence[Request]], out: Path, asked: Comparison) -> list[Contender]:
    """Train what is not trained yet, each trial into its folder `ALGORITHM-SEED`; first all learners are built.

    Raises:
        UsageError: a learner cannot be built, has other tasks to be tested on than the first, or was begun with other
            settings.
        Interrupted: a signal asked to stop; what is done is kept.
    """
    from metafunc.training.config import build

    built = {}
    for algorithm, each in requests.items():
        with refusals(each[0].settings):
            built[algorithm] = build(each[0].settings.to_json(), imports=True)
    configs = {algorithm: each[0].settings.to_json()["tasks"] for algorithm, each in requests.items()}
    check_same_tasks([(algorithm, family, configs[algorithm]) for algorithm, (_, family) in built.items()], asked)
    batches = {algorithm: _batches(screen, algorithm, each, asked) for algorithm, each in requests.items()}
    cells = {
        _title(algorithm, batch): (algorithm, requests[algorithm][0].settings.training.steps)
        for algorithm, each in batches.items()
        for batch in each
    }
    overall, rows = Overall(cells), []
    for algorithm, each in requests.items():
        trials: list[Trial] = []
        for seeds in batches[algorithm]:
            folders = [out / _folder(algorithm, seed) for seed in seeds]
            if len(seeds) > 1:
                with progress(screen.err, overall.title(_title(algorithm, seeds)), quiet=screen.quiet) as advance:
                    show = Callback(screen, overall.around(_title(algorithm, seeds), advance))
                    trials += trained_together(each[0], folders, seeds, built[algorithm], show)
            else:
                given = None if seeds[0] else built[algorithm]
                trials.append(_trained(screen, each[seeds[0]], folders[0], seeds[0], given, overall))
        rows.append(Contender(algorithm, each[0].settings.names["tasks"], tuple(trials)))
    return rows


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
    return f"{_folder(algorithm, seeds[0])}{last}"


def _folder(algorithm: str, seed: int) -> str:
    return f"{algorithm.replace(':', '.')}-{seed}"


def _trained(screen: Screen, request: Request, folder: Path, seed: int, built: Any, overall: Overall) -> Trial:
    from metafunc.training.config import build, train
    from metafunc.training.run import Run

    run, config = Run(folder), request.settings.to_json()
    with refusals(request.settings):  # a user-supplied module may depend on the seed
        learner_and_family = built or build(config, imports=True)
    clock = Clock()
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
        add(run, clock.taken)
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
