"""Can the meta-gradient through a network be trusted? Two modules, one good, one with a wrong backward pass."""

import torch

from metafunc.testing import check_module


class WrongSquare(torch.autograd.Function):
    """The square, whose hand-written backward pass forgets the factor 2."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.square()

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return gradient * x


class Square(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return WrongSquare.apply(x)


def network(nonlinearity: torch.nn.Module) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.LayerNorm(6), nonlinearity, torch.nn.Linear(6, 1))


for title, module in (("with GELU", network(torch.nn.GELU())), ("with a wrong square", network(Square()))):
    print(f"\nA network {title}:")
    for report in check_module(module):
        verdict = "holds" if report.holds else "FAILS"
        print(f"  {report.identity} {verdict}: error {report.error:.1e}, tolerance {report.tolerance:.1e}")
        if not report.holds:
            print(f"       {report.claim}")
