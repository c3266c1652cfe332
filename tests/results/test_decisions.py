"""The report of choices: whose intervals are over tasks, and whose ranks are of single runs."""

import re

import pytest
import torch

from metafunc.algorithms import ALGORITHMS
from metafunc.evaluation import metrics
from metafunc.evaluation.sequential.acquisition import ei
from metafunc.results import decisions
from metafunc.testing.problems.small import build_small, network, random_tasks, small
from metafunc.types import Batch

SOURCE = torch.Generator().manual_seed(0)


def test_episodes_of_few_tasks_are_no_more_than_these_tasks() -> None:
    which = torch.arange(48)[:, None] % 4
    of_task = torch.randn(4, generator=SOURCE, dtype=torch.float64)[which]
    own = of_task + 0.1 * torch.randn(48, 1, generator=SOURCE, dtype=torch.float64)
    other = 2 * of_task + 0.1 * torch.randn(48, 1, generator=SOURCE, dtype=torch.float64)
    apart = decisions.report({"a": own, "b": other}, groups=which)
    alone = decisions.report({"a": own, "b": other})
    point = apart[1]["curve"][0]
    assert point["ci95"] == pytest.approx(metrics.half_width([other.mT], which))
    assert point["ci95"] > 3 * alone[1]["curve"][0]["ci95"]
    half = metrics.half_width([other.mT, -own.mT], which)
    assert point["difference"]["high"] - point["difference"]["low"] == pytest.approx(2 * half)
    assert decisions.report({"a": own}, groups=0 * which)[0]["curve"][0]["ci95"] is None, "one task has no spread"


def test_each_random_order_is_ranked_against_single_runs() -> None:
    orders = torch.tensor([0.0, 0.0, 0.9]).double()[:, None, None].expand(3, 4, 1)
    found = decisions.report({"a": torch.full((4, 1), 0.2).double(), "random": orders})
    a, random = (row["curve"][0] for row in found)
    assert random["mean"] == pytest.approx(0.3)
    assert random["rank"] == pytest.approx(4 / 3), "better in two orders of three; the average is worse"
    assert a["rank"] == pytest.approx(5 / 3)
    with pytest.raises(ValueError, match=r"\[1, 2, 3\] orders"):
        decisions.report({"a": orders, "b": orders[:2]})


def test_random_regret_has_every_order_of_the_pool() -> None:
    y = torch.rand(3, 6, 1, generator=SOURCE)
    found = decisions.random_regret(Batch(y, y), num_evaluations=6, sign=1, seed=0)
    assert found.shape == (decisions.RANDOM_ORDERS, 3, 6)
    assert bool((found[..., -1] == 0).all()), "all rows have been seen"
    assert bool((found[0] != found[1]).any())


TASKS = random_tasks("regression", num_outputs=1)


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("maml", "entropy", "entropy is the same for every row: maml predicts with one particle and one noise scale"),
        ("maml", "variance", "Take the acquisition random, or a learner with particles, such as emaml"),
        ("dkt", "bald", "dkt has one particle, which disagrees with no other. Take the acquisition entropy or var"),
        ("maml", "random", None),
        ("emaml", "bald", None),
        ("emaml", "entropy", None),
        ("dkt", "entropy", None),
        ("cnp", "variance", None),
    ],
)
@pytest.mark.parametrize("noise_scale", [None, 0.3])
def test_an_acquisition_that_is_the_same_everywhere_is_refused(
    name: str, how: str, message: str | None, noise_scale: float | None
) -> None:
    learner = build_small(name, network, "regression", 1, **small(ALGORITHMS[name]))
    method = decisions.Method(learner, learner.init(torch.Generator().manual_seed(0)), ei, noise_scale)
    tasks = decisions.prepared(method, TASKS, 0)
    if message is None:
        decisions.check_query(method, name, how, tasks)
        return
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        decisions.check_query(method, name, how, tasks)
    assert "\n" not in str(refused.value)


def test_classes_of_one_particle_have_an_entropy_and_no_disagreement() -> None:
    learner = build_small("maml", network, "classification", 3)
    method = decisions.Method(learner, learner.init(torch.Generator().manual_seed(0)), ei)
    tasks = random_tasks("classification")
    decisions.check_query(method, "maml", "entropy", tasks)
    with pytest.raises(ValueError, match="bald is the same for every row: maml has one particle"):
        decisions.check_query(method, "maml", "bald", tasks)
