"""The traps of docs/gotchas.md that torch.compile sets, sprung on purpose."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import InternalTorchDynamoError, TorchRuntimeError, Unsupported
from torch._higher_order_ops.scan import scan
from torch.func import grad, jvp, vmap

from metafunc.execution import tracing
from metafunc.execution.gradient import value_and_grad
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.objectives import expected_query_loss
from metafunc.types import Batch, Task

from .traps import LR, distance, fixed, still_raises

pytestmark = pytest.mark.filterwarnings("ignore")


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
        (gradient,) = torch.autograd.grad(loss(w, x, y), w, create_graph=True)
        return torch.autograd.grad(loss(w - LR * gradient, x, y), w)[0]

    return meta(torch.compile(loss, backend=backend)), meta(loss)


@pytest.mark.compiled
def test_a_compiled_inner_loss_is_silently_wrong():
    found, expected = compiled_loss("aot_eager")
    if torch.allclose(found, expected, rtol=1e-6):
        fixed("double backward through a compiled loss", "the advice to compile the whole step")


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
        fixed("torch.func.grad of a compiled function without fullgraph", "the advice")
    torch.compiler.reset()
    torch.compile(network, backend=backend)(weights(), x)
    assert len(graphs) == 1  # By itself it is compiled.


@pytest.mark.compiled
def test_autograd_inside_a_compiled_function_breaks_the_graph():
    torch.compiler.reset()

    def gradient(x):
        return torch.autograd.grad(x.sin().sum(), x)[0]

    remedy = "torch.func's derivative in the compiled step (metafunc.execution)"
    with still_raises("autograd", "torch.autograd.grad inside torch.compile", remedy, Unsupported):
        torch.compile(gradient, backend="aot_eager", fullgraph=True)(torch.ones(3, requires_grad=True))


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
