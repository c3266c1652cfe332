"""The stack of a portfolio: its score does not see the rows that it is judged on, and its run is a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import metafunc
from metafunc.data import from_arrays
from metafunc.training.build import build, learner_for
from metafunc.training.candidates import Candidate, Tested, cross_validated
from metafunc.training.config import train
from metafunc.training.portfolio import ALL, choose
from metafunc.training.stack_candidates import stack_of_tested
from metafunc.types import TaskFamily

QUICK = {"seed": 0}
PAIR = (Candidate("ridge", {"name": "ridge"}), Candidate("gp", {"name": "gp_support"}))
SUPPORT = metafunc.Batch(torch.tensor([[-1.0], [0.0], [1.0]]), torch.tensor([[-1.0], [0.2], [1.0]]))


def folds(fold: tuple[int, int] | None, **settings: Any) -> TaskFamily:
    """Six lines and six waves: a line through the support suits the former, a smooth function the latter."""
    x, of = torch.linspace(-3, 3, 12).repeat(12), torch.arange(12).repeat_interleave(12)
    noise = 0.1 * torch.randn(144, generator=torch.Generator().manual_seed(0))
    y = torch.where(of % 2 == 0, x * (of - 5) / 5, torch.sin(2 * x + of)) + noise
    return from_arrays(x, y, of, num_shots=6, num_queries=6, num_test_queries=6, fold=fold, **settings)


@pytest.fixture(scope="module")
def tested() -> list[Tested]:
    families = [folds((number, 3)) for number in range(3)]
    return [cross_validated(candidate, families, **QUICK) for candidate in PAIR]


def test_no_row_has_a_say_in_the_weights_it_is_judged_under(tested: list[Tested]) -> None:
    stack = stack_of_tested(tested, seed=0)

    def spoiled(one: Tested, by: float) -> Tested:
        part = one.parts[0]._replace(
            densities=one.parts[0].densities._replace(values=one.parts[0].densities.values + by)
        )
        return replace(one, parts=(part, *one.parts[1:]))

    other = stack_of_tested([spoiled(tested[0], 50.0), tested[1]], seed=0)
    first = len(other.evaluation.values["nll"][1]) // 3
    assert torch.equal(stack.evaluation.values["nll"][1][:first], other.evaluation.values["nll"][1][:first])
    assert not torch.equal(stack.evaluation.values["nll"][1][first:], other.evaluation.values["nll"][1][first:])
    assert stack.candidate.weights != other.candidate.weights  # type: ignore[union-attr]


def test_a_mixture_of_lines_and_waves_needs_both(tested: list[Tested]) -> None:
    stack = stack_of_tested(tested, seed=0)
    assert stack.nll < min(one.nll for one in tested) + 0.02
    assert torch.equal(stack.evaluation.origin.groups, tested[0].evaluation.origin.groups)  # type: ignore[arg-type]
    chosen = choose(folds, num_folds=3, portfolio=PAIR, **QUICK)
    assert [one.candidate.name for one in chosen.tested].count("stack") == 1
    assert sum(chosen.shares.values()) == pytest.approx(1.0)
    assert [*chosen.shares.values()] == sorted(chosen.shares.values(), reverse=True)
    assert choose(folds, num_folds=3, portfolio=PAIR[:1], **QUICK).shares == {}


def test_its_run_can_be_loaded_and_predicts_the_same(tested: list[Tested], tmp_path: Path) -> None:
    from metafunc.sklearn import MetaRegressor, Prior

    config = stack_of_tested(tested, seed=0).candidate.config({"name": "regression"}, **QUICK)
    family = folds(**ALL)
    trained = train(config, out=tmp_path / "run", built=(learner_for(config, family), family))
    learner, meta = metafunc.load(tmp_path / "run")
    predicted = metafunc.predict(learner, meta, SUPPORT, SUPPORT.x)
    again = metafunc.predict(trained.learner, trained.fit.meta, SUPPORT, SUPPORT.x)
    assert torch.equal(predicted.loc, again.loc)  # type: ignore[union-attr]
    assert len(predicted.loc) > 1  # type: ignore[union-attr]
    resumed = train(config, out=tmp_path / "run", resume=True, built=(learner, family))
    assert len(resumed.fit.meta) == len(meta)
    prior = Prior.load(tmp_path / "run")
    rows = SUPPORT.x.numpy(), SUPPORT.y[:, 0].numpy()
    copied = Prior.from_bytes(*prior.to_bytes())
    each = [MetaRegressor(one).fit(*rows).predict(rows[0], True) for one in (prior, copied)]
    assert (each[0][1] == each[1][1]).all()
    assert prior.algorithm == "stack"


@pytest.mark.parametrize(
    ("algorithm", "why"),
    [
        ({"members": []}, "has one setting, members"),
        ({"members": [{"weight": 1.0}]}, "needs config and weight"),
        ({"members": [{"config": {}, "weight": 1.0, "wieght": 1.0}]}, "no setting 'wieght'"),
        ({"members": [{"config": {"algorithm": {"name": "ridge"}}, "weight": "a"}]}, "are numbers"),
        ({"members": [{"config": {"algorithm": {"name": "ridge"}}, "weight": 1.0, "noise_scales": [1.0]}]}, "are two"),
        ({"members": [{"config": {"algorithm": {"name": "rigde"}}, "weight": 1.0}]}, "rigde"),
    ],
)
def test_a_configuration_that_is_no_stack_is_refused(algorithm: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        build({"algorithm": {"name": "stack", **algorithm}, "tasks": {"name": "sinusoid"}})
