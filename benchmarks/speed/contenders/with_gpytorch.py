"""GPyTorch, as the authors of deep kernel transfer call it: one exact process, given each task's features in turn."""

import itertools
import math
from typing import Any

import gpytorch
import torch
from gpytorch.constraints import Positive
from torch import Tensor, nn

from benchmarks.speed.contenders.networks import optimiser_of, parameters_of, tasks_of
from benchmarks.speed.workloads import COMPONENTS, JITTER, OnStep, Workload


class SpectralMixture(gpytorch.kernels.SpectralMixtureKernel):
    """A component is the product over features, as in the kernel's paper; GPyTorch's own multiplies sums over
    components, for which there is one weight a feature. The jitter of the diagonal is ours."""

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, last_dim_is_batch: bool = False, **_: Any) -> Tensor:
        apart = x1[..., None, :, None, :] - x2[..., None, None, :, :]
        decay = (apart * self.mixture_scales[..., None, :]).pow(2).mul(-2 * math.pi**2)
        found = (decay.exp() * (apart * self.mixture_means[..., None, :]).mul(2 * math.pi).cos()).prod(-1)
        gram = (found * self.mixture_weights[..., None, None]).sum(-3)
        gram = gram + JITTER * self.mixture_weights.sum() * torch.eye(gram.shape[-1], dtype=gram.dtype)
        return gram.diagonal(dim1=-2, dim2=-1) if diag else gram


class Process(gpytorch.models.ExactGP):
    """A constant mean and the kernel."""

    def __init__(self, likelihood: Any, num_features: int) -> None:
        super().__init__(None, None, likelihood)
        self.mean_module = gpytorch.means.ConstantMean()
        positive = {
            f"mixture_{name}_constraint": Positive(transform=torch.exp, inv_transform=torch.log)
            for name in ("scales", "weights")
        }
        plain = {"mixture_means_constraint": Positive(transform=_same, inv_transform=_same)}
        self.covar_module = SpectralMixture(COMPONENTS, ard_num_dims=num_features, **positive, **plain)

    def forward(self, x: Tensor) -> Any:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def train(work: Workload, on_step: OnStep, option: str = "") -> None:
    """Meta-train."""
    initial = dict(zip(work.params(), parameters_of(work), strict=True))
    noise = Positive(transform=lambda raw: (2 * raw).exp(), inv_transform=lambda value: value.log() / 2)
    observed = gpytorch.likelihoods.GaussianLikelihood(noise_constraint=noise)
    process = Process(observed, work.widths[-1]).to(initial["mean"].dtype)
    fans = (work.input_shape[0], *work.widths)
    layers = [part for a, b in itertools.pairwise(fans) for part in (nn.Linear(a, b), nn.ReLU())]
    network = nn.Sequential(*layers, nn.Linear(fans[-1], work.widths[-1]))
    kernel = process.covar_module
    own = [kernel.raw_mixture_weights, kernel.raw_mixture_means, kernel.raw_mixture_scales]
    parameters = [*network.parameters(), *own, process.mean_module.raw_constant, observed.noise_covar.raw_noise]
    for parameter, value in zip(parameters, initial.values(), strict=True):
        parameter.data = value.reshape(parameter.shape)
    evidence = gpytorch.mlls.ExactMarginalLogLikelihood(observed, process)
    tasks = [(torch.cat([task[0], task[2]]), torch.cat([task[1], task[3]])[:, 0]) for task in tasks_of(work)]
    optimiser = optimiser_of(work, parameters)
    process.train()
    leaves = [
        parameter.detach().reshape(initial[name].shape) for name, parameter in zip(initial, parameters, strict=True)
    ]
    for _ in range(work.outer_steps):
        optimiser.zero_grad()
        for x, y in tasks:
            features = network(x)
            process.set_train_data(inputs=features, targets=y, strict=False)
            (-evidence(process(features), process.train_targets) / work.num_tasks).backward()
        optimiser.step()
        on_step(leaves)


def _same(raw: Tensor) -> Tensor:
    return raw
