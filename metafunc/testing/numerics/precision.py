r"""How many digits a function of double-precision numbers keeps: some forwards compute in a coarser type by themselves.

A candidate is the coarsest floating-point type in which anything is computed, with spacing $\epsilon$. Whether it costs
digits shows in second differences at steps of about that size, beside a larger one,

$$D(h) = \lVert f(\theta + hv) - 2 f(\theta) + f(\theta - hv) \rVert,$$

which are $O(h^2)$ for a smooth function, and do not shrink with h where the numbers that it goes through are rounded.
No derivative enters, so that a wrong one is not taken for rounding, nor the reverse.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from metafunc import tree
from metafunc.types import Tree

DOUBLE = torch.finfo(torch.float64).eps


class _Coarsest(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's mode has no annotations
    """While it is entered, it notes the coarsest floating-point type of what operations return."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.eps = DOUBLE

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the operation, and look at its outputs."""
        outputs = func(*args, **(kwargs or {}))
        for leaf in outputs if isinstance(outputs, list | tuple) else (outputs,):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                self.eps = max(self.eps, torch.finfo(leaf.dtype).eps)
        return outputs


def precision(function: Callable[[Tree], Tree], at: Tree, along: Tree) -> float:
    """The relative spacing of the numbers that a function's values depend on: that of doubles, or of a coarser type.

    Args:
        function: from a tree to a tree, both in double precision.
        at: the point.
        along: a direction as long as the point.

    Examples:
        >>> import torch
        >>> from metafunc.testing.numerics.precision import precision
        >>> x = torch.linspace(1, 2, 50, dtype=torch.float64)
        >>> rounded = precision(lambda x: x.float().exp().double(), x, x)
        >>> rounded == torch.finfo(torch.float32).eps, precision(torch.exp, x, x) == torch.finfo(torch.float64).eps
        (True, True)
    """
    with _Coarsest() as found:
        value = function(at)
    eps: float = found.eps
    if eps == DOUBLE:
        return DOUBLE
    far, floor = second_difference(function, at, along, eps**0.5), 1e3 * DOUBLE * float(tree.norm(value))
    for step in (eps / 2, eps / 4, eps / 8):  # a few rounded numbers can stay the same at one of them
        # Of a smooth function it is step^2 / eps times the far one, or a rounding error of doubles.
        if second_difference(function, at, along, step) > max(16 * far * step**2 / eps, floor):
            return eps
    return DOUBLE


def second_difference(function: Callable[[Tree], Tree], at: Tree, along: Tree, h: float) -> float:
    """The length of the second difference at a step."""
    above, below = function(tree.add_scaled(at, h, along)), function(tree.add_scaled(at, -h, along))
    return float(tree.norm(tree.sub(tree.map(torch.add, above, below), tree.scale(function(at), 2.0))))
