"""Optimisers and schedules come back from a checkpoint bitwise."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, optim
from torch.optim import lr_scheduler

from metafunc.training import checkpoint

OPTIMISERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "adam": lambda leaves: optim.Adam(leaves, lr=0.1),
    "amsgrad": lambda leaves: optim.AdamW(leaves, lr=0.1, amsgrad=True),
    "tensor rate": lambda leaves: optim.Adam(leaves, lr=torch.tensor(0.1)),
    "nesterov": lambda leaves: optim.SGD(leaves, lr=0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda leaves: optim.RMSprop(leaves, lr=0.1, momentum=0.5, centered=True),
    "nadam": lambda leaves: optim.NAdam(leaves),
    "adagrad": lambda leaves: optim.Adagrad(leaves),
    "groups": lambda leaves: optim.SGD(
        [{"params": leaves[:1], "lr": 0.5}, {"params": leaves[1:]}], lr=0.1, momentum=0.9
    ),
}
SCHEDULES: dict[str, Callable[[optim.Optimizer], Any]] = {
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=20),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.3, total_steps=20, cycle_momentum="betas" in o.defaults),
    "multi-step": lambda o: lr_scheduler.MultiStepLR(o, [3, 12]),
    "sequence": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, total_iters=5), lr_scheduler.ExponentialLR(o, 0.9)], milestones=[5]
    ),
}


def descent(leaves: list[Tensor], update: optim.Optimizer, rates: Any) -> Iterator[list[Tensor]]:
    while True:
        for leaf in leaves:
            leaf.grad = leaf.sin() + 0.1
        update.step()
        rates.step()
        yield [leaf.clone() for leaf in leaves]


# torch's one-cycle and sequence schedules turn a rate that is a tensor into a number.
PAIRS = [(o, s) for o in OPTIMISERS for s in SCHEDULES if o != "tensor rate" or s not in ("one cycle", "sequence")]


@pytest.mark.parametrize(("name", "schedule"), PAIRS)
def test_optimisers_and_schedules_go_on_bitwise(name: str, schedule: str) -> None:
    start = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]

    def fresh() -> tuple[list[Tensor], optim.Optimizer, Any]:
        leaves = [leaf.clone() for leaf in start]
        update = OPTIMISERS[name](leaves)
        return leaves, update, SCHEDULES[schedule](update)

    leaves, update, rates = fresh()
    unbroken = descent(leaves, update, rates)
    for _ in range(8):
        middle = next(unbroken)
    stored: dict[str, Tensor] = {}
    text = json.dumps([checkpoint.pack(part.state_dict(), str(i), stored) for i, part in enumerate((update, rates))])
    blob = safetensors.torch.save({key: value.clone() for key, value in stored.items()})
    expected = [next(unbroken) for _ in range(9)]

    leaves, update, rates = fresh()
    for leaf, value in zip(leaves, middle, strict=True):
        leaf.copy_(value)
    back = safetensors.torch.load(blob)
    for part, state in zip((update, rates), json.loads(text), strict=True):
        part.load_state_dict(checkpoint.unpack(state, back))
    resumed = descent(leaves, update, rates)
    for step in expected:
        assert all(torch.equal(a, b) for a, b in zip(next(resumed), step, strict=True))


def test_a_state_that_only_pickle_could_hold_is_refused() -> None:
    with pytest.raises(ValueError, match=r"optimiser\.closure is a function"):
        checkpoint.pack({"closure": lambda: None}, "optimiser", {})
