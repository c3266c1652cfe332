"""Gradients without torch's compiler are those with it, and what asks for it has it."""

import subprocess
import sys

import torch

from metafunc.training.optimisers import SGD, Adam

ALONE = """
import sys
import torch
from metafunc.execution.deferred_compiler import deferred_compiler

def gradient():
    loss = lambda w, x: torch.tanh(w * x).sum().square()
    inner = lambda w, x: w - 0.1 * torch.func.grad(loss)(w, x)
    return torch.func.grad(lambda w, x: torch.vmap(lambda row: loss(inner(w, row), row))(x).sum())

w, x = torch.linspace(-1, 1, 3), torch.linspace(0, 2, 12).reshape(4, 3)
with deferred_compiler():
    with deferred_compiler():
        without = gradient()(w, x)
    again = gradient()(w, x)
    assert "torch._dynamo" not in sys.modules
assert "_dynamo" not in vars(torch)
with deferred_compiler():
    assert not torch._dynamo.is_compiling()  # which imports it
    asked = sys.modules["torch._dynamo"]
    assert torch._dynamo is asked
    with_it = gradient()(w, x)
assert torch._dynamo is asked
assert all(torch.equal(without, other) for other in (again, with_it, gradient()(w, x)))

del torch._dynamo
with deferred_compiler():  # a module that has been imported is left alone
    assert "_dynamo" not in vars(torch)
"""


def test_it_is_imported_when_it_is_asked_for_and_changes_no_number() -> None:
    subprocess.run([sys.executable, "-c", ALONE], check=True)


def descended(kind: type[torch.optim.Optimizer], *, rounds: int = 3, **settings: object) -> tuple[list[float], object]:
    leaf = torch.linspace(-1, 1, 5)
    optimiser = kind([leaf], lr=0.1, **settings)  # type: ignore[call-arg, arg-type]  # the base class has none
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 5)
    for _ in range(rounds):
        leaf.grad = leaf.cos()
        optimiser.step()
        rates.step()
        again = kind([leaf], lr=0.3, **settings)  # type: ignore[call-arg, arg-type]
        again.load_state_dict(optimiser.state_dict())
    return leaf.tolist(), again.state_dict()


def test_optimisers_without_decorators_are_torch_s() -> None:
    for own, torch_s, settings in (
        (Adam, torch.optim.Adam, {"fused": True}),
        (Adam, torch.optim.Adam, {"betas": (0.0, 0.0)}),
        (SGD, torch.optim.SGD, {"momentum": 0.9}),
    ):
        assert own.__name__ == torch_s.__name__, "checkpoints hold the name"
        assert str(descended(own, **settings)) == str(descended(torch_s, **settings))
        assert str(descended(own, **settings)) != str(descended(torch_s, **settings, rounds=2))
