"""Not a contender: counts the floating-point operations of matrix products and convolutions in one step of the loop."""

from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.contenders import loop
from benchmarks.speed.workloads import OnStep, Workload


def train(work: Workload, on_step: OnStep, option: str = "") -> None:
    """One step of the task loop; what it hands over is their number."""
    with FlopCounterMode(display=False) as counter:
        loop.train(replace(work, outer_steps=1), lambda _: None)
    on_step([torch.tensor(float(counter.get_total_flops()), dtype=torch.float64)])
