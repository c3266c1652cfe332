"""The two networks as users of torch write them: plain functions of a list of parameters, and modules."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.speed.workloads import PROBE_RATE, Workload

Forward = Callable[[Sequence[Tensor], Tensor], Tensor]


def forward_of(work: Workload) -> Forward:
    """The network as a function of its parameters in order."""
    if work.residual:
        return _resnet12
    return _conv4 if work.images else _mlp


def _mlp(params: Sequence[Tensor], x: Tensor) -> Tensor:
    *hidden, (weight, bias) = zip(params[::2], params[1::2], strict=True)
    for own, shift in hidden:
        x = F.relu(F.linear(x, own, shift))
    return F.linear(x, weight, bias)


def _conv4(params: Sequence[Tensor], x: Tensor) -> Tensor:
    for i in range(0, 12, 3):
        x = F.conv2d(x, params[i], padding=1)
        x = F.batch_norm(x, None, None, params[i + 1], params[i + 2], training=True)
        x = F.max_pool2d(F.relu(x), 2)
    return F.linear(x.flatten(1), params[12], params[13])


def _resnet12(params: Sequence[Tensor], x: Tensor) -> Tensor:
    def normalised(h: Tensor, i: int) -> Tensor:
        h = F.conv2d(h, params[i], padding=params[i].shape[-1] // 2)
        return F.batch_norm(h, None, None, params[i + 1], params[i + 2], training=True)

    for i in range(0, 48, 12):
        h = F.leaky_relu(normalised(x, i), 0.1)
        h = F.leaky_relu(normalised(h, i + 3), 0.1)
        x = F.max_pool2d(F.leaky_relu(normalised(h, i + 6) + normalised(x, i + 9), 0.1), 2)
    return F.linear(x.mean((2, 3)), params[48], params[49])


class Block(nn.Module):
    """A residual block."""

    def __init__(self, fan_in: int, width: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for inputs in (fan_in, width, width):
            parts += [nn.Conv2d(inputs, width, 3, padding=1, bias=False)]
            parts += [nn.BatchNorm2d(width, track_running_stats=False), nn.LeakyReLU(0.1)]
        self.layers = nn.Sequential(*parts[:-1])
        norm = nn.BatchNorm2d(width, track_running_stats=False)
        self.shortcut = nn.Sequential(nn.Conv2d(fan_in, width, 1, bias=False), norm)

    def forward(self, x: Tensor) -> Tensor:
        """Both ways added, rectified and halved."""
        return F.max_pool2d(F.leaky_relu(self.layers(x) + self.shortcut(x), 0.1), 2)


def module_of(work: Workload) -> nn.Module:
    """The network as a module with the workload's initial parameters."""
    module = _residual(work) if work.residual else _sequential(work)
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), parameters_of(work), strict=True):
            parameter.data = value
    return module


def _residual(work: Workload) -> nn.Module:
    first = work.widths[0]
    fans = (work.input_shape[0], first, 5 * first // 2, 5 * first, 10 * first)
    blocks = [Block(a, b) for a, b in itertools.pairwise(fans)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(fans[-1], work.num_outputs))


def _sequential(work: Workload) -> nn.Module:
    layers: list[nn.Module] = []
    fan_in = work.input_shape[0]
    for width in work.widths:
        if work.images:
            convolution = nn.Conv2d(fan_in, width, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(width, track_running_stats=False), nn.ReLU(), nn.MaxPool2d(2)]
        else:
            layers += [nn.Linear(fan_in, width), nn.ReLU()]
        fan_in = width
    *_, weight, _ = work.params().values()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(weight.shape[-1], work.num_outputs))


def parameters_of(work: Workload) -> list[Tensor]:
    """The initial parameters in order."""
    return [torch.tensor(leaf) for leaf in work.params().values()]


def tasks_of(work: Workload) -> list[tuple[Tensor, ...]]:
    """(support x, support y, query x, query y) for each task."""
    return list(zip(*map(torch.tensor, work.tasks()), strict=True))


def loss_of(work: Workload) -> Callable[[Tensor, Tensor], Tensor]:
    """The mean loss over rows."""
    return F.mse_loss if work.kind == "regression" else F.cross_entropy


def optimiser_of(work: Workload, parameters: Any) -> torch.optim.Optimizer:
    """The outer optimiser."""
    return torch.optim.Adam(parameters, lr=1e-3) if work.outer == "adam" else torch.optim.SGD(parameters, lr=PROBE_RATE)
