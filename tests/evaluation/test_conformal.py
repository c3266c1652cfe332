"""Conformal prediction over tasks: it covers what it claims, and what is almost the same does not."""

import math

import pytest
import torch

import metafunc
from metafunc import algorithms, data, nn, tree
from metafunc.evaluation.conformal import Conformal, calibrate, first_of_each, row_scores, sizes, threshold_of
from metafunc.evaluation.scoring import Draws
from metafunc.nn import likelihood
from metafunc.types import Categorical, Normal

LEVEL, NUM_TASKS, NUM_ROWS, REPEATS = 0.8, 4, 30, 4000


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of validation tasks, (repeats, tasks, rows), and of a row of a new task; tasks differ more than rows."""
    generator = torch.Generator().manual_seed(seed)

    def scores(*shape: int) -> torch.Tensor:
        task = torch.randn(*shape[:2], 1, generator=generator).mul(2.0).exp()
        return task * torch.randn(*shape, generator=generator).abs()

    return scores(REPEATS, NUM_TASKS, NUM_ROWS), scores(REPEATS, 1, 1)[:, 0, 0]


def covered(scores: torch.Tensor, new: torch.Tensor, threshold) -> float:
    return sum(float(row <= threshold(each)) for each, row in zip(scores, new, strict=True)) / len(new)


def test_a_row_of_each_task_covers_what_is_claimed() -> None:
    share = covered(*drawn(0), lambda scores: threshold_of(scores[:, 0], LEVEL))
    # The largest of four scores: exactly .8, within four standard errors of the simulation.
    assert abs(share - 0.8) < 4 * math.sqrt(0.16 / REPEATS)


def test_rows_pooled_over_tasks_and_a_plain_quantile_cover_less() -> None:
    scores, new = drawn(0)
    for wrong in (
        lambda each: threshold_of(each.flatten(), LEVEL),
        lambda each: float(each[:, 0].quantile(LEVEL)),
    ):
        assert covered(scores, new, wrong) < LEVEL - 4 * math.sqrt(0.16 / REPEATS)


def test_too_few_tasks_promise_nothing_but_everything() -> None:
    assert threshold_of(torch.arange(8.0), 0.9) == math.inf
    assert threshold_of(torch.arange(9.0), 0.9) == 8.0
    assert threshold_of(torch.arange(19.0), 0.9) == 17.0


def test_scores_and_sizes_are_those_of_the_formulas() -> None:
    found = Normal(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[2.0, 0.5]]]))
    assert row_scores(found, torch.tensor([[3.0, 2.0]])).tolist() == [4.0]
    assert sizes(found, 3.0).tolist() == [pytest.approx((12.0 + 3.0) / 2)]
    classes = Categorical(torch.tensor([[[0.7, 0.2, 0.1]]]).log())
    assert row_scores(classes, torch.tensor([1])).tolist() == [pytest.approx(0.8)]
    assert [sizes(classes, threshold).item() for threshold in (0.5, 0.85, 1.0)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("family", [data.sinusoid(num_test_queries=20), data.circles()], ids=lambda family: family.name)
def test_a_learner_that_knows_nothing_is_covered_all_the_same(family) -> None:
    observed = likelihood.for_kind(family.kind, family.num_outputs)
    learner = algorithms.maml(nn.mlp(family.input_shape, family.num_outputs), observed)
    meta = learner.init(torch.Generator().manual_seed(0))
    found = metafunc.conformal(learner, meta, family, level=0.8, num_tasks=100, num_validation_tasks=199)
    assert abs(float(found.coverage.mean()) - 0.8) < 0.12
    assert found.size.mean() > 0
    printed = found.to_json()
    assert printed["coverage"]["mean"] == pytest.approx(float(found.coverage.double().mean()))
    again = metafunc.conformal(learner, meta, family, level=0.8, num_tasks=100, num_validation_tasks=199)
    assert again.threshold == found.threshold


def test_a_threshold_makes_intervals_that_hold_rows_of_new_tasks() -> None:
    family = data.sinusoid(num_test_queries=5)
    learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
    meta = learner.init(torch.Generator().manual_seed(0))
    threshold = calibrate(learner, meta, family, level=0.8, num_validation_tasks=199)
    report = metafunc.conformal(learner, meta, family, level=0.8, num_tasks=60, num_validation_tasks=199)
    assert threshold.value == report.threshold
    held = []
    blocks = Draws(learner, meta, family.test, 0, "test", 60).blocks()
    for task in (task for block in blocks for task in tree.unstack(block)):
        lower, upper = threshold.interval(metafunc.predict(learner, meta, task.support, task.query.x))
        held.append(((lower <= task.query.y) & (task.query.y <= upper)).float().mean())
    torch.testing.assert_close(torch.stack(held), report.coverage)


def test_each_of_a_few_tasks_counts_once() -> None:
    """Drawn again and again, eight tasks would decide a level of .9, which eight scores cannot."""
    x = torch.linspace(-1, 1, 16).repeat(40)
    number = torch.arange(40).repeat_interleave(16)
    table = data.from_arrays(x, number * x, number, num_shots=5)
    learner = algorithms.ridge(likelihood.gaussian())
    meta = learner.init(torch.Generator())
    few = calibrate(learner, meta, table, level=0.9)
    assert few.num_validation_tasks == table.info["tasks"]["validation"] < 9
    assert few.value == math.inf
    assert calibrate(learner, meta, table, level=0.5).value < math.inf


def test_what_makes_no_sense_is_refused() -> None:
    learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
    meta = learner.init(torch.Generator().manual_seed(0))
    for level in (0.0, 1.0, 90.0):
        with pytest.raises(ValueError, match="level must lie between 0 and 1"):
            metafunc.conformal(learner, meta, data.sinusoid(), level=level)
    nothing = Conformal(0.99, math.inf, torch.ones(3), torch.full((3,), math.inf), 3).to_json()
    assert nothing["threshold"] is None
    assert nothing["size"]["mean"] is None


def test_episodes_that_share_a_class_with_an_earlier_one_do_not_count():
    """Their scores depend on each other, so that 200 episodes of eight classes would cover less than they promise."""
    groups = torch.tensor([[0, 1], [1, 2], [3, 2], [4, 5], [5, 6], [0, 7]])
    assert first_of_each(groups, 6).tolist() == [0, 2, 3]
    assert first_of_each(None, 3).tolist() == [0, 1, 2]
