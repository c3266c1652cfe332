"""What modules are called with while a training looks over its first tasks: on that they are tried."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor
from torch._C._functorch import get_unwrapped, is_batchedtensor, is_functorch_wrapped_tensor, maybe_get_bdim

from metafunc.nn import module_trial
from metafunc.nn.functional import WATCH, Functional
from metafunc.types import Params


@dataclass
class _Use:
    """What a module was called with."""

    functional: Functional
    params: Params
    inputs: list[Tensor] = field(default_factory=list)

    def pair(self) -> list[Tensor]:
        """Inputs of two tasks: two calls' of one shape, or one call's and the same rows in another order."""
        for i, x in enumerate(self.inputs):
            for other in self.inputs[i + 1 :]:
                if x.shape == other.shape:
                    return [x, other]
        return module_trial.own_inputs(self.inputs[0])


@contextmanager
def trying() -> Iterator[None]:
    """Try every module that is called within on what it is called with, as it is, and in its numbers' own type.

    Raises:
        ValueError: a module is no pure function with right second derivatives; the message names the submodule.
    """
    uses: dict[int, _Use] = {}
    failed: Exception | None = None

    def watch(functional: Functional, params: Params, x: Tensor) -> None:
        use = uses.setdefault(
            id(functional), _Use(functional, {name: _single(leaf)[0] for name, leaf in params.items()})
        )
        if len(use.inputs) < 4:  # a support set and a query set of each of two tasks
            use.inputs += _single(x)

    token = WATCH.set(watch)
    try:
        yield
    except ValueError:  # says already what is wrong
        raise
    except (
        Exception
    ) as error:  # A user-supplied forward raises what it will; the trial may know which part does, and why.
        failed = error
    finally:
        WATCH.reset(token)
    for use in uses.values():
        module_trial.try_out(use.functional, use.pair(), use.params)
    if failed is not None:
        raise failed


def _single(leaf: Tensor) -> list[Tensor]:
    """A tensor out of all transforms: of a batched one, the first two."""
    found = [leaf.detach()]
    while any(is_functorch_wrapped_tensor(each) for each in found):
        found = [part for each in found for part in _unwrapped(each)][:2]
    return [each.clone() for each in found]


def _unwrapped(leaf: Tensor) -> list[Tensor]:
    if not is_batchedtensor(leaf):
        return [get_unwrapped(leaf)]
    axis = maybe_get_bdim(leaf)
    return list(get_unwrapped(leaf).movedim(axis, 0)[:2])
