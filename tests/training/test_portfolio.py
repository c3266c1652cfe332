"""The choice of a learner: every task is tested once by one that never saw it, and the better learner wins."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import torch

from metafunc.data import from_arrays
from metafunc.results.comparison import Entry, compare
from metafunc.training.portfolio import ALL, PORTFOLIO, USUAL_MINUTES, Candidate, choose, cross_validated
from metafunc.types import TaskFamily

QUICK = {"seed": 0}
CALLS = count()
CHOICE = {**QUICK, "minutes": 0.4, "num_folds": 3, "clock": lambda: next(CALLS) / 1000}
BY_NAME = {candidate.name: candidate for candidate in PORTFOLIO}


def folds(fold: tuple[int, int] | None, **settings: Any) -> TaskFamily:
    """Twelve lines under noise of .3 that are close to each other."""
    noise = torch.randn(12, 8, 3, generator=torch.Generator().manual_seed(0))
    x, of = torch.arange(8.0).repeat(12), torch.arange(12).repeat_interleave(8)
    y = 5 + 2 * x + 0.2 * noise[of, 0, 0] + 0.1 * noise[of, 0, 1] * x + 0.3 * noise[:, :, 2].flatten()
    return from_arrays(x, y, of, num_shots=3, num_queries=5, num_test_queries=5, fold=fold, **settings)


FAMILIES = [folds((number, 3)) for number in range(3)]


def test_what_tasks_have_in_common_wins_over_the_support_set_alone() -> None:
    reported: list[tuple[str, float, float]] = []
    chosen = choose(
        folds,
        **CHOICE,
        portfolio=[BY_NAME["mixed"], BY_NAME["ridge"]],
        on_progress=lambda *said: reported.append(said),
    )
    assert chosen.best.name == "mixed"
    assert chosen.tested[0].nll < chosen.tested[1].nll
    assert [name for name, _, _ in reported] == ["mixed", "ridge", "mixed", "mixed", "mixed", "ridge", "ridge"]
    done, (total,) = [done for _, done, _ in reported], {total for _, _, total in reported[2:]}
    assert done == sorted(done)
    assert done[-1] < total
    assert (chosen.left_out, chosen.shortened) == ({}, {})
    again = choose(folds, **CHOICE, portfolio=[BY_NAME["mixed"]])
    assert again.tested[0].nll == chosen.tested[0].nll, "called twice: bitwise the same"


def test_every_task_is_tested_once_by_a_learner_that_never_saw_it() -> None:
    tested = cross_validated(BY_NAME["ridge"], FAMILIES, **QUICK)
    groups = tested.evaluation.origin.groups
    assert groups is not None
    assert sorted(groups.unique().tolist()) == list(range(12))
    families = [folds((i, 3)) for i in range(3)]
    seen = [{*family.train.groups(torch.Generator(), 200)[:, 0].tolist()} for family in families]  # type: ignore[attr-defined]
    of = [{*family.test.groups(torch.Generator(), 200)[:, 0].tolist()} for family in families]  # type: ignore[attr-defined]
    assert all(not (a & b) for a, b in zip(seen, of, strict=True))
    assert sorted(task for each in of for task in each) == list(range(12))


def test_all_of_the_portfolio_can_be_compared() -> None:
    """Those without a noise model have their scale from validation tasks, and the same metrics as the others."""
    each = [cross_validated(BY_NAME[name].in_time(0.1), FAMILIES, **QUICK) for name in ("ridge", "maml")]
    entries = [
        Entry(one.candidate.name, (0,), (one.evaluation,), one.steps, one.seconds, one.parameters) for one in each
    ]
    assert [row["steps"] for row in compare("regression", entries)["rows"]] == [1, 5]


def test_a_learner_that_diverges_is_left_out() -> None:
    wild = Candidate("wild", {"name": "maml", "num_steps": 5, "inner_lr": 1e6}, steps=100)
    found = choose(folds, **CHOICE, portfolio=[wild, BY_NAME["ridge"]])
    assert (found.best.name, found.left_out) == ("ridge", {"wild": "diverged"})
    with pytest.raises(ValueError, match="No learner can be chosen: wild diverged"):
        choose(folds, **CHOICE, portfolio=[wild])


@pytest.mark.parametrize(("minutes", "steps"), [(25.0, 300), (15.0, 150), (7.5, 75)])
def test_as_many_steps_are_taken_as_there_is_time_for(minutes: float, steps: int) -> None:
    """By a clock that counts a second a step, 300 steps on three folds and once on all tasks are twenty minutes."""
    seconds = count()
    mixed = replace(BY_NAME["mixed"], steps=round(300 * USUAL_MINUTES / minutes))
    found = choose(folds, seed=0, num_folds=3, minutes=minutes, portfolio=[mixed], clock=lambda: float(next(seconds)))
    last = found.best.config({"name": "regression"}, seed=0)["training"]["steps"]
    assert last == steps
    assert found.shortened == ({} if steps == 300 else {"mixed": 300})
    assert 30 * minutes < next(seconds) + last < 60 * minutes


def test_candidates_that_there_is_no_time_for_are_left_out() -> None:
    hours = count()
    clocked = {**CHOICE, "clock": lambda: 3600.0 * next(hours)}
    found = choose(folds, **clocked, portfolio=[BY_NAME["ridge"], BY_NAME["gp_support"]])
    assert (found.best.name, found.left_out) == ("ridge", {"gp_support": "no time"})


def test_a_machine_that_becomes_slower_costs_candidates_and_not_time() -> None:
    def left_out(later: float) -> Mapping[str, str]:
        """Where a look at the clock takes so many seconds once gp_support is on its second fold."""
        now, second = [0.0], [0.01]

        def clock() -> float:
            now[0] += second[0]
            return now[0]

        def watched(name: str, done: float, total: float) -> None:
            second[0] = later if name == "gp_support" and total != 60.0 else 0.01

        pair = [BY_NAME["ridge"], BY_NAME["gp_support"]]
        return choose(
            folds, seed=0, num_folds=3, minutes=1.0, portfolio=pair, clock=clock, on_progress=watched
        ).left_out

    assert left_out(0.01) == {}
    assert left_out(60.0) == {"gp_support": "no time"}


def test_all_makes_training_tasks_of_all_tasks() -> None:
    config = BY_NAME["mixed"].config({"name": "regression"}, seed=3)
    family = folds(**ALL)
    assert family.info["tasks"] == {"train": 12, "validation": 0, "test": 0}
    assert config["training"]["steps"] == BY_NAME["mixed"].steps
    assert family.test.of == "training tasks"  # type: ignore[attr-defined]


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="minutes must be"):
        choose(folds, minutes=0)
    with pytest.raises(ValueError, match="num_folds must be at least 3"):
        choose(folds, num_folds=2)
    with pytest.raises(ValueError, match="12 tasks, fewer than 13 folds"):
        choose(folds, num_folds=13, portfolio=PORTFOLIO[:1])
