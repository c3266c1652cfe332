"""Meta-tests by number of support rows, and joint scores row by row, against the tasks one by one."""

import json
import math
from dataclasses import replace

import pytest
import torch

import metafunc
from metafunc import algorithms, data, tree
from metafunc.data.sampling import generator_for
from metafunc.evaluation import autoregressive
from metafunc.evaluation.by_shots import evaluate_by_shots, rows
from metafunc.execution.plan import Execution
from metafunc.nn import mlp
from metafunc.nn.likelihood import gaussian

FAMILY = data.sine_or_line(num_shots=6, num_test_queries=7)


def started(builder=algorithms.alpaca, **settings):
    learner = builder(mlp((1,), 40 if builder is algorithms.alpaca else 1), gaussian(), **settings)
    return learner, learner.init(torch.Generator().manual_seed(0))


def test_each_number_of_shots_has_the_scores_of_the_first_rows():
    learner, meta = started()
    found = evaluate_by_shots(
        FAMILY, (6, 2), lambda family: metafunc.evaluate(learner, meta, family, num_tasks=30, num_steps=1)
    )
    assert [*found] == [2, 6]
    tasks = FAMILY.test(generator_for(0, "test", 0), 25)
    for shots, result in found.items():
        task = tree.at(tasks, 4)
        support = task.support._replace(x=task.support.x[:shots], y=task.support.y[:shots])
        predictive = learner.predict(learner.adapt(meta, support), task.query.x)
        nll = -predictive.log_prob(task.query.y).mean()
        assert result.values["nll"][1, 4] == pytest.approx(nll.item(), rel=1e-4)
        joint = -learner.joint(learner.adapt(meta, support), task.query) / 7
        assert result.values["joint_nll"][1, 4] == pytest.approx(joint.item(), rel=1e-4)
    described = rows(found, step=1)
    assert [(row["shots"], row["step"]) for row in described] == [(2, 1), (6, 1)]
    assert described[0]["nll"]["mean"] == pytest.approx(found[2].values["nll"][1].mean().item(), rel=1e-5)
    json.dumps(described, allow_nan=False)
    assert rows(found, step=9)[0]["step"] == 1


def test_the_noise_scale_is_fitted_with_as_many_shots():
    learner, meta = started(algorithms.maml, inner_lr=0.05, num_steps=3)
    found = evaluate_by_shots(
        FAMILY, (1, 6), lambda family: metafunc.evaluate(learner, meta, family, num_tasks=5, num_steps=3)
    )
    assert found[1].pooled["noise_scale"][3] != found[6].pooled["noise_scale"][3]


@pytest.mark.parametrize(("shots", "message"), [((), "No number of shots"), ((-1, 2), "at least 0"), ((7,), "7 shots")])
def test_numbers_of_shots_that_cannot_be_had_are_refused_before_any_work(shots, message):
    def never(family):
        raise AssertionError

    with pytest.raises(ValueError, match=message):
        evaluate_by_shots(FAMILY, shots, never)


def test_row_by_row_an_exact_learner_has_its_own_joint_score():
    learner, meta = started()
    found = metafunc.evaluate(learner, meta, FAMILY, num_tasks=30, num_steps=1, joint="autoregressive")
    torch.testing.assert_close(found.autoregressive, found.values["joint_nll"][1], rtol=1e-4, atol=1e-4)
    described = found.to_json()["autoregressive"]["joint_nll"]
    assert described["mean"] == pytest.approx(found.autoregressive.mean().item(), rel=1e-5)
    plain = metafunc.evaluate(learner, meta, FAMILY, num_tasks=30, num_steps=1)
    assert plain.autoregressive is None
    assert "autoregressive" not in plain.to_json()
    assert torch.equal(plain.values["joint_nll"], found.values["joint_nll"])


def test_chunks_do_not_change_the_order_and_rows_can_be_fewer():
    learner, meta = started(algorithms.maml, inner_lr=0.05, num_steps=2)

    def tested(joint_rows=None, chunk_size=None):
        return metafunc.evaluate(
            learner,
            meta,
            FAMILY,
            num_tasks=28,
            num_steps=1,
            num_validation_tasks=25,
            joint="autoregressive",
            joint_rows=joint_rows,
            execution=Execution(chunk_size=chunk_size),
        ).autoregressive

    whole = tested()
    for chunk_size in (3, 20):
        torch.testing.assert_close(tested(chunk_size=chunk_size), whole, rtol=1e-4, atol=1e-5)
    few = tested(joint_rows=1)
    assert not torch.allclose(few, whole, rtol=1e-2)
    # One row alone is the first query row, predicted from the support set, with the noise of two steps.
    scale = math.sqrt(_squared_errors(learner, meta).mean())
    task = tree.at(FAMILY.test(generator_for(0, "test", 0), 25), 3)
    predictive = learner.predict(learner.adapt(meta, task.support), task.query.x[:1])._replace(
        scale=torch.tensor(scale)
    )
    assert few[3] == pytest.approx(-predictive.log_prob(task.query.y[:1]).item(), rel=1e-3)


def _squared_errors(learner, meta):
    tasks = FAMILY.validation(generator_for(0, "validation", 0), 25)
    each = [learner.predict(learner.adapt(meta, t.support), t.query.x).loc[0] - t.query.y for t in tree.unstack(tasks)]
    return torch.stack(each).square()


def test_padding_of_query_sets_does_not_count():
    family = data.gp(num_shots=5, num_queries=(2, 6))
    learner, meta = started()
    found = metafunc.evaluate(learner, meta, family, num_tasks=10, num_steps=1, joint="autoregressive")
    tasks = family.test(generator_for(0, "test", 0), 10)
    counts = tasks.query.mask.sum(1).long()
    assert counts.unique().numel() > 1
    for i, task in enumerate(tree.unstack(tasks)):
        query = task.query._replace(x=task.query.x[: counts[i]], y=task.query.y[: counts[i]], mask=())
        joint = -learner.joint(learner.adapt(meta, task.support), query) / counts[i]
        assert found.values["joint_nll"][1, i] == pytest.approx(joint.item(), rel=1e-4)
        assert found.autoregressive[i] == pytest.approx(joint.item(), rel=1e-3, abs=1e-3)


def test_what_cannot_be_predicted_row_by_row_is_refused():
    learner = algorithms.maml(mlp((1,), 1, normalisation="support"), gaussian())
    meta = learner.init(torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="take a network with normalisation none"):
        metafunc.evaluate(learner, meta, FAMILY, joint="autoregressive")
    plain, meta = started()
    with pytest.raises(ValueError, match="joint_rows must be at least 1"):
        metafunc.evaluate(plain, meta, FAMILY, joint="autoregressive", joint_rows=0)
    with pytest.raises(ValueError, match="own is control"):
        autoregressive.check_row_by_row(plain, replace(FAMILY, name="own", kind="control"))
