"""What is left to learn along a training: of its own validation tasks, beyond their exact prediction."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metafunc.evaluation import meta_test
from metafunc.evaluation.gap import optimal_nll
from metafunc.results import gap_in_training
from metafunc.results.compared import Compared
from metafunc.results.comparison import Entry
from metafunc.results.gap_in_training import gaps
from metafunc.training.config import build, train
from metafunc.training.run import Run

NOISY = {"name": "sinusoid", "noise": 0.3, "num_shots": 5, "num_test_queries": 8}
STEPS, TASKS = (2, 4, 6), 6
CLOCK = {2: 0.5, 4: 1.0, 6: 2.5}


def trained(folder: Path, *, seed: int = 0, algorithm: str = "cnp", tasks: dict[str, Any] = NOISY) -> Compared:
    training = {"steps": STEPS[-1], "seed": seed, "num_tasks": 2, "validate_every": 2, "validation_tasks": TASKS}
    config = {"algorithm": {"name": algorithm}, "tasks": tasks, "training": training}
    learner, family = build(config)
    found = train(config, out=folder, built=(learner, family))
    test = meta_test.evaluate(learner, found.fit.meta, family, num_tasks=4, num_steps=1, gap=False)
    return Compared(Entry(algorithm, (seed,), (test,), 1, 1.0, 1), (Run(folder),), learner, found.fit.meta, (CLOCK,))


def together(*each: Compared, clocks: tuple[dict[int, float], ...]) -> Compared:
    """Trainings of one learner."""
    first = each[0]
    return Compared(first.entry, tuple(one.runs[0] for one in each), first.learner, first.meta, clocks)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Compared]:
    folder = tmp_path_factory.mktemp("runs")
    return [trained(folder / f"cnp-{seed}", seed=seed) for seed in (0, 1)]


def test_the_last_gap_is_that_of_a_test_on_the_validation_tasks(two: list[Compared]) -> None:
    """By another route: the meta-parameters after the last step, tested on the tasks of the training's own seed."""
    for seed, one in enumerate(two):
        (points,) = gaps([one]).values()
        assert [point.at for point in points] == [0.5, 1.0, 2.5]
        _, family = build(one.runs[0].config)
        expected, others = (
            meta_test.evaluate(one.learner, one.meta, family, num_tasks=TASKS, num_steps=1, seed=other, split=split)
            for other, split in ((seed, "validation"), (seed, "test"))
        )
        last = points[-1]
        assert last.mean == pytest.approx(expected.by_step[1]["gap"]["mean"], abs=1e-5)
        assert last.low == last.mean == last.high
        assert last.mean != pytest.approx(others.by_step[1]["gap"]["mean"], abs=1e-2), "other tasks are a wrong twin"


def test_several_trainings_have_their_mean_with_the_least_and_the_greatest(two: list[Compared]) -> None:
    each = [gaps([one])["cnp"] for one in two]
    later = {step: 3 * seconds for step, seconds in CLOCK.items()}
    points = gaps([together(*two, clocks=(CLOCK, later))])["cnp"]
    assert [point.at for point in points] == [1.0, 2.0, 5.0]
    for point, *alone in zip(points, *each, strict=True):
        means = [one.mean for one in alone]
        assert (point.low, point.high) == (min(means), max(means))
        assert point.mean == pytest.approx(sum(means) / 2)
    missing = {step: seconds for step, seconds in CLOCK.items() if step != 4}
    assert len(gaps([together(*two, clocks=(CLOCK, missing))])["cnp"]) == 2, "validations that both have"
    assert not gaps([together(*two, clocks=(CLOCK, {2: 1.0}))]), "one point is no line"


def test_the_optimum_is_found_once_for_all_who_share_their_validation_tasks(
    two: list[Compared], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int, str]] = []

    def counted(family: Any, *, num_tasks: int, seed: int, split: str) -> Any:
        asked.append((num_tasks, seed, split))
        return optimal_nll(family, num_tasks=num_tasks, seed=seed, split=split)

    monkeypatch.setattr(gap_in_training, "optimal_nll", counted)
    gaps([two[0], two[1], two[0], together(*two, clocks=(CLOCK, CLOCK))])
    assert asked == [(TASKS, 0, "validation"), (TASKS, 1, "validation")]


@pytest.mark.parametrize("without", ["clock", "spread", "noise"])
def test_what_is_not_known_has_no_line(without: str, two: list[Compared], tmp_path: Path) -> None:
    """Without times of its validations, a likelihood in them, or a best prediction that could be had."""
    if without == "clock":
        one = together(two[0], clocks=())
    elif without == "spread":
        one = trained(tmp_path / "run", algorithm="maml")
    else:
        one = trained(tmp_path / "run", tasks={**NOISY, "noise": 0.0})
    other = replace(one, entry=replace(one.entry, algorithm="other"))
    assert [*gaps([two[0], other])] == ["cnp"]
