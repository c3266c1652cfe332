"""Not a contender: counts the floating-point operations of matrix products and convolutions in one step of the loop."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.contenders import loop
from benchmarks.speed.workloads import Workload


def train(work: Workload, on_step: Callable[[], None], option: str = "") -> list[Tensor]:
    """One step of the task loop; what it returns is their number."""
    with FlopCounterMode(display=False) as counter:
        loop.train(replace(work, outer_steps=1), on_step)
    return [torch.tensor(float(counter.get_total_flops()), dtype=torch.float64)]
