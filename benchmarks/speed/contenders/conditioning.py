"""Learners that adapt without steps, as users of torch write them for one task: plain functions of parameters."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.speed.workloads import FLOOR, HEADS, JITTER, LAYERS, Workload

TaskLoss = Callable[[list[Tensor], Tensor, Tensor, Tensor, Tensor], Tensor]
Named = Mapping[str, Tensor]


def task_loss_of(work: Workload) -> TaskLoss:
    """The loss of one task, of the parameters in order and (support x, support y, query x, query y)."""
    names, depth = list(work.params()), len(work.widths)
    loss = {"tnp": tnp_loss, "dkt": dkt_loss}[work.learner]
    return lambda params, *task: loss(dict(zip(names, params, strict=True)), depth, *task)


def perceptron(p: Named, prefix: str, depth: int, x: Tensor) -> Tensor:
    """Linear layers with rectifiers between them."""
    for i in range(1, depth + 1):
        x = F.relu(F.linear(x, p[f"{prefix}layer{i}.weight"], p[f"{prefix}layer{i}.bias"]))
    return F.linear(x, p[f"{prefix}head.weight"], p[f"{prefix}head.bias"])


def tnp_loss(p: Named, depth: int, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
    """The mean negative log-likelihood of the query rows, all of whose tokens read the support set's."""
    rows, count = torch.cat([support_x, query_x]), len(support_x)
    h = perceptron(p, "tokens.", depth, torch.cat([rows, torch.cat([support_y, torch.zeros_like(query_y)])], 1))

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    def normed(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], p[f"{name}.scale"], p[f"{name}.shift"])

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(1, (HEADS, -1)).movedim(1, 0)

    for i in range(1, LAYERS + 1):
        query, key, value = (heads(linear(f"block{i}.{name}", h)) for name in ("query", "key", "value"))
        found = F.scaled_dot_product_attention(query, key[:, :count], value[:, :count])
        h = normed(f"block{i}.norm1", h + linear(f"block{i}.merge", found.movedim(0, 1).flatten(1)))
        h = normed(f"block{i}.norm2", h + linear(f"block{i}.layer2", F.gelu(linear(f"block{i}.layer1", h))))
    mean, raw = perceptron(p, "head.", depth, h[count:]).chunk(2, 1)
    scale = FLOOR + (1 - FLOOR) * F.softplus(raw)
    return -torch.distributions.Normal(mean, scale).log_prob(query_y).mean()


def dkt_loss(p: Named, depth: int, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
    """The negative log evidence of all rows, per row."""
    features = perceptron(p, "", depth, torch.cat([support_x, query_x]))
    y = torch.cat([support_y, query_y])[:, 0] - p["mean"]
    apart = features[:, None] - features
    gram = torch.zeros_like(apart[..., 0])
    for log_weight, frequency, log_bandwidth in zip(p["log_weight"], p["frequency"], p["log_bandwidth"], strict=True):
        decay = -2 * math.pi**2 * (apart * log_bandwidth.exp()).square().sum(-1)
        gram = gram + (log_weight + decay).exp() * (2 * math.pi * apart * frequency).cos().prod(-1)
    noise = (2 * p["log_scale"]).exp() + JITTER * gram.diagonal().mean()
    evidence = torch.distributions.MultivariateNormal(torch.zeros_like(y), gram + noise * torch.eye(len(y)).to(y))
    return -evidence.log_prob(y) / len(y)
