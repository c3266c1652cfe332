"""The trials of a comparison: each a learner trained with a seed, or loaded from its run, and its meta-test."""

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from metafunc_cli.display.drawing import prepare
from metafunc_cli.display.progress import Callback, progress
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import UsageError
from metafunc_cli.settings import compose
from metafunc_cli.settings.compose import Request
from metafunc_cli.settings.names import look_over_imports
from metafunc_cli.settings.options import Comparison

if TYPE_CHECKING:
    from metafunc.results.comparison import Entry
    from metafunc.training.events import Event
    from metafunc.training.run import Run

SECONDS = "seconds.json"
"""How long a trial's training has taken, over all its interruptions."""


class Seconds(TypedDict):
    """What that file holds; null where the time is not known."""

    seconds: float | None


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
    """One row of a comparison: the trials of the same learner under different seeds."""

    algorithm: str
    tasks: str
    trials: tuple[Trial, ...]


def train(screen: Screen, requests: Mapping[str, Sequence[Request]], out: Path) -> list[Contender]:
    """Train what is not trained yet, each trial into its folder `ALGORITHM-SEED`.

    Raises:
        UsageError: a trial was begun with other settings.
        Interrupted: a signal asked to stop; what is done is kept.
    """
    rows = []
    for algorithm, each in requests.items():
        trials = tuple(_trained(screen, request, out / f"{algorithm.replace(':', '.')}-{seed}", seed)
                      for seed, request in enumerate(each))  # fmt: skip
        rows.append(Contender(algorithm, each[0].settings.names["tasks"], trials))
    return rows


def _trained(screen: Screen, request: Request, folder: Path, seed: int) -> Trial:
    from metafunc.training.config import build, train
    from metafunc.training.run import Run

    run, config = Run(folder), request.settings.to_json()
    with refusals(request.settings):
        built = build(config, imports=True)
    before, clock = _seconds(run) if (folder / SECONDS).exists() else 0.0, _Clock()
    try:
        with progress(screen.err, f"{folder.name}", quiet=screen.quiet) as advance, refusals(request.settings):
            trained = train(
                config,
                out=folder,
                resume=True,
                imports=True,
                on_event=clock.around(Callback(screen, advance)),
                built=built,
            )
    except UsageError as error:
        raise UsageError(f"{error} Take another --out for other settings.") from error
    finally:
        if clock.seconds:
            run.write(SECONDS, {"seconds": None if before is None else before + clock.seconds})
    return Trial(run, trained.learner, trained.fit.best, trained.family, seed)


class _Clock:
    """The time from the beginning to the last step; none if there was no step to take."""

    def __init__(self) -> None:
        self.began, self.seconds = time.perf_counter(), 0.0

    def around(self, callback: Callback) -> Any:
        """A callback that also looks at the clock."""

        def timed(event: "Event") -> None:
            if event.phase in ("train", "validation", "checkpoint"):
                self.seconds = time.perf_counter() - self.began
            callback(event)

        return timed


def _seconds(run: "Run") -> float | None:
    """How long a run's training has taken; None if that is not known. What cannot be read is named and made again."""
    from metafunc.training.json_file import FileError

    if not (run.path / SECONDS).exists():
        return None
    try:
        seconds: float | None = run.read(SECONDS, Seconds)["seconds"]
    except FileError as error:
        warnings.warn(f"{error} How long the training has taken is not known any more.", stacklevel=2)
        run.write(SECONDS, {"seconds": None})
        return None
    return seconds


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
    names = [json.loads(settings)["algorithm"]["name"] for settings in rows]
    labels = [
        name if names.count(name) == 1 else trials[0].run.path.name
        for name, trials in zip(names, rows.values(), strict=True)
    ]
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


def meta_test(screen: Screen, rows: Sequence[Contender], asked: Comparison) -> "list[Entry]":
    """Test every trial on the same tasks.

    Raises:
        UsageError: the tasks of two rows are not the same.
    """
    from metafunc import tree
    from metafunc.evaluation.meta_test import evaluate
    from metafunc.execution import device
    from metafunc.results.comparison import Entry
    from metafunc.training.build import own_steps

    _same_tasks(rows, asked)
    entries = []
    for row in rows:
        steps = own_steps(row.trials[0].run.config) or 1
        tests = []
        for trial in row.trials:
            with (
                progress(screen.err, f"meta-testing {trial.run.path.name}", quiet=screen.quiet) as advance,
                device.surroundings(threads=trial.run.env["threads"]),
                refusals(),
            ):
                tests.append(
                    evaluate(
                        trial.learner,
                        trial.meta,
                        trial.family,
                        num_tasks=asked.test_tasks,
                        num_steps=max(steps, asked.test_steps),
                        seed=asked.test_seed,
                        split=asked.split,
                        # mypy gives a lambda whose argument has a default no type.
                        on_progress=lambda done, total, advance=advance: advance(done, total, ""),  # type: ignore[misc]
                    )
                )
        times = [_seconds(trial.run) for trial in row.trials]
        known = [value for value in times if value is not None]
        seconds = sum(known) / len(known) if len(known) == len(times) else None
        seeds = tuple(trial.seed for trial in row.trials)
        entries.append(Entry(row.algorithm, seeds, tuple(tests), steps, seconds, tree.size(row.trials[0].meta)))
    return entries


def _same_tasks(rows: Sequence[Contender], asked: Comparison) -> None:
    """Whether all rows are tested on the same tasks, which their settings need not show: look at a few."""
    import torch

    from metafunc import tree
    from metafunc.data import generator_for
    from metafunc.evaluation.scoring import sampler_of

    def look(row: Contender) -> Any:
        with refusals():
            return sampler_of(row.trials[0].family, asked.split)(generator_for(asked.test_seed, asked.split, 0), 2)

    first = tree.leaves(look(rows[0]))
    for row in rows[1:]:
        leaves = tree.leaves(look(row))
        if len(leaves) != len(first) or not all(torch.equal(a, b) for a, b in zip(first, leaves, strict=True)):
            mine, others = (r.trials[0].run.config["tasks"] for r in (row, rows[0]))
            differing = [name for name in {**others, **mine} if others.get(name) != mine.get(name)]
            raise UsageError(
                f"{row.algorithm} and {rows[0].algorithm} have other tasks to be tested on (they differ in "
                f"{', '.join(f'{n}: {mine.get(n)} and {others.get(n)}' for n in differing)}), and paired differences "
                "need the same ones."
            )


def draw(rows: Sequence[Contender], entries: "Sequence[Entry]", folder: Path) -> list[Path]:
    """The figures of a comparison."""
    from metafunc.results.plot_comparison import Compared, plot_comparison

    prepare()
    compared = [
        Compared(entry, tuple(trial.run for trial in row.trials), row.trials[0].learner, row.trials[0].meta)
        for row, entry in zip(rows, entries, strict=True)
    ]
    return plot_comparison(compared, folder)
