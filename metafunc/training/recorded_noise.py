"""The noise scales that a meta-test fitted for a learner without a noise model, as a run or a prior has kept them."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from metafunc.evaluation.noise_scale import IN_TASK_UNITS
from metafunc.training.run import Run


def fitted_noise(run: Run) -> tuple[float | None, ...]:
    """The noise scales that a run's meta-test fitted on validation tasks, by step; empty if there are none.

    Raises:
        FileError: the meta-test is not what was written.
    """
    if not run.meta_test.exists():
        return ()
    rows = run.report(run.meta_test)["meta_test"]["by_step"]
    return of_rows(rows, run.env["data"].get("info", {}), str(run.path), f"metafunc eval {run.path} fits it again")


def of_rows(
    rows: Sequence[Mapping[str, Any]], info: Mapping[str, Any], of: str, again: str
) -> tuple[float | None, ...]:
    """The noise scales that the rows of a meta-test record, by step; empty if there are none.

    Of tasks that are seen each in its own unit they are in that unit, and the rows say so. What was fitted in one unit
    for all of them, as it once was, is left out with a `UserWarning`: another meta-test fits it again.

    Args:
        rows: as `Evaluation.by_step` has them.
        info: what was recorded of the tasks.
        of: whose they are, for the warning.
        again: a sentence on what fits them again.

    Examples:
        >>> of_rows([{"step": 0, "noise_scale": 0.5}], {}, "this run", "another meta-test fits it again")
        (0.5,)
    """
    found = tuple(row["noise_scale"] for row in rows if "noise_scale" in row)
    if found and "task_scale" in info and IN_TASK_UNITS not in rows[0]:
        warnings.warn(
            f"The noise scale of {of} was fitted in one unit for all tasks, and here each task has its own: it is "
            f"left out, and {again}.",
            stacklevel=3,
        )
        return ()
    return found
