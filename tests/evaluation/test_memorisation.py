"""The probe of memorisation against a plain loop."""

import pytest
import torch

import metafunc
from metafunc import algorithms, data, nn, tree
from metafunc.evaluation.scoring import draw
from metafunc.nn import likelihood


def test_the_probe_adapts_on_wrong_support_sets() -> None:
    """Against a loop: no support is no step for MAML, and another task's is that of the task before it in its block."""
    model, family = nn.mlp((1,), 1, hidden=(4,)), data.sinusoid()
    learner = algorithms.maml(model, likelihood.gaussian(), inner_lr=0.05, num_steps=2)
    meta = learner.init(torch.Generator().manual_seed(0))
    result = metafunc.evaluate(learner, meta, family, num_tasks=30, num_steps=2, num_validation_tasks=5)
    found = result.probe
    # One step's rounding under another batching may grow by a few digits.
    assert torch.allclose(found["own"], result.values["mse"][2], rtol=1e-4)
    assert torch.allclose(found["empty"], result.values["mse"][0], rtol=1e-4)
    tasks = [draw(learner, meta, family.test, 0, "test", block, count) for block, count in ((0, 25), (1, 5))]
    expected = []
    for block in tasks:
        each = tree.unstack(block)
        for i, task in enumerate(each):
            params = learner.adapt(meta, each[i - 1].support)
            expected.append((model.apply(params, task.query.x) - task.query.y).square().mean())
    assert torch.allclose(found["shuffled"], torch.stack(expected), rtol=1e-4)
    probe = result.memorisation_probe
    assert probe is not None
    assert probe["metric"] == "mse"
    assert "chance" not in probe
    assert probe["shuffled"]["mean"] == pytest.approx(float(found["shuffled"].mean()))


def test_the_probe_leaves_out_a_task_without_another_one() -> None:
    family = data.sinusoid()
    learner = algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian())
    meta = learner.init(torch.Generator().manual_seed(0))
    one = metafunc.evaluate(learner, meta, family, num_tasks=1, num_steps=0, num_validation_tasks=1)
    assert one.memorisation_probe is None
    more = metafunc.evaluate(learner, meta, family, num_tasks=26, num_steps=0, num_validation_tasks=1)
    assert more.probe["own"].shape == (25,)
