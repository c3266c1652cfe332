"""Every trap of docs/gotchas.md, sprung on purpose.

A test that fails here is good news: torch has mended the trap, and what metafunc does about it can go.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import InternalTorchDynamoError, TorchRuntimeError, Unsupported
from torch._higher_order_ops.scan import scan
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from metafunc import nn as models
from metafunc import tree
from metafunc.execution import tracing
from metafunc.execution.gradient import value_and_grad
from metafunc.transforms.inner import descend, gradient_descent, rematerialised
from metafunc.transforms.objectives import expected_query_loss
from metafunc.transforms.optim import sgd
from metafunc.types import Batch, Task

LR = 0.3
TOLERANCE = 1e-10
PAGE = Path(__file__).parents[2] / "docs/gotchas.md"


def mended(trap: str, remedy: str) -> None:
    pytest.fail(f"torch has mended {trap}: remove {remedy}, this test, and its section of docs/gotchas.md.")


@contextmanager
def still_raises(message: str, trap: str, remedy: str, kinds: type[Exception] = RuntimeError) -> Iterator[None]:
    said = None
    try:
        yield
    except kinds as error:
        said = str(error)
    if said is None:
        mended(trap, remedy)
    else:
        assert re.search(message, said), f"{trap} now says something else: {said}"


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(tree.norm(tree.sub(one, other)) / tree.norm(other))


def ordinary(module: nn.Module) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    return lambda params, x: functional_call(module, params, (x,))


def by_func(apply, params, x, y):
    """grad over vmap over grad, written by hand."""

    def loss(params, x, y):
        return (apply(params, x) - y).square().mean()

    def query(params, x, y):
        return loss(tree.add_scaled(params, -LR, grad(loss)(params, x[:3], y[:3])), x[3:], y[3:])

    return grad(lambda params: vmap(query, in_dims=(None, 0, 0))(params, x, y).mean())(params)


def by_loop(apply, params, x, y):
    """The same in a Python loop over tasks, by torch.autograd."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}

    def slope(value, **options):
        parts = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True, **options)
        return dict(zip(leaves, parts, strict=True))

    values = []
    for task_x, task_y in zip(x, y, strict=True):
        step = slope((apply(leaves, task_x[:3]) - task_y[:3]).square().mean(), create_graph=True)
        values.append((apply(tree.add_scaled(leaves, -LR, step), task_x[3:]) - task_y[3:]).square().mean())
    return slope(torch.stack(values).mean())


def problem(module: nn.Module, x: Tensor):
    torch.manual_seed(0)
    module = module.double()
    params = {name: leaf.detach() + 0.2 * torch.randn_like(leaf) for name, leaf in module.named_parameters()}
    outputs = functional_call(module, params, (x[0],))
    shape = (outputs[0] if isinstance(outputs, tuple) else outputs).shape
    return module, params, x, torch.randn(len(x), *shape).double()


def tokens() -> Tensor:
    return torch.randint(3, (3, 6, 5), generator=torch.Generator().manual_seed(0))


def vectors(*shape: int) -> Tensor:
    return torch.randn(3, 6, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


NORMS = {
    "layer_norm": lambda: (nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2)), vectors(4)),
    "batch_norm": lambda: (
        nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Tanh(), nn.Linear(8, 2)),
        vectors(4),
    ),
    "instance_norm": lambda: (
        nn.Sequential(nn.Conv1d(2, 4, 3), nn.InstanceNorm1d(4, affine=True), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)),
        vectors(2, 6),
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_are_silently_wrong(name):
    module, params, x, y = problem(*NORMS[name]())
    expected = by_loop(ordinary(module), params, x, y)
    if distance(by_func(ordinary(module), params, x, y), expected) < 1e-6:
        mended(f"{name} under grad(vmap(grad))", f"metafunc.nn.exact.{name}")
    assert distance(by_func(models.from_module(module).apply, params, x, y), expected) < TOLERANCE


EMBEDDINGS = {"padding_idx": {"padding_idx": 0}, "scale_grad_by_freq": {"scale_grad_by_freq": True}}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings_are_silently_wrong(name):
    embed = nn.Embedding(3, 4, **EMBEDDINGS[name])
    module, params, x, y = problem(nn.Sequential(embed, nn.Tanh(), nn.Flatten(), nn.Linear(20, 2)), tokens())
    expected = by_loop(ordinary(module), params, x, y)
    if distance(by_func(ordinary(module), params, x, y), expected) < 1e-6:
        mended(f"an embedding with {name} under grad(vmap(grad))", "metafunc.nn.exact.embedding")
    if name == "padding_idx":
        assert distance(by_func(models.from_module(module).apply, params, x, y), expected) < TOLERANCE
    else:
        with pytest.raises(ValueError, match="leave both off"):
            models.from_module(module)


def test_weight_normalisation_is_silently_wrong():
    """Held against differences of gradients: a plain loop differentiates twice as wrongly."""
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    module, params, x, y = problem(nn.Sequential(layer, nn.Tanh(), nn.Linear(3, 2)), vectors(4))
    generator, h = torch.Generator().manual_seed(1), 1e-5
    along = tree.map(lambda leaf: torch.randn(leaf.shape, generator=generator).to(leaf), params)

    def slope(apply):
        return grad(lambda params: (apply(params, x[0]) - y[0]).square().mean())

    def product(apply):
        return grad(lambda params: tree.dot(slope(apply)(params), along))(params)

    ahead, behind = (slope(ordinary(module))(tree.add_scaled(params, sign * h, along)) for sign in (1, -1))
    expected = tree.scale(tree.sub(ahead, behind), 0.5 / h)
    if distance(product(ordinary(module)), expected) < 1e-6:
        mended("the double backward of weight_norm", "metafunc.nn.exact.weight_norm")
    assert distance(product(models.from_module(module).apply), expected) < 1e-7


def test_fused_attention_has_no_second_derivative():
    torch.manual_seed(0)
    q = torch.randn(1, 2, 5, 4, requires_grad=True)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        (slope,) = torch.autograd.grad(F.scaled_dot_product_attention(q, q, q).square().sum(), q, create_graph=True)
        with still_raises("derivative", "attention's second derivative", "the one in metafunc.nn.exact"):
            torch.autograd.grad(slope.square().sum(), q)


WITHOUT_SECOND = {
    "cdist": lambda x: torch.cdist(x, x.detach() + 1),
    "hardsigmoid": F.hardsigmoid,
}


@pytest.mark.parametrize("name", WITHOUT_SECOND)
def test_some_operations_have_no_second_derivative(name):
    x = torch.linspace(-1, 1, 6).reshape(3, 2)
    with still_raises("derivative|not implemented", f"{name}'s second derivative", "its place in metafunc.nn"):
        grad(lambda x: grad(lambda x: WITHOUT_SECOND[name](x).square().sum())(x).square().sum())(x)


def test_recurrent_layers_have_no_batching_rule():
    module, params, x, _ = problem(nn.LSTM(2, 2), vectors(4, 2))

    def total(params):
        return vmap(lambda x: functional_call(module, params, (x,))[0].sum())(x).sum()

    with still_raises("Batching rule", "recurrent layers under grad(vmap)", "their refusal in metafunc.nn.checks"):
        grad(total)(params)
    with pytest.raises(ValueError, match="Python loop"):
        models.from_module(module)


def test_running_statistics_cannot_be_updated_under_vmap():
    module = nn.BatchNorm1d(4).double()
    with still_raises("vmap|in-?place|unbatched", "running statistics under vmap", "their refusal"):
        vmap(lambda x: functional_call(module, {}, (x,)))(vectors(4))
    with pytest.raises(ValueError, match='batch_norm="batch"'):
        models.from_module(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))


def test_dropout_is_refused_under_vmap():
    with still_raises("randomness", "random operations under vmap", "nothing: this is a purity test"):
        vmap(lambda x: F.dropout(x, 0.5))(vectors(4))
    with pytest.raises(ValueError, match="draws random numbers"):
        models.from_module(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)))


UNBATCHED = {
    "in_place": (lambda x: torch.zeros(4).double().add_(x), "inplace|in-place|broadcast shape"),
    "item": (lambda x: x * x.sum().item(), "item"),
    "tensor_if": (lambda x: x if x.sum() > 0 else -x, "control flow|data-dependent"),
}


@pytest.mark.parametrize("name", UNBATCHED)
def test_python_cannot_look_into_a_batch(name):
    function, message = UNBATCHED[name]
    with still_raises(message, f"{name} under vmap", "nothing: write torch.where, out of place"):
        vmap(function)(vectors(4)[0])


def test_checkpointing_fails_under_func():
    def loss(x):
        return checkpoint(torch.sin, x, use_reentrant=False).sum()

    def sines(params, batch):
        return params.sin().sum()

    step = descend(sines, sgd(LR))
    with still_raises("saved tensor hooks", "checkpoint under torch.func", "inner.rematerialised"):
        grad(loss)(torch.ones(3))
    with still_raises("saved tensor hooks", "checkpoint around torch.func", "inner.rematerialised"):
        checkpoint(lambda x: step(x, ()), torch.ones(3, requires_grad=True), use_reentrant=False).sum().backward()
    points = torch.linspace(-1, 1, 6).reshape(2, 3)
    kept, again = (
        grad(lambda x, change=change: vmap(lambda at: change(step)(at, ()).square().sum())(x).sum())(points)
        for change in (lambda step: step, rematerialised)
    )
    torch.testing.assert_close(again, kept)


@pytest.mark.compiled
def test_scan_fails_under_func():
    torch.compiler.reset()
    xs = torch.ones(2, 3)

    def last(w, x):
        return scan(lambda carry, row: (carry * w + row, carry.clone()), torch.zeros(()), x)[0]

    assert last(torch.tensor(0.5), xs[0]) == 1.75
    for name, total in {
        "grad": lambda w: last(w, torch.ones(3)),
        "grad(vmap)": lambda w: vmap(lambda x: last(w, x))(xs).sum(),
    }.items():
        torch.compiler.reset()
        with still_raises("Expected FakeTensor", f"scan under {name}", "nothing", AssertionError):
            grad(total)(torch.tensor(0.5))


def test_forward_mode_refuses_expanded_tensors():
    x = torch.ones(()).expand(3)
    with still_raises("more than one element", "jvp on expanded tensors", "the copy in curvature.hvp"):
        jvp(lambda x: x.softmax(-1).square(), (x,), (torch.randn(3),))


def test_what_is_kept_from_inside_a_transform_is_lost():
    kept, data = [], torch.ones(2, 3)

    def loss(x):
        if not kept:
            kept.append(data[0])
        return (kept[0] * x).square().sum()

    jvp(grad(loss), (torch.ones(3),), (torch.ones(3),))
    with still_raises("INTERNAL ASSERT", "values that outlive a transform", "nothing"):
        grad(loss)(torch.ones(3))


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.randn(3, 4, generator=generator), "b": torch.randn(4, generator=generator)}


def network(params: dict[str, Tensor], x: Tensor) -> Tensor:
    return (torch.tanh(x @ params["a"]) @ params["b"]).square().mean()


def compiled_loss(backend: str) -> tuple[Tensor, Tensor]:
    """The meta-gradient through a compiled least-squares loss, and the right one."""
    torch.compiler.reset()
    torch.manual_seed(0)
    x, y, w = (torch.randn(*shape, dtype=torch.float64) for shape in ((5, 3), (5,), (3,)))
    w = w.requires_grad_()

    def loss(w, x, y):
        return (x @ w - y).square().mean()

    def meta(loss):
        (slope,) = torch.autograd.grad(loss(w, x, y), w, create_graph=True)
        return torch.autograd.grad(loss(w - LR * slope, x, y), w)[0]

    return meta(torch.compile(loss, backend=backend)), meta(loss)


@pytest.mark.compiled
def test_a_compiled_inner_loss_is_silently_wrong():
    found, expected = compiled_loss("aot_eager")
    if torch.allclose(found, expected, rtol=1e-6):
        mended("double backward through a compiled loss", "the advice to compile the whole step")


@pytest.mark.compiled
def test_a_compiled_inner_loss_is_refused_by_inductor():
    with still_raises("double backward", "double backward through a compiled loss", "the advice"):
        compiled_loss("inductor")


@pytest.mark.compiled
def test_grad_of_a_compiled_function_is_refused():
    """With fullgraph; without it, the function silently runs as if it had not been compiled."""
    torch.compiler.reset()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    with still_raises("func.grad|functorch", "torch.func.grad of a compiled function", "the advice", Unsupported):
        grad(compiled)(weights(), torch.ones(4, 3))
    graphs = []

    def backend(module, inputs):
        graphs.append(module)
        return module

    silent, x = torch.compile(network, backend=backend), torch.ones(4, 3)
    assert distance(grad(silent)(weights(), x), grad(network)(weights(), x)) < 1e-6
    if graphs:
        mended("torch.func.grad of a compiled function without fullgraph", "the advice")
    torch.compiler.reset()
    torch.compile(network, backend=backend)(weights(), x)
    assert len(graphs) == 1  # By itself it is compiled.


@pytest.mark.compiled
def test_autograd_inside_a_compiled_function_breaks_the_graph():
    torch.compiler.reset()

    def slope(x):
        return torch.autograd.grad(x.sin().sum(), x)[0]

    remedy = "torch.func's derivative in the compiled step (metafunc.meta)"
    with still_raises("autograd", "torch.autograd.grad inside torch.compile", remedy, Unsupported):
        torch.compile(slope, backend="aot_eager", fullgraph=True)(torch.ones(3, requires_grad=True))


@pytest.mark.compiled
def test_vmapped_forward_mode_does_not_compile():
    torch.compiler.reset()

    def product(params, x):
        return jvp(lambda params: grad(network)(params, x), (params,), (params,))[1]

    batched, x = vmap(product, in_dims=(None, 0)), torch.ones(2, 4, 3)
    batched(weights(), x)
    remedy = "the mode of curvature.hessian"
    with still_raises("device mismatch", "compiled vmap(jvp(grad))", remedy, TorchRuntimeError):
        torch.compile(batched, backend="aot_eager", fullgraph=True)(weights(), x)


@pytest.mark.compiled
def test_numpy_breaks_the_graph():
    torch.compiler.reset()

    def flat(x):
        return x.reshape(np.prod(x.shape))

    message, trap = "unbacked symbols", "numpy shapes inside a compiled function"
    with still_raises(message, trap, "nothing", InternalTorchDynamoError):
        torch.compile(flat, backend="aot_eager", fullgraph=True)(torch.ones(2, 3))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "Adagrad"])
def test_fused_optimisers_are_silently_wrong(name):
    gradient = torch.tensor([[1.0, 2.0, 3.0], [-4.0, -5.0, -6.0]]).T

    def updated(gradient: Tensor, *, fused: bool) -> Tensor:
        leaf = torch.zeros(3, 2, requires_grad=True)
        leaf.grad = gradient
        getattr(torch.optim, name)([leaf], lr=0.1, fused=fused).step()
        return leaf.detach()

    right = updated(gradient, fused=False)
    torch.testing.assert_close(updated(gradient.contiguous(), fused=True), right)
    if torch.allclose(updated(gradient, fused=True), right):
        mended(f"fused {name} for gradients with other strides", "the copy in `State.descend`")


@pytest.mark.compiled
def test_the_whole_step_compiles():
    """What metafunc does instead of compiling the inner loss."""
    torch.compiler.reset()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    tasks = Task(Batch(x, x.sum(-1)), Batch(x + 1, x.sum(-1)))

    def loss(params, batch):
        return (torch.tanh(batch.x @ params["w"]) - batch.y).square().mean()

    params = {"w": torch.ones(3, dtype=torch.float64)}
    adapt = gradient_descent(loss, lr=LR)
    expected = grad(expected_query_loss(adapt, loss))(params, tasks)
    step = value_and_grad(lambda meta, task: loss(adapt(meta, task.support), task.query), lower=tracing.traced)
    assert distance(step(params, tasks)[1], expected) < 1e-12


def test_the_page_and_the_tests_are_about_the_same_traps():
    described = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    tests = {name for name in globals() if name.startswith("test_")} - {
        "test_the_page_and_the_tests_are_about_the_same_traps"
    }
    assert described == tests


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
