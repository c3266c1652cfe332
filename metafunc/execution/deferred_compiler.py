"""`torch.func` without torch's compiler, until something asks for it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

COMPILER, AUTOGRAD = "torch._dynamo", "torch._dynamo.compiled_autograd"


@contextmanager
def deferred_compiler() -> Iterator[None]:
    """Gradients of `torch.func` do not import `torch._dynamo` meanwhile, which takes most of a second.

    Each of them asks it to switch compiled autograd off. Where it has not been imported nothing can have switched that
    on: so there is nothing to do, which is what a stand-in answers. Whatever else is asked of that imports the module,
    and the import puts the module in its place.

    Examples:
        >>> import torch
        >>> from metafunc.execution.deferred_compiler import deferred_compiler
        >>> with deferred_compiler():
        ...     torch.func.grad(torch.sin)(torch.tensor(0.0))
        tensor(1.)
    """
    if COMPILER in sys.modules or "_dynamo" in vars(torch):
        yield
        return
    stand_in = _Deferred(COMPILER, compiled_autograd=_Deferred(AUTOGRAD, _disable=nullcontext))
    setattr(torch, "_dynamo", stand_in)  # noqa: B010 - the type of a module is not this one's
    try:
        yield
    finally:
        if vars(torch).get("_dynamo") is stand_in:
            del torch._dynamo


class _Deferred(ModuleType):
    """A module that is imported when something is asked of it that is not given here."""

    def __init__(self, name: str, **given: Any) -> None:
        super().__init__(name)
        vars(self).update(given)

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)
