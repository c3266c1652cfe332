"""Not a contender: square matrix products, whose rate in the same rounds turns a number of operations into a time."""

import torch

from benchmarks.speed.workloads import MATMUL_SIZE, OnStep, Workload


def train(work: Workload, on_step: OnStep, option: str = "") -> None:
    """Multiply."""
    a, b = torch.ones(2, MATMUL_SIZE, MATMUL_SIZE)
    out = torch.empty(MATMUL_SIZE, MATMUL_SIZE)
    for _ in range(work.outer_steps):
        torch.mm(a, b, out=out)
        on_step([out])
