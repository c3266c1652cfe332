"""Factored adapted weights: the value and the derivatives of the plain query loss, and when they are chosen."""

import pytest
import torch
from torch import Tensor

from metafunc import Batch, Model, Task, expected, gradient_descent, nn, query_loss, tree
from metafunc.nn import likelihood
from metafunc.transforms import low_rank
from metafunc.types import Params, TaskLoss

LR = 0.1
WIDE = (784,)


def problem(model: Model, *, rows: int = 5, num_tasks: int = 3) -> tuple[Params, Task]:
    generator = torch.Generator().manual_seed(0)

    def batch(count: int) -> Batch:
        x = torch.rand(num_tasks, count, *WIDE, generator=generator, dtype=torch.float64)
        return Batch(x, torch.randint(0, 5, (num_tasks, count), generator=generator))

    return tree.map(torch.Tensor.double, model.init(generator)), Task(batch(rows), batch(7))


def plain(model: Model, num_steps: int) -> TaskLoss[Params]:
    loss = likelihood.categorical(5).of(model)
    descent = gradient_descent(loss, lr=LR, num_steps=num_steps)
    return query_loss(lambda params, support: model.finish(descent(params, support), support), loss)


def in_factors(model: Model, num_steps: int) -> TaskLoss[Params]:
    return low_rank.query_loss(likelihood.categorical(5).of(model), lr=LR, num_steps=num_steps, finish=model.finish)


def chosen(model: Model, *, rows: int, num_steps: int = 1) -> set[str]:
    params, tasks = problem(model, rows=rows)
    support = tree.at(tasks.support, 0)
    return set(low_rank._favoured(likelihood.categorical(5).of(model), params, support, num_steps))


MODELS = {
    "plain": nn.mlp(WIDE, 5, hidden=(64, 20)),
    "deep": nn.mlp(WIDE, 5, hidden=(128, 128)),  # the second layer's inputs depend on the parameters too
    "transductive": nn.mlp(WIDE, 5, hidden=(64, 20), normalisation="transductive"),
    "support": nn.mlp(WIDE, 5, hidden=(64, 20), normalisation="support"),
    "module": nn.from_module(
        torch.nn.Sequential(torch.nn.Linear(784, 64), torch.nn.LayerNorm(64), torch.nn.Tanh(), torch.nn.Linear(64, 5))
    ),
}


@pytest.mark.parametrize("num_steps", [1, 2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_value_and_gradient_are_the_plain_ones(name: str, num_steps: int) -> None:
    model = MODELS[name]
    params, tasks = problem(model)
    assert chosen(model, rows=5, num_steps=num_steps)
    gradients = []
    for build in (plain, in_factors):
        gradient, value = torch.func.grad_and_value(expected(build(model, num_steps)))(params, tasks)
        gradients.append((value, *tree.leaves(gradient)))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-12)


def test_second_derivative_of_the_meta_loss_is_the_plain_one() -> None:
    model = MODELS["plain"]
    params, tasks = problem(model)
    direction = tree.map(torch.ones_like, params)

    def curvature(build: TaskLoss[Params]) -> Params:
        gradient = torch.func.grad(expected(build))
        product: Params = torch.func.jvp(lambda theta: gradient(theta, tasks), (params,), (direction,))[1]
        return product

    torch.testing.assert_close(curvature(in_factors(model, 1)), curvature(plain(model, 1)), rtol=1e-9, atol=1e-11)


def test_it_differs_from_a_wrong_twin_that_drops_the_factors() -> None:
    model = MODELS["plain"]
    params, tasks = problem(model)
    unadapted = expected(lambda theta, task: likelihood.categorical(5).of(model)(theta, task.query))
    value = expected(in_factors(model, 1))(params, tasks)
    assert (value - unadapted(params, tasks)).abs() > 1e-3


def test_large_weights_with_few_rows_are_chosen_and_no_others() -> None:
    model = MODELS["plain"]
    assert chosen(MODELS["deep"], rows=5) == {"layer1.weight", "layer2.weight"}
    assert chosen(model, rows=5) == {"layer1.weight"}
    assert chosen(model, rows=5, num_steps=0) == set()
    assert chosen(model, rows=60) == set()
    assert chosen(nn.mlp(WIDE, 5, hidden=(8,)), rows=5) == set()


def test_a_weight_with_another_use_is_adapted_as_usual() -> None:
    model = MODELS["plain"]
    params, tasks = problem(model)

    def decayed(theta: Params, batch: Batch) -> Tensor:
        return likelihood.categorical(5).of(model)(theta, batch) + theta["layer1.weight"].square().sum()

    right = expected(query_loss(gradient_descent(decayed, lr=LR), decayed))(params, tasks)
    value = expected(low_rank.query_loss(decayed, lr=LR, num_steps=1))(params, tasks)
    torch.testing.assert_close(value, right, rtol=1e-12, atol=1e-14)


def test_a_layer_that_takes_a_single_vector_is_factored_as_well() -> None:
    """Such as one that maps a learned task vector to the weights of others."""
    generator = torch.Generator().manual_seed(0)
    params = {
        "context": torch.randn(200, generator=generator, dtype=torch.float64),
        "weight": 0.1 * torch.randn(100, 200, generator=generator, dtype=torch.float64),
    }
    x = torch.randn(3, 4, 100, generator=generator, dtype=torch.float64)
    batch = Batch(x, torch.randn(3, 4, generator=generator, dtype=torch.float64))

    def loss(theta: Params, data: Batch) -> Tensor:
        return (data.x @ torch.nn.functional.linear(theta["context"], theta["weight"]) - data.y).square().mean()

    assert set(low_rank._favoured(loss, params, tree.at(batch, 0), 2)) == {"weight"}
    found = torch.func.grad_and_value(expected(low_rank.query_loss(loss, lr=LR / 100, num_steps=2)))
    plain = torch.func.grad_and_value(expected(query_loss(gradient_descent(loss, lr=LR / 100, num_steps=2), loss)))
    torch.testing.assert_close(found(params, Task(batch, batch)), plain(params, Task(batch, batch)), rtol=1e-10, atol=0)


def test_bad_settings_are_refused() -> None:
    loss = likelihood.categorical(5).of(MODELS["plain"])
    with pytest.raises(ValueError, match=r"lr must be a finite number, at least 0, not -0\.1"):
        low_rank.query_loss(loss, lr=-0.1, num_steps=1)
    with pytest.raises(ValueError, match="num_steps must be at least 0, not -1"):
        low_rank.query_loss(loss, lr=0.1, num_steps=-1)
