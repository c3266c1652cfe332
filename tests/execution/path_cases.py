"""Losses of every kind that a quick way could get wrong, each with the same loss in plain torch."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from metafunc import nn
from metafunc.types import Adapt, Batch, Loss, Params, Scalar, Task

TASKS, SUPPORT, QUERY = 3, 4, 5


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def tasks(*shape: int, targets: int = 2, dtype: torch.dtype = torch.float64) -> Task:
    def batch(rows: int) -> Batch:
        x = numbers(TASKS, rows, *shape, seed=rows, dtype=dtype)
        return Batch(x, numbers(TASKS, rows, targets, seed=10 + rows), extra=torch.full((TASKS,), rows == QUERY))

    return Task(batch(SUPPORT), batch(QUERY))


@dataclass(frozen=True)
class PathCase:
    """A loss with all that a meta-gradient takes.

    Args:
        loss: (params, batch) to a scalar, as metafunc is given it.
        params: where it is looked at.
        tasks: stacked tasks.
        finish: what ends the adaptation.
        reference: the same loss in plain torch; None: it is plain itself.
    """

    loss: Loss[Params]
    params: Params
    tasks: Task
    finish: Adapt[Params, Params] | None = None
    reference: Loss[Params] | None = None


DENSE = tasks(3)
WEIGHTS = {"w": numbers(5, 3, seed=1), "b": numbers(5, seed=2), "v": numbers(2, 5, seed=3)}
Apply = Callable[[Params, Tensor], Tensor]


def squared(apply: Apply) -> Loss[Params]:
    return lambda params, batch: (apply(params, batch.x) - batch.y).square().mean()


def network(params: Params, x: Tensor) -> Tensor:
    return F.linear(torch.tanh(F.linear(x, params["w"], params["b"])), params["v"])


def dense(apply: Apply = network, **changes: Tensor) -> PathCase:
    return PathCase(squared(apply), {**WEIGHTS, **changes}, DENSE)


def with_penalty(penalty: Callable[[Params, Batch], Scalar]) -> PathCase:
    error = squared(network)
    return PathCase(lambda params, batch: error(params, batch) + penalty(params, batch), WEIGHTS, DENSE)


def tied(params: Params, x: Tensor) -> Tensor:
    return F.linear(torch.tanh(F.linear(x, params["w"])), params["w"].mT)[..., :2]


def recurrent(params: Params, x: Tensor) -> Tensor:
    h = torch.tanh(F.linear(x, params["w"], params["b"]))
    for _ in range(2):
        h = torch.tanh(F.linear(h, params["u"]))
    return F.linear(h, params["v"])


def two_names(params: Params, x: Tensor) -> Tensor:
    return (
        F.linear(torch.tanh(F.linear(torch.tanh(F.linear(x, params["w"])), params["first"])), params["v"])
        + (F.linear(torch.tanh(F.linear(x, params["w"])), params["second"])[..., :2])
    )


def partly_frozen(params: Params, x: Tensor) -> Tensor:
    return F.linear(torch.tanh(F.linear(x, params["w"].detach(), params["b"])), params["v"])


def by_rows(params: Params, x: Tensor) -> Tensor:
    rows: Tensor = torch.vmap(lambda row: network(params, row))(x)
    return rows


def residual(params: Params, batch: Batch) -> Scalar:
    """The loss of a differential equation: the network's first and second derivatives in its input."""

    def of_row(x: Tensor) -> Tensor:
        gradient = torch.func.jacrev(lambda at: network(params, at))(x)
        hessian = torch.func.jacrev(torch.func.jacrev(lambda at: network(params, at)))(x)
        return hessian.diagonal(dim1=-2, dim2=-1).sum(-1) + gradient.sum(-1)

    return torch.vmap(of_row)(batch.x).square().mean() + squared(network)(params, batch)


def normalised_weight(params: Params, _: Batch) -> Params:
    return {**params, "w": params["w"] / params["w"].norm()}


def complex_network(params: Params, x: Tensor) -> Tensor:
    return F.linear(F.linear(x, params["w"]), params["v"]).abs()


def of_module(module: torch.nn.Module, *shape: int) -> PathCase:
    """A module by `from_module`, and by torch's own `functional_call`; in `eval`, where both are the same."""
    module = module.double().eval()
    given = dict(module.named_parameters()) | dict(module.named_buffers())
    model = nn.from_module(module, reset=False)
    params = model.init(torch.Generator().manual_seed(0))

    def plain(params: Params, batch: Batch) -> Scalar:
        outputs = functional_call(module, {**given, **params}, (batch.x,))
        error: Scalar = (outputs - batch.y).square().mean()
        return error

    return PathCase(squared(model.apply), params, tasks(*shape), reference=plain)


class Squared(torch.nn.Module):
    """A parametrisation: a weight is the square of what is trained."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square()


def parametrised() -> torch.nn.Module:
    first = torch.nn.Linear(3, 5)
    parametrize.register_parametrization(first, "weight", Squared())
    return torch.nn.Sequential(first, torch.nn.Tanh(), torch.nn.Linear(5, 2))


def weight_norm() -> PathCase:
    """Beside the formula: torch's own second derivative of it is wrong by any route."""
    module = seeded(lambda: parametrizations.weight_norm(torch.nn.Linear(3, 2)))

    def plain(params: Params, x: Tensor) -> Tensor:
        bias, gain, direction = params.values()
        return x @ (gain * direction / direction.square().sum(1, keepdim=True).sqrt()).mT + bias

    return replace(of_module(module, 3), reference=squared(plain))


def seeded(make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    torch.manual_seed(0)
    return make()


def frozen_module() -> torch.nn.Module:
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    module[0].weight.requires_grad_(False)
    return module


def convolutional() -> torch.nn.Module:
    norm = torch.nn.BatchNorm2d(3)
    norm.running_mean, norm.running_var = numbers(3, seed=5), numbers(3, seed=6).square() + 1
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, padding=1), norm, torch.nn.Tanh(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(12, 2),
    )  # fmt: skip


def conv4() -> PathCase:
    """The network of the papers, whose first convolution is normalised within itself, beside the same in torch."""
    model = nn.conv4((1, 6, 6), 2, filters=2, pooling="stride")
    params = {name: leaf.double() for name, leaf in model.init(torch.Generator().manual_seed(0)).items()}

    def plain(params: Params, batch: Batch) -> Scalar:
        h = batch.x
        for i in range(1, 5):
            h = F.conv2d(h, params[f"layer{i}.weight"], stride=2, padding=1)
            mean, var = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), keepdim=True, unbiased=False)
            scale, shift = (params[f"norm{i}.{name}"][:, None, None] for name in ("scale", "shift"))
            h = torch.relu((h - mean) / (var + 1e-5).sqrt() * scale + shift)
        outputs = F.linear(h.mean((2, 3)), params["head.weight"], params["head.bias"])
        return (outputs - batch.y).square().mean()

    return PathCase(squared(model.apply), params, tasks(1, 6, 6), reference=plain)


SHARED = numbers(5, 5, seed=4)
COMPLEX = {
    "w": numbers(5, 3, seed=1, dtype=torch.complex128),
    "v": numbers(2, 5, seed=3, dtype=torch.complex128),
}
CASES: dict[str, Callable[[], PathCase]] = {
    "a network": dense,
    "one weight for both ends": lambda: dense(tied),
    "one weight twice": lambda: dense(recurrent, u=numbers(5, 5, seed=4)),
    "one tensor under two names": lambda: dense(two_names, first=SHARED, second=SHARED),
    "a weight outside a layer": lambda: dense(lambda p, x: network(p, x) + x @ p["w"].mT @ p["v"].mT),
    "a weight that something frozen reads": lambda: dense(partly_frozen),
    "rows by vmap": lambda: dense(by_rows),
    "rows in a loop": lambda: dense(lambda p, x: torch.stack([network(p, row) for row in x])),
    "a penalty": lambda: with_penalty(lambda p, batch: p["w"].square().mean()),
    "a penalty of the query set": lambda: with_penalty(lambda p, batch: batch.extra * p["w"].pow(4).mean()),
    "derivatives in the inputs": lambda: PathCase(residual, WEIGHTS, DENSE),
    "a condition that reads a weight": lambda: PathCase(squared(network), WEIGHTS, DENSE, normalised_weight),
    "complex weights": lambda: PathCase(squared(complex_network), COMPLEX, tasks(3, dtype=torch.complex128)),
    "a module": lambda: of_module(
        seeded(lambda: torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.LayerNorm(5), torch.nn.Linear(5, 2))), 3
    ),
    "a parametrised module": lambda: of_module(seeded(parametrised), 3),
    "weight norm": weight_norm,
    "a module with a frozen part": lambda: of_module(seeded(frozen_module), 3),
    "convolutions": lambda: of_module(seeded(convolutional), 1, 4, 4),
    "conv4": conv4,
}
