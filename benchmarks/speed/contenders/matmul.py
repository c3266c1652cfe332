"""Not a contender: square matrix products, whose rate in the same rounds turns a number of operations into a time."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.speed.workloads import MATMUL_SIZE, Workload


def train(work: Workload, on_step: Callable[[], None], option: str = "") -> list[Tensor]:
    """Multiply."""
    a, b = torch.ones(2, MATMUL_SIZE, MATMUL_SIZE)
    out = torch.empty(MATMUL_SIZE, MATMUL_SIZE)
    for _ in range(work.outer_steps):
        torch.mm(a, b, out=out)
        on_step()
    return []
