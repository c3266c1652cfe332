"""A transformer neural process as its authors write it: `torch.nn.TransformerEncoder` over a batch of tasks."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.speed.contenders.networks import optimiser_of, parameters_of
from benchmarks.speed.workloads import FLOOR, HEADS, LAYERS, OnStep, Workload


class Tnp(nn.Module):
    """Embedding, encoder and predictor."""

    def __init__(self, work: Workload) -> None:
        super().__init__()
        width = work.widths[-1]
        self.embedder = perceptron((work.input_shape[0] + 1, *work.widths, width))
        layer = nn.TransformerEncoderLayer(width, HEADS, 2 * width, dropout=0.0, activation=F.gelu, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.predictor = perceptron((width, *work.widths, 2))

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        """The mean negative log-likelihood of the query rows of a batch of tasks."""
        count, total = support_x.shape[1], support_x.shape[1] + query_x.shape[1]
        known = torch.cat([support_x, support_y], -1)
        asked = torch.cat([query_x, torch.zeros_like(query_y)], -1)
        mask = torch.zeros(total, total).fill_(float("-inf"))
        mask[:, :count] = 0.0
        encoded = self.encoder(self.embedder(torch.cat([known, asked], 1)), mask=mask.to(support_x))
        mean, raw = self.predictor(encoded[:, count:]).chunk(2, -1)
        scale = FLOOR + (1 - FLOOR) * F.softplus(raw)
        return -torch.distributions.Normal(mean, scale).log_prob(query_y).mean()


def perceptron(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with rectifiers between them."""
    pairs = itertools.pairwise(widths)
    return nn.Sequential(*[part for a, b in pairs for part in (nn.Linear(a, b), nn.ReLU())][:-1])


def train(work: Workload, on_step: OnStep, option: str = "") -> None:
    """Meta-train."""
    module = Tnp(work).to(getattr(torch, work.dtype))
    leaves = in_order(module, work.widths[-1])
    for leaf, value in zip(leaves, parameters_of(work), strict=True):
        leaf.copy_(value)
    tasks = tuple(map(torch.tensor, work.tasks()))
    optimiser = optimiser_of(work, module.parameters())
    for _ in range(work.outer_steps):
        optimiser.zero_grad()
        module(*tasks).backward()
        optimiser.step()
        on_step(leaves)


def in_order(module: Tnp, width: int) -> list[Tensor]:
    """Views of the parameters in the order of the workload's."""
    found = [*module.embedder.parameters()]
    for layer in module.encoder.layers:
        attention = layer.self_attn
        weights, biases = attention.in_proj_weight.split(width), attention.in_proj_bias.split(width)
        found += [leaf for pair in zip(weights, biases, strict=True) for leaf in pair]
        found += [attention.out_proj.weight, attention.out_proj.bias, *layer.norm1.parameters()]
        found += [*layer.linear1.parameters(), *layer.linear2.parameters(), *layer.norm2.parameters()]
    return [leaf.detach() for leaf in (*found, *module.predictor.parameters())]
