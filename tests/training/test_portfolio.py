"""The choice of a learner: every task is tested once by one that never saw it, and the better learner wins."""

from typing import Any

import pytest
import torch

from metafunc.data import from_arrays
from metafunc.results.comparison import Entry, compare
from metafunc.training import portfolio
from metafunc.training.portfolio import ALL, PORTFOLIO, Candidate, choose, cross_validated
from metafunc.types import TaskFamily

QUICK = {"minutes": 0.4, "seed": 0}
CHOICE = {**QUICK, "num_folds": 3}
BY_NAME = {candidate.name: candidate for candidate in PORTFOLIO}


def folds(fold: tuple[int, int] | None, **settings: Any) -> TaskFamily:
    """Twelve lines under noise of .3 that are close to each other."""
    noise = torch.randn(12, 8, 3, generator=torch.Generator().manual_seed(0))
    x, of = torch.arange(8.0).repeat(12), torch.arange(12).repeat_interleave(8)
    y = 5 + 2 * x + 0.2 * noise[of, 0, 0] + 0.1 * noise[of, 0, 1] * x + 0.3 * noise[:, :, 2].flatten()
    return from_arrays(x, y, of, num_shots=3, num_queries=5, num_test_queries=5, fold=fold, **settings)


FAMILIES = [folds((number, 3)) for number in range(3)]


def test_what_tasks_have_in_common_wins_over_the_support_set_alone() -> None:
    reported = []
    chosen = choose(
        folds,
        **CHOICE,
        portfolio=[BY_NAME["ridge"], BY_NAME["mixed"]],
        on_progress=lambda name, done, total: reported.append((name, done, total)),
    )
    assert chosen.best.name == "mixed"
    assert chosen.tested[0].nll < chosen.tested[1].nll
    assert reported == [("ridge", 0, 2), ("mixed", 1, 2)]
    assert chosen.left_out == {}
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
    each = [cross_validated(BY_NAME[name], FAMILIES, **QUICK) for name in ("ridge", "gp_support", "maml")]
    entries = [
        Entry(one.candidate.name, (0,), (one.evaluation,), one.steps, one.seconds, one.parameters) for one in each
    ]
    assert [row["steps"] for row in compare("regression", entries)["rows"]] == [1, 1, 5]


def test_a_learner_that_diverges_is_left_out() -> None:
    wild = Candidate("wild", {"name": "maml", "num_steps": 5, "inner_lr": 1e6}, steps=100)
    found = choose(folds, **CHOICE, portfolio=[wild, BY_NAME["ridge"]])
    assert (found.best.name, found.left_out) == ("ridge", {"wild": "diverged"})
    with pytest.raises(ValueError, match="No learner can be chosen: wild diverged"):
        choose(folds, **CHOICE, portfolio=[wild])


def test_no_candidate_is_begun_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = iter(range(100))
    monkeypatch.setattr(portfolio.time, "monotonic", lambda: 3600.0 * next(hours))
    found = choose(folds, **CHOICE, portfolio=[BY_NAME["ridge"], BY_NAME["gp_support"]])
    assert (found.best.name, found.left_out) == ("ridge", {"gp_support": "no time"})


def test_the_last_training_is_on_all_tasks() -> None:
    config = BY_NAME["mixed"].config({"name": "regression"}, minutes=5.0, seed=3)
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
