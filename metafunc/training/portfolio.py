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
from dataclasses import dataclass, field, replace
from itertools import accumulate
from math import inf
from typing import TypeAlias

import torch

from metafunc.checks import above, at_least
from metafunc.recipe import Printed
from metafunc.training.budget import Budget, Clock, allot
from metafunc.training.candidates import LEAST_STEPS, FoldResult, on_fold, pooled
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
TRIAL_STEPS = 6
"""How many show what a step takes."""
ALL: Settings = {"fractions": (1.0, 0.0, 0.0), "fold": None}
"""The arguments of a table's family that make training tasks of all tasks, for the training of what was chosen."""


@dataclass(frozen=True, repr=False)
class Chosen(Printed):
    """The result of a choice.

    Args:
        tested: the candidates and their stack from the best to the worst.
        left_out: why others were not tested, by name: there was no time, or their training diverged.
        shortened: by the names of those that there was not enough time for, the steps that they should have had.
    """

    tested: Sequence[Tested]
    left_out: Mapping[str, str]
    shortened: Mapping[str, int]

    @property
    def best(self) -> Candidate | Stack:
        """The candidate, or the stack of them, of the least NLL, as it is trained on all tasks."""
        return self.tested[0].kept

    @property
    def shares(self) -> dict[str, float]:
        """The weights of the stack by its members' names, the greatest first; empty where there is no stack."""
        found = [one.candidate for one in self.tested if isinstance(one.candidate, Stack)]
        each = [pair for stack in found for pair in zip(stack.members, stack.weights, strict=True)]
        return {member.name: weight for member, weight in sorted(each, key=lambda pair: -pair[1])}


@dataclass
class Search:
    """A choice that is under way.

    Args:
        families: the folds.
        budget: the time for it.
        seed: of the trainings and the episodes.
        on_progress: called with a candidate's name, seconds that are done, and seconds in all.
        trials: by name, candidates with the steps that they should have, and what a few steps on the first fold took.
        found: those that were tested.
        left_out: why others were not.
        end: seconds that the training on all tasks and the stack may take of those that were tested.
    """

    families: Sequence[TaskFamily]
    budget: Budget
    seed: int
    on_progress: Callable[[str, float, float], None]
    trials: dict[str, tuple[Candidate, FoldResult]] = field(default_factory=dict)
    found: list[Tested] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    end: float = 0.0

    def try_all(self, candidates: Sequence[Candidate]) -> None:
        """See what each candidate takes, as long as half of the time is left."""
        for candidate in candidates:
            self.on_progress(candidate.name, self.budget.spent, self.budget.seconds)
            if self.trials and self.budget.left < self.budget.seconds / 2:
                self.left_out[candidate.name] = "no time"
                continue
            short = replace(candidate, steps=min(TRIAL_STEPS, candidate.steps))
            if not self.trials:  # what is loaded when it is first used is not the candidate's cost
                self.on_fold(short, self.families[0])
            if trial := self.on_fold(short, self.families[0]):
                self.trials[candidate.name] = candidate, trial

    def test_all(self) -> None:
        """Train and test the candidates on all folds, for as many steps as there is time for."""
        tried, number, spent = [*self.trials.values()], len(self.families), self.budget.spent
        costs, wanted = [trial.cost for _, trial in tried], [candidate.steps for candidate, _ in tried]
        allotted = allot(costs, wanted, least=LEAST_STEPS, num_folds=number, seconds=self.budget.left)
        each = [0.0 if steps is None else cost.of_fold(steps) for steps, cost in zip(allotted, costs, strict=True)]
        before, total = accumulate([spent, *(number * seconds for seconds in each)]), spent + number * sum(each)
        for (candidate, trial), steps, seconds, done in zip(tried, allotted, each, before, strict=False):
            if steps is None:
                self.left_out[candidate.name] = "no time"
                continue
            progress = [done + fold * seconds for fold in range(number)]
            self.test(replace(candidate, steps=steps), trial, [(candidate.name, at, total) for at in progress])

    def test(self, candidate: Candidate, trial: FoldResult, progress: Sequence[tuple[str, float, float]]) -> None:
        """Train and test a candidate fold by fold, unless what was found needs the time that is left."""
        results = [] if candidate.steps else [trial]  # there is nothing to train: it was tested
        for family, said in [*zip(self.families, progress, strict=True)][len(results) :]:
            self.on_progress(*said)
            if self.found and self.budget.left < self.end:
                self.left_out[candidate.name] = "no time"
                return
            result = self.on_fold(candidate, family)
            if result is None:
                return
            results.append(result)
        self.found.append(pooled(candidate, results, seed=self.seed))
        self.end += sum(each.cost.test + each.seconds / len(results) for each in results)

    @property
    def shortened(self) -> dict[str, int]:
        """By the names of those that were tested, the steps that they should have had, where they have fewer."""
        names = [
            (one.candidate.name, one.candidate.steps) for one in self.found if isinstance(one.candidate, Candidate)
        ]
        wanted = {name: self.trials[name][0].steps for name, _ in names}
        return {name: wanted[name] for name, steps in names if steps < wanted[name]}

    def on_fold(self, candidate: Candidate, family: TaskFamily) -> FoldResult | None:
        """A candidate on a fold, if it does not diverge."""
        try:
            return on_fold(candidate, family, seed=self.seed, clock=self.budget.clock)
        except (Diverged, torch.linalg.LinAlgError):  # type: ignore[attr-defined]  # documented, and not exported
            self.left_out[candidate.name] = "diverged"
            return None


def choose(
    folds: Folds,
    *,
    minutes: float | int = USUAL_MINUTES,
    num_folds: int = 5,
    seed: int = 0,
    portfolio: Sequence[Candidate] = PORTFOLIO,
    on_progress: Callable[[str, float, float], None] = lambda name, done, total: None,
    clock: Clock = time.monotonic,
) -> Chosen:
    """Score a portfolio of learners on a table by leaving out tasks, fold by fold.

    Every candidate is tried for a few steps first, which shows what it costs; see `training.budget` for how the time is
    divided then.

    Args:
        folds: from a fold to the table's tasks.
        minutes: what all of it may take by the clock, the training of what is chosen on all tasks included. In
            proportion to it grow the steps that a candidate should have. As long as these fit, a result does not depend
            on the clock; where they do not, candidates are trained for fewer steps, or not tested.
        num_folds: parts that the tasks are divided into, each of which is left out once.
        seed: of the trainings and the episodes.
        portfolio: what is tried, in this order.
        on_progress: called with a candidate's name, seconds that are done, and those in all, as far as is known.
        clock: counts seconds; by `time.process_time` a choice does not depend on what else the machine does.

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
        >>> choose(folds, minutes=60, num_folds=3, portfolio=PORTFOLIO[6:8]).best.name
        'ridge'
    """
    above(0, minutes=minutes)
    at_least(3, num_folds=num_folds)
    families = [folds((number, num_folds)) for number in range(num_folds)]
    search = Search(families, Budget(60.0 * minutes, clock), seed, on_progress)
    search.try_all([candidate.in_time(minutes) for candidate in portfolio])
    if search.trials:
        search.test_all()
    if not search.found:
        names = ", ".join(search.left_out)
        raise ValueError(f"No learner can be chosen: {names} diverged. Look for outliers in the targets.")
    found = [*search.found]
    if len(finite := [one for one in found if one.nll < inf]) > 1:
        found.append(stack_of_tested(finite, seed=seed))
    return Chosen(sorted(found, key=lambda tested: tested.nll), search.left_out, search.shortened)
