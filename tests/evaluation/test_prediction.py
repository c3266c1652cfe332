"""Predictions are those of the learner adapted by gradient descent, with the noise that it was given."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc import algorithms, nn
from metafunc.evaluation.prediction import predict
from metafunc.nn import likelihood
from metafunc.training.build import own_steps
from metafunc.types import Batch, Normal

RATE = 0.03


def apply(params: dict[str, Tensor], x: Tensor) -> Tensor:
    hidden = torch.relu(x @ params["layer1.weight"].T + params["layer1.bias"])
    return hidden @ params["head.weight"].T + params["head.bias"]


def descended(meta: dict[str, Tensor], x: Tensor, y: Tensor, steps: int) -> dict[str, Tensor]:
    """Gradient descent on the squared error by plain autograd."""
    params = {name: leaf.clone().requires_grad_() for name, leaf in meta.items()}
    for _ in range(steps):
        loss = (apply(params, x) - y).square().mean()
        gradient = torch.autograd.grad(loss, list(params.values()))
        moved = [p - RATE * g for p, g in zip(params.values(), gradient, strict=True)]
        params = {name: leaf.detach().requires_grad_() for name, leaf in zip(params, moved, strict=True)}
    return {name: leaf.detach() for name, leaf in params.items()}


def setting(**hyperparameters: Any) -> tuple[Any, Any, Batch, Tensor]:
    model = nn.mlp((2,), 1, hidden=(6,))
    learner = algorithms.maml(model, likelihood.gaussian(), **{"inner_lr": RATE, "num_steps": 2, **hyperparameters})
    generator = torch.Generator().manual_seed(0)
    meta = {name: leaf.double() for name, leaf in learner.init(generator).items()}
    draw = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    return learner, meta, Batch(draw[:10, :2], draw[:10, 2:]), draw[10:, :2]


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_predict_adapts_as_gradient_descent_does(steps: int):
    learner, meta, support, x = setting()
    predicted = predict(learner, meta, support, x, num_steps=steps)
    expected = apply(descended(meta, support.x, support.y, steps), x)
    torch.testing.assert_close(predicted.loc[0], expected, rtol=1e-12, atol=1e-12)
    wrong = apply(descended(meta, support.x, support.y, steps + 1), x)
    assert not torch.allclose(predicted.loc[0], wrong, rtol=1e-6)


def test_by_default_the_learner_takes_its_own_number_of_steps():
    learner, meta, support, x = setting(num_steps=3)
    assert torch.equal(predict(learner, meta, support, x).loc, predict(learner, meta, support, x, num_steps=3).loc)
    assert own_steps({"algorithm": {"name": "maml", "num_steps": 3}}) == 3
    assert own_steps({"algorithm": {"name": "anil"}}) == 5
    assert own_steps({"algorithm": {"name": "protonet"}}) == 1
    assert own_steps({"algorithm": {"name": "package.module:mine"}}) is None


def test_many_rows_are_predicted_in_blocks(monkeypatch: pytest.MonkeyPatch):
    learner, meta, support, x = setting()
    whole = predict(learner, meta, support, x)
    monkeypatch.setattr("metafunc.evaluation.prediction.BLOCK", 7)
    torch.testing.assert_close(predict(learner, meta, support, x).loc, whole.loc)
    sizes: list[int] = []

    def watched(params: Any, rows: Tensor) -> Normal:
        sizes.append(len(rows))
        return Normal(rows[None, :, :1], torch.ones(()))

    for normalisation, expected in (("none", [7, 7, 6]), ("transductive", [20])):
        sizes.clear()
        watching = dataclasses.replace(learner, predict=watched, normalisation=normalisation)
        assert predict(watching, meta, support, x).scale.shape == (1, 20, 1)
        assert sizes == expected


def test_the_noise_scale_is_for_learners_without_one():
    learner, meta, support, x = setting()
    assert isinstance(predict(learner, meta, support, x).scale, tuple)
    assert predict(learner, meta, support, x, noise_scale=0.3).scale.unique().tolist() == [0.3]
    knowing = dataclasses.replace(learner, predict=lambda params, x: Normal(x[None, :, :1], torch.tensor(2.0)))
    assert predict(knowing, meta, support, x, noise_scale=0.3).scale.unique().tolist() == [2.0]


def test_prepared_noise_reaches_the_learner_and_is_the_same_for_the_same_seed():
    learner, meta, support, x = setting()

    def prepare(meta: Any, tasks: Any, generator: torch.Generator, /, *, step: int | None, num_steps: int) -> Any:
        assert step is None
        noise = torch.rand(1, 1, generator=generator)
        return tasks._replace(support=tasks.support._replace(extra=noise))

    noisy = dataclasses.replace(
        learner,
        prepare=prepare,
        adapt=lambda meta, support: support.extra,
        predict=lambda p, x: Normal(p.expand(1, len(x), 1)),
    )
    values = [predict(noisy, meta, support, x, seed=seed).loc for seed in (1, 1, 2)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def test_wrong_arguments_are_refused():
    learner, meta, support, x = setting()
    with pytest.raises(ValueError, match=r"num_steps must be .*not -1"):
        predict(learner, meta, support, x, num_steps=-1)
    with pytest.raises(ValueError, match="shape"):
        predict(learner, meta, support, x[:, :1])
