"""Modules that use their weights in unusual ways: each, as a model, is the module with other numbers in it."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from metafunc import Batch, Task, algorithms, likelihood, value_and_grad
from metafunc import nn as models
from metafunc.nn.functional import Functional, slots

from .module_cases import USES, TiedHalves, build, same_part_twice
from .test_module_derivatives import direction, dot, overwritten

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def elsewhere(params: dict[str, Tensor]) -> dict[str, Tensor]:
    along = direction(params, 3)
    return {name: leaf + 0.3 * along[name] for name, leaf in params.items()}


@pytest.mark.parametrize("name", USES)
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_value_gradient_and_second_derivative_are_those_of_an_overwritten_copy(name):
    module, model, xs = build(name)
    x, params = xs[0], elsewhere(model.init(torch.Generator()))
    own, leaves = overwritten(module, params)
    y, along = torch.randn_like(own(x)), direction(params)

    def loss(at: dict[str, Tensor]) -> Tensor:
        return (model.apply(at, x) - y).square().mean()

    value = (own(x) - y).square().mean()
    first = dict(zip(leaves, torch.autograd.grad(value, list(leaves.values()), create_graph=True), strict=True))
    second = torch.autograd.grad(dot(first, along), list(leaves.values()), materialize_grads=True)
    torch.testing.assert_close(model.apply(params, x), own(x), **EXACT)
    torch.testing.assert_close(grad(loss)(params), first, **EXACT)
    product = grad(lambda at: dot(grad(loss)(at), along))(params)
    torch.testing.assert_close(product, dict(zip(leaves, second, strict=True)), **EXACT)


@pytest.mark.parametrize("name", USES)
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_any_number_of_calls_leaves_apply_and_init_as_they_were(name):
    module, model, xs = build(name)
    redrawn = models.from_module(module)
    params, x = model.init(torch.Generator()), xs[0]
    first, fresh = model.apply(params, x), redrawn.init(torch.Generator().manual_seed(0))
    for other in (elsewhere(params), fresh):
        vmap(grad(lambda at, x: model.apply(at, x).square().mean()), in_dims=(None, 0))(other, xs)
        redrawn.apply(other, x)
    assert torch.equal(model.apply(params, x), first)
    assert all(torch.equal(leaf, params[key]) for key, leaf in model.init(torch.Generator()).items())
    again = redrawn.init(torch.Generator().manual_seed(0))
    assert all(torch.equal(leaf, fresh[key]) for key, leaf in again.items())


@pytest.mark.parametrize("make", [TiedHalves, same_part_twice])
def test_every_place_is_filled_once_and_holds_what_it_held_before(make):
    module = make()
    functional = Functional(module, tuple(name for name, _ in module.named_parameters()), batch_statistics=False)
    places = [(id(slot.part), slot.registry, slot.key) for slot in functional._slots]
    assert len(set(places)) == len(places)
    assert {slot.argument for slot in slots(module, functional.names)} == set(functional.names)
    x = torch.randint(7, (3, 5)) if make is TiedHalves else torch.randn(3, 4)
    functional.apply(elsewhere(functional.params()), x)
    assert all(slot.holds(slot.leaf) for slot in functional._slots)


def test_a_forward_that_exchanges_a_parameter_is_refused():
    class Exchanging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.mix.weight = nn.Parameter(2 * self.mix.weight)
            return self.mix(x)

    model = models.from_module(Exchanging())
    with pytest.raises(ValueError, match=r"forward writes to mix\.weight"):
        model.apply(model.init(torch.Generator()), torch.randn(3, 4))


def tied_with_known_numbers() -> nn.Module:
    """Parameter k of n leaves is sin(k + 1)."""
    made = TiedHalves().double()
    with torch.no_grad():
        for leaf in made.parameters():
            leaf.copy_(torch.sin(1 + torch.arange(leaf.numel(), dtype=torch.float64)).reshape(leaf.shape))
    return made


def tied_tasks() -> Task:
    """Two tasks: words (support 3, query 4 rows of 3 words) and classes."""
    count = torch.arange(2 * 7 * 3).reshape(2, 7, 3)
    words = (count * count + 3 * count + count // 5) % 7
    classes = (words.sum(-1) * 2 + 1) % 7
    return Task(Batch(words[:, :3], classes[:, :3]), Batch(words[:, 3:], classes[:, 3:]))


def written_out(p: dict[str, Tensor], tasks: Task) -> Tensor:
    """The meta-loss without modules: the formula, differentiated by autograd."""

    def loss(p: dict[str, Tensor], words: Tensor, classes: Tensor) -> Tensor:
        def half(name: str, w: Tensor) -> Tensor:
            return torch.tanh(p["shared.weight"][w] @ p[f"{name}.mix.weight"].T + p[f"{name}.mix.bias"])

        logits = (half("encoder", words) + half("decoder", words.flip(1))).mean(1) @ p["shared.weight"].T
        return nn.functional.cross_entropy(logits, classes)

    total = torch.zeros((), dtype=torch.float64)
    for i in range(2):
        support, query = (Batch(batch.x[i], batch.y[i]) for batch in tasks)
        steps = torch.autograd.grad(loss(p, support.x, support.y), list(p.values()), create_graph=True)
        adapted = {key: leaf - 0.1 * step for (key, leaf), step in zip(p.items(), steps, strict=True)}
        total = total + loss(adapted, query.x, query.y)
    return total / 2


def test_the_meta_gradient_of_a_tied_network_is_that_of_its_formula():
    module, tasks = tied_with_known_numbers(), tied_tasks()
    model = models.from_module(copy.deepcopy(module), reset=False)
    learner = algorithms.maml(model, likelihood.categorical(7), inner_lr=0.1, num_steps=1)
    meta = model.init(torch.Generator())
    leaves = {name: leaf.detach().clone().requires_grad_() for name, leaf in module.named_parameters()}
    value = written_out(leaves, tasks)
    gradient = dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))
    assert value.item() == pytest.approx(2.729993199420872, rel=1e-14)
    for _ in range(3):
        found, by_training = value_and_grad(learner.task_loss)(meta, tasks)
        assert found.item() == pytest.approx(2.729993199420872, rel=1e-14)
        torch.testing.assert_close(by_training, gradient, **EXACT)
        torch.testing.assert_close(grad(learner.meta_loss)(meta, tasks), gradient, **EXACT)
