"""Further tests of what a family has trained: on variants of its tasks, and of all query rows, one after the other."""

import json
import shlex
import statistics
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from metafunc_cli.commands import compare, trial_marks
from metafunc_cli.commands import eval as evaluation
from metafunc_cli.commands.trial_cells import folder_name
from metafunc_cli.display.screen import Screen
from metafunc_cli.errors import OK
from metafunc_cli.suites.suite import Family, Suite

BY_ROWS = "row by row"
NAME = "row_by_row.json"
"""The tests row by row of a family's runs, in its folder; a variant's comparison has a folder of its own below that."""


def commands(suite: Suite, family: Family, folder: Path) -> dict[str, list[str]]:
    """The words of `metafunc`, by what they test.

    Args:
        suite: whose learners and seeds are tested.
        family: which tests there are.
        folder: the family's.

    Returns:
        `metafunc compare` for each split, under its name, and `metafunc eval` for each run, under "row by row, RUN".
    """
    runs = []
    for name in suite.algorithms:
        algorithm, *transforms = name.split("+")
        runs += ["+".join([str(folder / folder_name(algorithm, s)), *transforms]) for s in range(suite.seeds)]
    steps = () if family.test_steps is None else ("--test-steps", str(family.test_steps))
    tested = ["--test-tasks", str(suite.test_tasks), *steps]
    lines = {
        split: ["compare", *runs, "--split", split, *tested, "--no-figures", "--out", str(folder / split)]
        for split in family.splits
    }
    for algorithm in family.row_by_row:
        for run in (folder_name(algorithm, seed) for seed in range(suite.seeds)):
            words = ["eval", str(folder / run), "--joint", "autoregressive", "--num-tasks", str(suite.test_tasks)]
            lines[f"{BY_ROWS}, {run}"] = [*words, "--seed", "0"]
    return lines


def test(screen: Screen, suite: Suite, family: Family, folder: Path, again: str) -> int:
    """Make the tests that are not made yet; the exit code.

    Args:
        screen: where they are shown.
        suite: whose learners and seeds are tested.
        family: which tests there are; all of its trainings are finished.
        folder: the family's.
        again: the command that goes on where this one is stopped.
    """
    for words in commands(suite, family, folder).values():
        if words[0] == "compare":
            _, code = compare.compared(screen, words[1:], again)
        else:
            code = _row_by_row(screen, words, folder)
        if code:
            return code
    return OK


def _row_by_row(screen: Screen, words: Sequence[str], folder: Path) -> int:
    """Test a run and keep what came of it, unless the same run was tested by the same code.

    How many tasks there are, is the same in all of a folder, by its plan.
    """
    from metafunc.data.atomic_write import write_json
    from metafunc.training import record

    run, found = Path(words[1]), _kept(folder)
    of = {"run": record.run_sum(run), "code": trial_marks.code()}
    if found.get(run.name, {}).get("of") == of:
        return OK
    with redirect_stdout(StringIO()) as text:
        code = evaluation.main([*words[1:], "--json", *(["--quiet"] if screen.quiet else [])])
    if code == OK:
        tested = json.loads(text.getvalue())["meta_test"]
        numbers = {name: tested[name] for name in ("num_tasks", "autoregressive")}
        write_json(folder / NAME, {**found, run.name: {"command": _said(words), **numbers, "of": of}})
    return code


def _kept(folder: Path) -> dict[str, Any]:
    from metafunc.training import json_file

    return json_file.read(folder / NAME) if (folder / NAME).exists() else {}


def results(suite: Suite, family: Family, folder: Path) -> list[dict[str, Any]]:
    """What came of the tests, one after the other.

    Returns:
        For each "test" (the split, or "row by row"), "metric", "num_tasks", "commands", and "rows": "learner", "seeds",
        "mean" and "ci95". The intervals of a split are over seeds and tasks, those row by row over seeds, or over the
        tasks of a single one.
    """
    from metafunc.evaluation.metrics.table import METRICS
    from metafunc.results.tables import metrics_of
    from metafunc.training import json_file

    lines = {what: _said(words) for what, words in commands(suite, family, folder).items()}
    found = []
    for split in family.splits:
        report = json_file.read(folder / split / "compare.json")
        metric = family.metric
        if metric not in metrics_of(report["rows"][0]):  # no exact prediction is known there
            metric = str(METRICS[metric].beyond)
        rows = [_row(row["algorithm"], row["seeds"], **row[metric]) for row in report["rows"]]
        found.append(_test(split, metric, report["num_tasks"], [lines[split]], rows))
    if family.row_by_row:
        kept, rows = _kept(folder), []
        for algorithm in family.row_by_row:
            each = [kept[folder_name(algorithm, seed)]["autoregressive"]["joint_nll"] for seed in range(suite.seeds)]
            rows.append(_row(algorithm, [*range(suite.seeds)], **_over_seeds(each)))
        words = [line for what, line in lines.items() if what not in family.splits]
        found.append(_test(BY_ROWS, "joint_nll", suite.test_tasks, words, rows))
    return found


def _test(
    test: str, metric: str, num_tasks: int, words: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {"test": test, "metric": metric, "num_tasks": num_tasks, "commands": [*words], "rows": [*rows]}


def _row(learner: str, seeds: Sequence[int], *, mean: float | None, ci95: float | None, **_: Any) -> dict[str, Any]:
    return {"learner": learner, "seeds": [*seeds], "mean": mean, "ci95": ci95}


def _over_seeds(tests: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The mean of meta-tests, with the interval that Student's distribution gives it."""
    from metafunc.evaluation.metrics.intervals import student

    means = [each["mean"] for each in tests]
    if None in means:  # of a task whose prediction is not finite
        return {"mean": None, "ci95": None}
    if len(means) == 1:
        return {"mean": means[0], "ci95": tests[0]["ci95"]}
    half = student(len(means) - 1) * statistics.stdev(means) / len(means) ** 0.5
    return {"mean": statistics.fmean(means), "ci95": half}


def _said(words: Sequence[str]) -> str:
    return f"metafunc {shlex.join(words)}"
