"""Which validation is the best may be decided by another metric than the first of the kind."""

import functools

import pytest
import torch

from metafunc import Outer, algorithms, fit, nn
from metafunc.data import from_arrays, regression, sinusoid, trend
from metafunc.training.config import train
from metafunc.training.settings import Validation


def learner(name, **settings):
    return algorithms.build(name, nn.mlp, (1,), "regression", 1, **settings)


def test_the_best_validation_is_the_best_by_its_metric():
    found = []
    trained = fit(
        learner("vampire", noise="learned", num_particles=2, num_samples=1, num_steps=1),
        sinusoid(),
        steps=4,
        num_tasks=2,
        validation=Validation(every=1, num_tasks=3, metric="nll"),
        on_event=lambda event: found.append(event.values["validation"]) if event.phase == "validation" else None,
    )
    assert [*trained.validation] == ["nll"]
    assert len(found) == 4
    assert all([*scores] == ["nll"] for scores in found)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("nll", "Validation by nll needs predictions with a noise scale"),
        ("accuracy", "metric must be one of .*, not 'accuracy'"),
    ],
)
def test_a_metric_that_predictions_do_not_have_is_refused_before_the_first_step(metric, message):
    steps = []
    with pytest.raises(ValueError, match=message):
        fit(
            learner("maml"),
            sinusoid(),
            steps=1,
            validation=Validation(every=1, metric=metric),
            on_event=steps.append,
        )
    assert steps == []


def test_a_configuration_names_it():
    config = {
        "algorithm": {"name": "vampire", "noise": "learned", "num_samples": 1, "num_steps": 1},
        "tasks": {"name": "sinusoid"},
        "training": {"steps": 1, "validate_every": 1, "validation_tasks": 2, "validate_by": "nll"},
    }
    assert [*train(config).fit.validation] == ["nll"]


def table(tmp_path):
    """A table of twenty-five tasks whose lines all rise."""
    rows = [f"{task},{x},{(task * 7 % 5) / 4 + x + 0.1 * ((task + 3 * x) % 3)}" for task in range(25) for x in range(9)]
    file = tmp_path / "lines.csv"
    file.write_text("\n".join(["task,x,y", *rows]))
    return regression(str(file), num_shots=4, num_test_queries=4)


def warnings_of(family, *, maximize, every=1):
    found = []
    fit(
        learner("mixed", num_train_tasks=16),
        family,
        steps=6,
        num_tasks=4,
        validation=Validation(every=every, num_tasks=24),
        outer=Outer(functools.partial(torch.optim.Adam, lr=0.05, maximize=maximize)),
        on_event=lambda event: found.append(event) if event.phase in ("warning", "validation") else None,
    )
    return [event for event in found if event.phase == "warning" and "better before training" in event.message], found


def test_a_training_that_makes_it_worse_is_warned_of_once_and_only_on_a_table(tmp_path):
    family = table(tmp_path)
    warned, found = warnings_of(family, maximize=True)
    assert len(warned) == 1
    assert "(nll " in warned[0].message
    assert "at the start" in warned[0].message
    assert "stop early" in warned[0].message
    assert sum(event.phase == "validation" for event in found) == 6, "the first is no event of its own"
    assert warnings_of(family, maximize=False)[0] == []
    assert warnings_of(family, maximize=True, every=None)[0] == []
    assert warnings_of(trend(), maximize=True)[0] == []


@pytest.mark.parametrize(("fractions", "message"), [((0.8, 0.1, 0.1), "too few"), ((1.0, 0.0, 0.0), "left out")])
def test_no_checkpoint_is_chosen_on_few_tasks_or_on_those_of_the_training(fractions, message):
    x, tasks = torch.arange(400.0) % 10, torch.arange(400) // 10
    family = from_arrays(x, x * tasks, tasks, num_shots=3, num_queries=4, fractions=fractions)
    warned = []
    found = fit(
        learner("alpaca"),
        family,
        steps=4,
        num_tasks=2,
        validation=Validation(every=1, num_tasks=20),
        on_event=lambda event: warned.append(event.message) if event.phase == "warning" else None,
    )
    assert found.best is found.meta
    assert len([text for text in warned if message in text]) == 1
