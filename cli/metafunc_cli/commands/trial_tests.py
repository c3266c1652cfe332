"""The meta-tests of a comparison: all trials on the same tasks."""

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from metafunc.checks import at_least
from metafunc_cli.commands import trial_marks
from metafunc_cli.commands.same_tasks import check_same_tasks
from metafunc_cli.commands.timing import Times, times_of
from metafunc_cli.commands.trial import Trial
from metafunc_cli.commands.trials import Contender
from metafunc_cli.display.progress import progress
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.settings.comparison_options import Comparison

if TYPE_CHECKING:
    from metafunc.evaluation.meta_test import Evaluation
    from metafunc.execution.distributed import Ranks
    from metafunc.results.comparison import Entry


def by_shots(screen: Screen, rows: Sequence[Contender], asked: Comparison, ranks: "Ranks") -> list[dict[str, Any]]:
    """The comparison for each number of support rows: the same tasks, whose support sets are nested.

    Raises:
        UsageError: there are no tasks with so many rows.
    """
    from metafunc.data import generator_for
    from metafunc.data.fewer_shots import fewer_shots
    from metafunc.evaluation.scoring import sampler_of
    from metafunc.results.comparison import compare
    from metafunc.training.build import tasks_of

    config, numbers = rows[0].trials[0].run.config, sorted({*asked.shots})
    with refusals():
        at_least(0, shots=numbers[0])
        ranged = {"num_shots": numbers[-1]} if "num_shots" in config["tasks"] else {}
        # What the trials name was allowed, or typed.
        family = tasks_of({**config, "tasks": {**config["tasks"], **ranged}}, imports=True)
        sampler_of(fewer_shots(family, numbers[-1]), asked.split)(generator_for(asked.test_seed, asked.split, 0), 1)
    tested = {n: meta_test(screen, rows, asked, fewer_shots(family, n), ranks=ranks) for n in numbers}
    return [{"shots": n, "rows": compare(rows[0].tasks, entries)["rows"]} for n, entries in tested.items()]


def meta_test(
    screen: Screen,
    rows: Sequence[Contender],
    asked: Comparison,
    family: Any | None = None,
    kept: "Mapping[str, Evaluation]" = MappingProxyType({}),
    *,
    ranks: "Ranks",
) -> "list[Entry]":
    """Test every trial on the same tasks: those of a family, or each on its own that have to be the same.

    Args:
        screen: for progress.
        rows: what to test.
        asked: on which tasks.
        family: where these come from; None: from each trial's own.
        kept: earlier tests by the marks of `trial_marks.mark`, which are not made again.
        ranks: the processes that share the tests.

    Raises:
        UsageError: the tasks of two rows are not the same.
    """
    from metafunc import tree
    from metafunc.results.comparison import Entry
    from metafunc.training.build import own_steps

    check_same_tasks([(row.algorithm, row.trials[0].family, row.trials[0].run.config["tasks"]) for row in rows], asked)
    marks = [trial_marks.of_row(row, asked) for row in rows]
    missing = [mark for each in marks for mark in each if mark not in kept]
    own_family = family or rows[0].trials[0].family
    optimal = None if asked.no_gap or not missing else _optimal(screen, own_family, asked, ranks)
    entries, number, total = [], 0, sum(len(row.trials) for row in rows)
    for row, each_mark in zip(rows, marks, strict=True):
        steps = own_steps(row.trials[0].run.config) or 1
        tests = []
        for trial, mark in zip(row.trials, each_mark, strict=True):
            number += 1
            if mark is not None and mark in kept:
                tests.append(kept[mark])
                continue
            place, num_steps = f"{number} of {total}", max(steps, asked.test_steps)
            test = _tested(screen, trial, family, num_steps, asked, place, ranks)
            test = test.beyond(optimal)
            own = asked.coherence and family is None and ranks.first
            tests.append(_with_coherence(screen, test, trial, steps) if own else test)
        each = [times_of(trial.run) for trial in row.trials]
        seconds, cpu = reduce(Times.plus, each).over(len(each))
        seeds = tuple(trial.seed for trial in row.trials)
        entries.append(Entry(row.algorithm, seeds, tuple(tests), steps, seconds, tree.size(row.trials[0].meta), cpu))
    return entries


def _tested(
    screen: Screen, trial: Trial, family: Any | None, num_steps: int, asked: Comparison, place: str, ranks: "Ranks"
) -> "Evaluation":
    """The meta-test of one trial."""
    from metafunc.evaluation.meta_test import evaluate
    from metafunc.execution import device

    with (
        progress(screen.err, f"meta-testing {trial.run.path.name} ({place})", quiet=screen.quiet) as advance,
        device.surroundings(threads=trial.run.env["threads"]),
        refusals(),
    ):
        return evaluate(
            trial.learner,
            trial.meta,
            family or trial.family,
            num_tasks=asked.test_tasks,
            num_steps=num_steps,
            seed=asked.test_seed,
            split=asked.split,
            gap=False,
            on_progress=lambda done, total: advance(done, total, ""),
            ranks=ranks,
        )


def kept_in(screen: Screen, file: Path, ranks: "Ranks") -> "Mapping[str, Evaluation]":
    """The tests of an earlier comparison in the same folder that all ranks have; a damaged file has none."""
    from metafunc.execution.rank_agreement import agreement

    with agreement(ranks) as settled:
        found = _kept(screen, file)
        everywhere = set.intersection(*map(set, settled.reach([*found])))
    return {mark: test for mark, test in found.items() if mark in everywhere}


def _kept(screen: Screen, file: Path) -> "Mapping[str, Evaluation]":
    from metafunc.results import per_task
    from metafunc.training.json_file import FileError

    if not file.exists():
        return {}
    try:
        return per_task.read(file).by_mark()
    except FileError as error:
        screen.say(f"warning: {error} All are tested again.")
        return {}


def _with_coherence(screen: Screen, test: "Evaluation", trial: Trial, steps: int) -> "Evaluation":
    from metafunc.evaluation.coherence_columns import with_coherence

    if not screen.quiet:
        screen.say(f"measuring coherence of {trial.run.path.name}")
    with refusals():
        return with_coherence(test, trial.learner, trial.meta, trial.family, num_steps=steps)


def _optimal(screen: Screen, family: Any, asked: Comparison, ranks: "Ranks") -> Any:
    """The NLL of the exact prediction on the tasks that are compared on, once for all; None if it is not known."""
    from metafunc.evaluation.gap import optimal_nll

    with progress(screen.err, "the optimum", quiet=screen.quiet) as advance, refusals():
        return optimal_nll(
            family,
            num_tasks=asked.test_tasks,
            seed=asked.test_seed,
            split=asked.split,
            on_progress=lambda done, total: advance(done, total, ""),
            ranks=ranks,
        )
