"""Trials of learners that predict in another way after their training: `maml+laplace`, or a run's, `RUN+laplace`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from metafunc_cli.commands import trials
from metafunc_cli.commands.trial import Trial
from metafunc_cli.commands.trials import Contender
from metafunc_cli.display.screen import refusals
from metafunc_cli.errors import UsageError, unknown
from metafunc_cli.settings.compose import Request
from metafunc_cli.settings.generated import TRANSFORMS


def refuse_transforms(requests: Mapping[str, Sequence[Request]], names: Sequence[str]) -> None:
    """Try what is done after the trainings on untrained learners, before any of them is trained.

    Raises:
        UsageError: a transform does not take its learner.
    """
    from metafunc import tree
    from metafunc.data import generator_for
    from metafunc.training import build

    for name in names:
        algorithm, *transforms = name.split("+")
        if transforms:
            config = requests[algorithm][0].settings.to_json()
            with refusals(requests[algorithm][0].settings):
                learner, family = build.build(config, imports=True)
                learner = build.transformed(config, learner, family, transforms, imports=True)
                meta, draws = learner.init(generator_for(0, "init", 0)), generator_for(0, "try", 0)
                tasks = learner.prepare(meta, family.train(draws, 1), draws, step=None, num_steps=0)
                learner.adapt(meta, tree.at(tasks, 0).support)


def transformed(rows: Sequence[Contender], names: Sequence[str]) -> list[Contender]:
    """The rows that were asked for, of those that are trained: `maml+laplace` is the trainings of `maml`, which predict
    in another way.

    Raises:
        UsageError: a transform does not take its learner.
    """
    trained = {row.algorithm: row for row in rows}
    found = []
    for name in names:
        algorithm, *transforms = name.split("+")
        if algorithm in trained:
            found.append(_changed(trained[algorithm], trained[algorithm].trials, transforms, imports=True))
    return found


def split(name: str) -> tuple[str, tuple[str, ...]]:
    """The folder of a run, and the transforms behind its name: a folder's own name may have a plus as well.

    Raises:
        UsageError: there is no such run, or no such transform.
    """
    parts = name.split("+")
    for end in range(len(parts), 0, -1):
        folder, transforms = "+".join(parts[:end]), tuple(parts[end:])
        if (Path(folder) / "config.json").exists():
            for transform in transforms:
                if transform not in TRANSFORMS:
                    raise unknown("transform", transform, TRANSFORMS)
            return str(Path(folder)), transforms
    raise UsageError(f"{name} is no run: it has no config.json. Give folders that metafunc train wrote.")


def from_runs(names: Sequence[str], *, imports: bool) -> list[Contender]:
    """Finished runs, plain or changed, in the order of their names; those that differ in their seed alone make one row.

    Args:
        names: `RUN`, or a run and what is done to its learner, `RUN+laplace`.
        imports: allow importing the modules that the runs name.

    Raises:
        UsageError: as `trials.from_runs`, or a transform does not take its learner.
    """
    asked = [split(name) for name in names]
    # A run that is asked for in two ways is loaded once; one that is named twice is refused.
    once = [
        folder
        for i, (folder, transforms) in enumerate(asked)
        if (folder, transforms) in asked[:i] or folder not in [before for before, _ in asked[:i]]
    ]
    rows = trials.from_runs(once, imports=imports)
    places = {trial.run.path: (number, trial) for number, row in enumerate(rows) for trial in row.trials}
    found: dict[tuple[int, tuple[str, ...]], list[Trial]] = {}
    for folder, transforms in asked:
        number, trial = places[Path(folder)]
        found.setdefault((number, transforms), []).append(trial)
    return [
        _changed(rows[number], chosen, transforms, imports=imports) for (number, transforms), chosen in found.items()
    ]


def _changed(row: Contender, chosen: Sequence[Trial], transforms: Sequence[str], *, imports: bool) -> Contender:
    """Some trials of a row, whose learners predict in another way."""
    from metafunc.training import build

    changed = []
    for trial in chosen:
        with refusals():
            learner = build.transformed(trial.run.config, trial.learner, trial.family, transforms, imports=imports)
        changed.append(replace(trial, learner=learner))
    return replace(
        row, algorithm="+".join([row.algorithm, *transforms]), trials=tuple(changed), transforms=(*transforms,)
    )
