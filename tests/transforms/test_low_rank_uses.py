"""Factored weights that are used as more than a layer's weight: the loss is the plain query loss all the same."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metafunc import Batch, Model, Task, expected, gradient_descent, nn, query_loss, tree
from metafunc.nn import likelihood
from metafunc.transforms import low_rank
from metafunc.types import Adapt, Params, Scalar

LR, STEPS = 0.2, 2


class Squares(torch.autograd.Function):
    """A user's own function of a weight, which factors cannot follow."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor) -> Tensor:
        return weight.square().mean()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (weight,) = ctx.saved_tensors
        return 2 * grad * weight / weight.numel()


def params() -> Params:
    generator = torch.Generator().manual_seed(0)
    w, v = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((130, 200), (2, 130)))
    return {"w": w / 8, "v": v / 4}


def tasks() -> Task:
    """The query batch alone brings a weight for a penalty."""
    generator = torch.Generator().manual_seed(1)

    def batch(rows: int, penalty: float) -> Batch:
        x, y = (torch.randn(3, rows, size, generator=generator, dtype=torch.float64) for size in (200, 2))
        return Batch(x / 3, y, extra=torch.full((3,), penalty, dtype=torch.float64))

    return Task(batch(4, 0.0), batch(6, 0.5))


def row(theta: Params, x: Tensor) -> Tensor:
    return F.linear(torch.tanh(F.linear(x, theta["w"])), theta["v"])


def error(theta: Params, batch: Batch) -> Scalar:
    return (row(theta, batch.x) - batch.y).square().mean()


def input_derivatives(theta: Params, batch: Batch) -> Scalar:
    """With the network's derivative in its inputs, row by row."""
    return torch.vmap(torch.func.jacrev(lambda x: row(theta, x)))(batch.x).square().sum() + error(theta, batch)


def only(penalty: Callable[[Tensor], Tensor]) -> Callable[[Params, Batch], Scalar]:
    """A loss with a penalty that depends on whose batch it is."""
    # The support batch has 4 rows: a loss may look at shapes, and only the query set's then uses the weight otherwise.
    return lambda theta, batch: error(theta, batch) + (penalty(theta["w"]) if batch.x.shape[0] == 6 else 0.0)


def detached(weight: Tensor) -> Tensor:
    with torch.no_grad():
        size = weight.norm()
    return weight.square().sum() / size


LOSSES: dict[str, Callable[[Params, Batch], Scalar]] = {
    "rows": error,
    "vmap over rows": lambda p, b: (torch.vmap(lambda x: row(p, x))(b.x) - b.y).square().mean(),
    "loop over rows": lambda p, b: (torch.stack([row(p, x) for x in b.x]) - b.y).square().mean(),
    "jacrev in the inputs": input_derivatives,
    "grad in the inputs": lambda p, b: torch.func.grad(lambda x: row(p, x).sum())(b.x).square().sum() + error(p, b),
    "jvp in the inputs": lambda p, b: (
        torch.func.jvp(lambda x: row(p, x), (b.x,), (torch.ones_like(b.x),))[1].square().mean() + error(p, b)
    ),
    "grad in the weight": lambda p, b: tree.norm(torch.func.grad(error)(p, b)) + error(p, b),
    "vmap over two views": lambda p, b: torch.vmap(
        lambda s: (row(p, b.x * s) - b.y).square().mean()
    )(torch.tensor([0.5, 1.0], dtype=torch.float64)).mean(),
    "used twice": lambda p, b: (row(p, b.x + F.linear(b.x, p["w"]).mean()) - b.y).square().mean(),
    "a penalty by the data": lambda p, b: error(p, b) + b.extra * p["w"].square().mean(),
    "a penalty of the query set": only(lambda weight: weight.square().mean()),
    "a transposed weight in the query set": only(lambda weight: (weight.mT @ weight).square().mean()),
    "a custom function in the query set": only(lambda weight: Squares.apply(weight)),  # type: ignore[no-untyped-call]
    "a detached use in the query set": only(detached),
    "a gradient in the weight in the query set": only(
        lambda weight: torch.func.grad(lambda w: w.pow(3).mean())(weight).sum()
    ),
}  # fmt: skip


def both(loss: Callable[[Params, Batch], Scalar], *, finish: Adapt[Params, Params] | None = None) -> list[Any]:
    """Gradient and value of the plain query loss, and of the one in factors."""
    descent = gradient_descent(loss, lr=LR, num_steps=STEPS)
    finished = finish or (lambda adapted, _: adapted)
    plain = query_loss(lambda theta, support: finished(descent(theta, support), support), loss)
    factored = low_rank.query_loss(loss, lr=LR, num_steps=STEPS, finish=finish)
    return [torch.func.grad_and_value(expected(one))(params(), tasks()) for one in (plain, factored)]


@pytest.mark.parametrize("name", LOSSES)
def test_every_use_of_a_weight_gives_the_plain_loss(name: str) -> None:
    plain, factored = both(LOSSES[name])
    torch.testing.assert_close(factored, plain, rtol=1e-12, atol=1e-12)


def normalised(adapted: Params, _: Batch) -> Params:
    return {**adapted, "w": adapted["w"] / adapted["w"].norm()}


def test_what_finishes_the_adaptation_may_read_a_weight() -> None:
    plain, factored = both(error, finish=normalised)
    torch.testing.assert_close(factored, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["a penalty of the query set", "a transposed weight in the query set"])
def test_it_differs_from_a_wrong_twin_that_hands_out_the_weight_before_adaptation(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(low_rank._Linears, "_formed", lambda self, value: value)
    plain, factored = both(LOSSES[name])
    assert (plain[1] - factored[1]).abs() > 1e-6


def test_a_model_that_conditions_on_a_weight_is_trained_on_what_it_predicts_with() -> None:
    from metafunc import algorithms

    base = nn.mlp((200,), 2, hidden=(100,), activation="tanh")
    model: Model = replace(
        base,
        condition=lambda p, x: {**p, "layer1.weight": p["layer1.weight"] / p["layer1.weight"].norm()},
    )
    generator = torch.Generator().manual_seed(0)
    meta = tree.map(torch.Tensor.double, model.init(generator))

    def batch(rows: int) -> Batch:
        return Batch(*(torch.randn(rows, size, generator=generator, dtype=torch.float64) for size in (200, 2)))

    task = Task(batch(4), batch(6))
    for way in (False, True):
        learner = algorithms.maml(model, likelihood.gaussian(2), inner_lr=1.0, rematerialise=way)
        adapted = learner.adapt(meta, task.support)
        by_hand = likelihood.gaussian(2).loss(learner.predict(adapted, task.query.x)[0][0], task.query)
        torch.testing.assert_close(learner.task_loss(meta, task), by_hand, rtol=1e-13, atol=0)
        assert abs(by_hand.item() / 2.8655611632638690 - 1) < 1e-13


@pytest.mark.parametrize("width", [127, 128])
def test_a_model_of_one_row_batched_by_vmap_works_on_both_sides_of_the_threshold(width: int) -> None:
    from metafunc import algorithms

    generator = torch.Generator().manual_seed(0)

    def one(theta: Params, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(F.linear(x, theta["w"])), theta["v"])

    def draw(generator: torch.Generator) -> Params:
        w, v = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((width, 128), (2, width)))
        return {"w": w / 11, "v": v / 11}

    model = Model(draw, lambda theta, x: torch.vmap(one, in_dims=(None, 0))(theta, x))
    x, y = (torch.randn(3, 4, size, generator=generator, dtype=torch.float64) for size in (128, 2))
    meta, stacked = model.init(generator), Task(Batch(x, y), Batch(x, y))
    fast, plain = (
        algorithms.maml(model, likelihood.gaussian(2), inner_lr=0.1, rematerialise=way).meta_loss(meta, stacked)
        for way in (False, True)
    )
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=0)
