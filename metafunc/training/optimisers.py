"""torch's optimisers without their decorators, which import torch's compiler.

The decorators have the compiler pass a method over, or break its graph at a step; the first call of each imports the
whole of it, most of a second. Nothing compiles these optimisers. What is decorated is called as it is: the same numbers
and the same state, under the names that checkpoints have for them.
"""

from inspect import unwrap
from typing import Any

import torch
from torch.optim import Optimizer


class _Undecorated(Optimizer):
    add_param_group: Any = unwrap(Optimizer.add_param_group)
    zero_grad: Any = unwrap(Optimizer.zero_grad)
    state_dict: Any = unwrap(Optimizer.state_dict)
    load_state_dict: Any = unwrap(Optimizer.load_state_dict)


class Adam(_Undecorated, torch.optim.Adam):
    """The same as `torch.optim.Adam`.

    Examples:
        >>> import torch
        >>> from metafunc.training.optimisers import Adam
        >>> leaf = torch.zeros(2)
        >>> leaf.grad = torch.tensor([1.0, -3.0])
        >>> Adam([leaf], lr=0.1, fused=True).step()
        >>> leaf
        tensor([-0.1000,  0.1000])
    """

    step: Any = torch.no_grad()(unwrap(torch.optim.Adam.step))


class SGD(_Undecorated, torch.optim.SGD):
    """The same as `torch.optim.SGD`."""

    step: Any = torch.no_grad()(unwrap(torch.optim.SGD.step))
