"""A learner chosen for a table: each of a portfolio is scored on tasks that it was not trained on, and the best wins.

A table of a few tasks decides which learner suits it, and no rule of thumb does: one with a linear trend per task is
best served by a mixed model, one with smooth curves by a Gaussian process, one with many tasks by a network. So each
candidate is trained once per fold of the tasks and tested on the fold that was left out; every task is tested once.
How long a candidate is trained is one of the things that are chosen: some stand in the portfolio twice, since few tasks
are soon memorised. Beside the candidates stands their stack, see `training.stack_candidates`, which is the result
where it is better than each of them.

References:
    Stone (1974), "Cross-validatory choice and assessment of statistical predictions". Leaving out whole tasks, and not
    rows, is what a prediction for a new task asks for.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

import torch

from metafunc.checks import above, at_least
from metafunc.training.candidates import (
    PORTFOLIO as PORTFOLIO,
)
from metafunc.training.candidates import (
    USUAL_MINUTES as USUAL_MINUTES,
)
from metafunc.training.candidates import (
    Candidate as Candidate,
)
from metafunc.training.candidates import (
    Settings as Settings,
)
from metafunc.training.candidates import (
    Stack as Stack,
)
from metafunc.training.candidates import (
    Tested as Tested,
)
from metafunc.training.candidates import (
    cross_validated as cross_validated,
)
from metafunc.training.events import Diverged
from metafunc.training.stack_candidates import stack_of_tested
from metafunc.types import TaskFamily

Fold: TypeAlias = tuple[int, int]
"""(i, k): part i of k, from 0 on, is left out to test on."""
Folds: TypeAlias = Callable[[Fold], TaskFamily]
"""From a fold to the tasks that are trained on and tested on, such as by the argument `fold` of `data.from_table`."""
ALL: Settings = {"fractions": (1.0, 0.0, 0.0), "fold": None}
"""The arguments of a table's family that make training tasks of all tasks, for the training of what was chosen."""


@dataclass(frozen=True)
class Chosen:
    """The result of a choice.

    Args:
        tested: the candidates and their stack from the best to the worst.
        left_out: why others were not tested, by name: there was no time, or their training diverged.
    """

    tested: Sequence[Tested]
    left_out: Mapping[str, str]

    @property
    def best(self) -> Candidate | Stack:
        """The candidate, or the stack of them, of the least NLL."""
        return self.tested[0].candidate

    @property
    def shares(self) -> dict[str, float]:
        """The weights of the stack by its members' names, the greatest first; empty where there is no stack."""
        found = [one.candidate for one in self.tested if isinstance(one.candidate, Stack)]
        each = [pair for stack in found for pair in zip(stack.members, stack.weights, strict=True)]
        return {member.name: weight for member, weight in sorted(each, key=lambda pair: -pair[1])}


def choose(
    folds: Folds,
    *,
    minutes: float | int = USUAL_MINUTES,
    num_folds: int = 5,
    seed: int = 0,
    portfolio: Sequence[Candidate] = PORTFOLIO,
    on_progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Chosen:
    """Score a portfolio of learners on a table by leaving out tasks, fold by fold.

    Args:
        folds: from a fold to the table's tasks.
        minutes: what all trainings may take on one processor such as those of the benchmarks. It decides how many steps
            each takes, by a fixed rule, so that a candidate's result does not depend on the clock; only when the time
            is over, no further candidate is begun.
        num_folds: parts that the tasks are divided into, each of which is left out once.
        seed: of the trainings and the episodes.
        portfolio: what is tried, in this order.
        on_progress: called with a candidate's name, candidates done, and candidates in all.

    Returns:
        The candidates and their stack, the best first.

    Raises:
        ValueError: a number is out of range, there are fewer tasks than folds, or the table cannot be used.

    Examples:
        >>> import torch
        >>> from metafunc.data import from_arrays
        >>> x, tasks = torch.arange(96.0) % 8, torch.arange(96) // 8
        >>> def folds(fold):
        ...     return from_arrays(x, tasks * x, tasks, num_shots=3, num_queries=4, fold=fold)
        >>> choose(folds, num_folds=3, portfolio=PORTFOLIO[:2]).best.name
        'ridge'
    """
    above(0, minutes=minutes)
    at_least(3, num_folds=num_folds)
    families = [folds((number, num_folds)) for number in range(num_folds)]
    began = time.monotonic()
    found: list[Tested] = []
    left_out: dict[str, str] = {}
    for done, candidate in enumerate(portfolio):
        on_progress(candidate.name, done, len(portfolio))
        if found and time.monotonic() - began > 60 * minutes:
            left_out[candidate.name] = "no time"
            continue
        try:
            found.append(cross_validated(candidate, families, minutes=minutes, seed=seed))
        except (Diverged, torch.linalg.LinAlgError):  # type: ignore[attr-defined]  # documented, and not exported
            left_out[candidate.name] = "diverged"
    if not found:
        raise ValueError(f"No learner can be chosen: {', '.join(left_out)} diverged. Look for outliers in the targets.")
    if len(finite := [one for one in found if one.nll < inf]) > 1:
        found.append(stack_of_tested(finite, seed=seed))
    return Chosen(sorted(found, key=lambda tested: tested.nll), left_out)
