"""The temperature of a trained learner: found on other tasks than it is judged on, and only where it is worth it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc import evaluate
from metafunc.algorithms.stacking import Member, stacked
from metafunc.bayes.untrained import untrained
from metafunc.data import from_arrays
from metafunc.evaluation.held_out import RowDensities, row_densities
from metafunc.evaluation.meta_test import Evaluation
from metafunc.evaluation.scoring import Draws
from metafunc.training import candidates
from metafunc.training.budget import Cost
from metafunc.training.candidates import Candidate, FoldResult, Part, Tested, pooled
from metafunc.training.spread import PLAIN, PRIOR_SPREAD, TEMPERATURES, best_temperature
from metafunc.types import Batch, Normal, TaskFamily


def claims(scale: float) -> Any:
    """A learner that predicts 0 with one scale, of targets that are standard normals."""

    def predict(task: Tensor, x: Tensor) -> Normal:
        return Normal(x.new_zeros(1, len(x), 1), x.new_tensor(scale))

    return untrained(lambda support: support.y.sum(), predict)


def fold(number: int) -> TaskFamily:
    """A third of thirty tasks of twelve standard normals."""
    y = torch.randn(360, generator=torch.Generator().manual_seed(1))
    tasks, x = torch.arange(360) // 12, torch.arange(360.0) % 12
    return from_arrays(x, y, tasks, num_shots=3, num_queries=9, num_test_queries=9, fold=(number, 3))


def result(scale: float, number: int) -> FoldResult:
    learner, family = claims(scale), fold(number)
    meta = learner.init(torch.Generator())
    episodes = candidates.episodes_of(family)
    evaluation = evaluate(learner, meta, family, num_tasks=episodes, num_steps=1, seed=0)
    densities = row_densities(Draws(learner, meta, family.test, 0, "test", episodes), 1, (), TEMPERATURES)
    return FoldResult(Part(learner, meta, family, None, densities, 1), evaluation, 1, Cost(0.0, 0.0, 0.0), 0.0)


def judged(scale: float) -> Tested:
    return pooled(Candidate("claims", {"name": "ridge"}), [result(scale, number) for number in range(3)], seed=0)


def covered(evaluation: Evaluation) -> float:
    """The share of targets in their 90 % intervals."""
    below, count = evaluation.counts["calibration_error"][1].sum(0).flatten().chunk(2)
    return float((below[-1] - below[0]) / count[0])


@pytest.mark.parametrize("scale", [0.5, 2.5])
def test_intervals_cover_what_they_say_on_tasks_that_had_no_say(scale: float) -> None:
    found = judged(scale)
    before = torch.cat([result(scale, number).evaluation.values["nll"][1] for number in range(3)]).mean()
    assert found.temperature == pytest.approx(1 / scale, rel=0.15)
    assert 0.85 < covered(found.evaluation) < 0.95
    assert found.nll < before - 0.1
    kept = found.kept.config({"name": "regression"}, seed=0)["algorithm"]
    assert kept["members"][0]["temperature"] == found.temperature
    assert found.kept.name == "claims"


def test_what_is_right_is_left_as_it_is() -> None:
    found = judged(1.0)
    assert found.temperature == 1
    assert found.kept is found.candidate


def test_a_fold_has_no_say_in_its_own_temperature() -> None:
    results = [result(0.5, number) for number in range(3)]
    part = results[0].part
    values = part.densities.values.clone()
    values[-1] += 1e3  # its own rows ask for the largest temperature
    spoiled = results[0]._replace(part=part._replace(densities=part.densities._replace(values=values)))
    candidate = Candidate("claims", {"name": "ridge"})
    one, other = (
        pooled(candidate, each, seed=0).evaluation.values["nll"][1] for each in (results, [spoiled, *results[1:]])
    )
    first = len(one) // 3
    assert torch.equal(one[:first], other[:first])
    assert not torch.allclose(one[first:], other[first:])
    assert candidates.temperature_of([spoiled.part, *(each.part for each in results[1:])], 1) == TEMPERATURES[-1]


def test_few_tasks_are_held_near_one_and_a_nat_is_what_a_temperature_costs() -> None:
    """Log-densities quadratic in log T: the maximum is known."""
    wanted = 2.0
    values = -(TEMPERATURES.log() - torch.tensor(wanted).log())[:, None].square().expand(-1, 4)

    def place(tasks: int) -> int:
        return best_temperature([RowDensities(values, torch.ones(4))], [tasks])

    for tasks in (8, 100):
        shrunk = tasks * torch.tensor(wanted).log() / (tasks + 0.5 / PRIOR_SPREAD**2)
        assert TEMPERATURES[place(tasks)].log() == pytest.approx(float(shrunk), abs=0.045)
    assert place(2) == PLAIN


def test_a_member_of_a_stack_predicts_at_its_temperature() -> None:
    learner = stacked([Member(claims(2.0), 1.0, temperature=3.0)])
    rows = Batch(torch.zeros(2, 1), torch.zeros(2, 1))
    task = learner.adapt(learner.init(torch.Generator()), rows)
    assert learner.predict(task, rows.x).scale.unique().tolist() == [6.0]
    assert learner.joint is not None
    expected = 2 * Normal(torch.zeros(()), torch.tensor(6.0)).log_prob(torch.zeros(()))
    assert torch.allclose(learner.joint(task, rows), expected)
    with pytest.raises(ValueError, match="temperature"):
        replace(Member(claims(2.0), 1.0), temperature=0.0)
