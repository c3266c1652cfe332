"""The derivatives of a module taken as a model: exact where torch is wrong, by every route."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations

from .module_cases import CASES, TASKS, build

Apply = Callable[[dict[str, Tensor], Tensor], Tensor]
LR = 0.3


def ordinary(module: nn.Module) -> Apply:
    """The module as torch runs it, with none of the replacements, each call on a copy that is then thrown away."""

    def apply(params: dict[str, Tensor], x: Tensor) -> Tensor:
        own = copy.deepcopy(module)
        named = {id(leaf): name for name, leaf in own.named_parameters()}
        for part in own.modules():
            for key, leaf in part._parameters.items():
                if named.get(id(leaf)) in params:
                    part._parameters[key] = params[named[id(leaf)]]
        return own(x)

    return apply


def overwritten(module: nn.Module, params: dict[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    """A copy whose own parameters have other numbers: nothing takes the place of anything."""
    own = copy.deepcopy(module)
    leaves = dict(own.named_parameters())
    with torch.no_grad():
        for name, leaf in params.items():
            leaves[name].copy_(leaf)
    return own, {name: leaves[name] for name in params}


def query_loss(apply: Apply, params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    def loss(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return (apply(params, x) - y).square().mean()

    steps = grad(loss)(params, x[:3], y[:3])
    return loss({name: params[name] - LR * steps[name] for name in params}, x[3:], y[3:])


def meta_gradient(apply: Apply, params: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The route that torch gets wrong for some operations: grad over vmap over grad."""
    return grad(lambda params: vmap(lambda x, y: query_loss(apply, params, x, y))(x, y).mean())(params)


def outer_autograd(apply: Apply, params: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    value = vmap(lambda x, y: query_loss(apply, leaves, x, y))(x, y).mean()
    return dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))


def per_task(apply: Apply, params: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    rows = vmap(lambda x, y: grad(lambda params: query_loss(apply, params, x, y))(params))(x, y)
    return {name: row.mean(0) for name, row in rows.items()}


def by_loop(module: nn.Module, params: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The same by a plain loop and torch.autograd on the ordinary module, attention on its elementary kernel."""
    module = copy.deepcopy(module)
    for part in module.modules():
        # Torch differentiates its own weight normalisation wrongly, in this loop too.
        if isinstance(part, parametrizations._WeightNorm):
            part.forward = lambda g, v, dim=part.dim: normalised_weight(v, g, dim)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    names, apply = list(leaves), ordinary(module)

    def derivative(value: Tensor, create_graph: bool) -> list[Tensor]:
        tensors = [leaves[name] for name in names]
        return list(torch.autograd.grad(value, tensors, create_graph=create_graph, materialize_grads=True))

    total = torch.zeros((), dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):
        for task_x, task_y in zip(x, y, strict=True):
            steps = derivative((apply(leaves, task_x[:3]) - task_y[:3]).square().mean(), create_graph=True)
            adapted = {name: leaves[name] - LR * step for name, step in zip(names, steps, strict=True)}
            total = total + (apply(adapted, task_x[3:]) - task_y[3:]).square().mean()
        return dict(zip(names, derivative(total / len(x), create_graph=False), strict=True))


def normalised_weight(v: Tensor, g: Tensor, dim: int) -> Tensor:
    return g * v / torch.norm_except_dim(v, 2, dim)


def by_differences(module: nn.Module, params: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[float, float]:
    """The ordinary module's derivatives along a direction, from values and from first derivatives, and no others.

    The step is the cube root of the spacing of doubles, which balances a central difference's two errors.
    """
    along, h = direction(params), torch.finfo(torch.float64).eps ** (1 / 3)

    def gradients(at: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        own, leaves = overwritten(module, at)
        value = (own(x) - y).square().mean()
        first = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        return value.detach(), dot(dict(zip(leaves, first, strict=True)), direction(params, 2))

    ahead, behind = (gradients({name: params[name] + sign * h * along[name] for name in params}) for sign in (1, -1))
    return float((ahead[0] - behind[0]) / (2 * h)), float((ahead[1] - behind[1]) / (2 * h))


def by_transforms(apply: Apply, params: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[float, float]:
    """The same two numbers, each a reverse-mode derivative."""

    def loss(at: dict[str, Tensor]) -> Tensor:
        return (apply(at, x) - y).square().mean()

    along, across = direction(params), direction(params, 2)
    second = grad(lambda at: dot(grad(loss)(at), across))(params)
    return float(dot(grad(loss)(params), along)), float(dot(second, along))


def direction(params: dict[str, Tensor], seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(leaf.shape, generator=generator).to(leaf) for name, leaf in params.items()}


def dot(first: dict[str, Tensor], second: dict[str, Tensor]) -> Tensor:
    return torch.stack([(first[name] * second[name]).sum() for name in second]).sum()


def distance(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    difference = sum((first[name] - second[name]).square().sum() for name in second)
    return float((difference / sum(leaf.square().sum() for leaf in second.values())) ** 0.5)


def problem(name: str) -> tuple[nn.Module, Apply, dict[str, Tensor], Tensor, Tensor]:
    module, model, x = build(name)
    params = model.init(torch.Generator())
    y = torch.randn(TASKS, *model.apply(params, x[0]).shape).double()
    return module, model.apply, params, x, y


@pytest.fixture
def no_fast_path():
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(enabled)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_the_meta_gradient_is_that_of_a_plain_loop(name, no_fast_path):
    module, apply, params, x, y = problem(name)
    expected = by_loop(module, params, x, y)
    torch.backends.mha.set_fastpath_enabled(True)
    torch.testing.assert_close(apply(params, x[0]), ordinary(module)(params, x[0]), rtol=1e-10, atol=1e-12)
    for route in (meta_gradient, outer_autograd, per_task):
        assert distance(route(apply, params, x, y), expected) < 1e-10, route.__name__


# A central difference at this step is off by the step's square, 4e-11, times third derivatives.
BY_DIFFERENCES = 1e-7


@pytest.mark.parametrize("name", [name for name in CASES if "padding" not in name])
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_both_derivatives_are_those_of_the_values(name, no_fast_path):
    """No second derivative of torch's enters the other side; a padding row has none by definition, whatever it does."""
    module, apply, params, x, y = problem(name)
    expected = by_differences(module, params, x[0], y[0])
    assert by_transforms(apply, params, x[0], y[0]) == pytest.approx(expected, rel=BY_DIFFERENCES, abs=BY_DIFFERENCES)


@pytest.mark.parametrize("name", ["weight_norm", "weight_norm_conv"])
def test_torchs_weight_norm_is_wrong_by_any_route(name):
    """The reason for its replacement: when this fails, torch has fixed it."""
    module, _, params, x, y = problem(name)
    first, second = by_transforms(ordinary(module), params, x[0], y[0])
    expected = by_differences(module, params, x[0], y[0])
    assert first == pytest.approx(expected[0], rel=BY_DIFFERENCES)
    assert second != pytest.approx(expected[1], rel=1e-3)


@pytest.mark.parametrize(
    "name", ["layer_norm", "layer_norm_no_bias", "batch_norm_1d", "batch_norm_2d", "instance_norm", "embedding_padding"]
)
def test_torch_alone_is_wrong(name):
    """The reason for the replacements: when this fails, torch has fixed it."""
    module, _, params, x, y = problem(name)
    if name.startswith("batch"):
        module = copy.deepcopy(module)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean = part.running_var = part.num_batches_tracked = None
                part.track_running_stats = False
    assert distance(meta_gradient(ordinary(module), params, x, y), by_loop(module, params, x, y)) > 1e-3


@pytest.mark.parametrize("name", ["layer_norm", "batch_norm_1d", "encoder_layer_eval"])
def test_hessians_are_those_of_autograd(name):
    module, apply, params, x, y = problem(name)
    small = {name: leaf for name, leaf in params.items() if leaf.ndim == 1}

    def loss(apply: Apply) -> Callable[..., Tensor]:
        return lambda *leaves: (apply({**params, **dict(zip(small, leaves, strict=True))}, x[0]) - y[0]).square().mean()

    argnums = tuple(range(len(small)))
    ours = torch.func.hessian(loss(apply), argnums=argnums)(*small.values())
    with sdpa_kernel(SDPBackend.MATH):
        torchs = torch.autograd.functional.hessian(
            loss(ordinary(module.train() if "batch" in name else module)), tuple(small.values())
        )
    torch.testing.assert_close(ours, torchs, rtol=1e-9, atol=1e-11)


@pytest.mark.compiled
@pytest.mark.parametrize(
    "name",
    ["layer_norm", "batch_norm_2d", "instance_norm", "embedding_padding", "attention_eval", "encoder_layer_eval"],
)
def test_the_compiled_meta_gradient_is_the_eager_one(name):
    _, apply, params, x, y = problem(name)
    torch.compiler.reset()
    compiled = torch.compile(meta_gradient, fullgraph=True, backend="aot_eager")
    assert distance(compiled(apply, params, x, y), meta_gradient(apply, params, x, y)) < 1e-12
