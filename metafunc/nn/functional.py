"""A module called as a function of its parameters."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metafunc.nn.exact_mode import Exact
from metafunc.types import Params


@dataclass(frozen=True)
class Functional:
    """A module with no other holder, of which the named parameters are arguments and all else is constant.

    Args:
        module: filled with the parameters while `apply` runs, and restored after.
        names: the parameters that are arguments.
        batch_statistics: whether the module may normalise by the statistics of the batch.
    """

    module: nn.Module
    names: tuple[str, ...]
    batch_statistics: bool

    def params(self) -> Params:
        """Copies of the module's own values."""
        own = dict(self.module.named_parameters())
        return {name: own[name].detach().clone() for name in self.names}

    def apply(self, params: Params, x: Tensor) -> Tensor:
        """The module's output, exact to second order."""
        missing, unknown = sorted(set(self.names) - set(params)), sorted(set(params) - set(self.names))
        if missing or unknown:
            raise ValueError(
                f"the parameters do not fit the module: missing {missing}, unknown {unknown}. Pass all the leaves that "
                "init returns, and no others."
            )
        constants = dict(self.module.named_buffers())
        constants |= {name: leaf for name, leaf in self.module.named_parameters() if name not in self.names}
        # A compiled function cannot count the writes to a tensor.
        before = {} if torch.compiler.is_compiling() else {name: leaf._version for name, leaf in constants.items()}
        with Exact(batch_statistics=self.batch_statistics):
            output = functional_call(self.module, {**constants, **params}, (x,))
        if written := [name for name, version in before.items() if constants[name]._version != version]:
            raise ValueError(
                f"the module's forward writes to {', '.join(written)}, but a pure function has no state: call .eval() "
                "first, or pass what it should remember as part of the input."
            )
        if not isinstance(output, Tensor):
            raise TypeError(f"the module returned a {type(output).__name__}: wrap it so that it returns one tensor.")
        return output
