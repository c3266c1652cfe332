"""Checks of a user-supplied learner, and of the rows of the table."""

from dataclasses import replace

import pytest

from metafunc import algorithms, testing
from metafunc.nn import likelihood
from metafunc.testing import network
from metafunc.testing.diagnosis.inputs import InputsError
from metafunc.testing.diagnosis.learner import examine_algorithm, examine_learner


def test_a_learner_is_checked_on_tasks_that_it_takes():
    learner = algorithms.maml(network((4,), 2), likelihood.gaussian(2), inner_lr=0.1, num_steps=3)
    checklist = examine_learner(learner)
    assert "inner steps: 3" in checklist.notes[0]
    assert all(report.holds for report in checklist.run())
    stopped = algorithms.fomaml(network((4,), 2), likelihood.categorical(2), inner_lr=0.1, num_steps=1)
    wrong = {report.identity: report for report in examine_learner(stopped).run()}
    assert not wrong["meta_derivative"].holds
    assert "--first-order" in wrong["meta_derivative"].claim
    assert all(report.holds for report in examine_learner(stopped, exact=False).run())


def test_a_learner_without_tasks_that_it_takes_is_refused():
    learner = algorithms.maml(network((4,), 2), likelihood.gaussian(2))
    with pytest.raises(InputsError, match="rows of shape"):
        examine_learner(learner, input_shape=(9,))
    tasks = testing.random_tasks("regression", num_outputs=2)
    with pytest.raises((RuntimeError, TypeError)):
        examine_learner(replace(learner, path=None), tasks=tasks)


def test_an_algorithm_of_the_table_is_checked_on_all_its_tasks():
    checklist = examine_algorithm("protonet")
    assert all(step.summary.startswith("classification: ") for step in checklist.steps)
    assert all(report.holds for report in checklist.run())
