"""What a module must not contain to be a pure function with second derivatives, and what to use instead."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules import batchnorm, dropout
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrizations
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from metafunc.nn import module_attributes

_RECURRENT = "torch's recurrence has no second derivative under vmap: write it with nn.Linear and a Python loop."
_PARALLEL = "pass the module that it wraps: its attribute .module."
_NEVER: dict[type[nn.Module], str] = {
    nn.RNNBase: _RECURRENT,
    nn.RNNCellBase: _RECURRENT,
    nn.EmbeddingBag: "it has no second derivative: use nn.Embedding and take the mean or sum over its rows.",
    nn.CrossMapLRN2d: "it has no second derivative: use nn.LocalResponseNorm.",
    nn.FractionalMaxPool2d: "it draws random regions: use nn.MaxPool2d or nn.AdaptiveMaxPool2d.",
    nn.FractionalMaxPool3d: "it draws random regions: use nn.MaxPool3d or nn.AdaptiveMaxPool3d.",
    torch.jit.ScriptModule: "its operations are out of reach: pass the module that it was scripted or traced from.",
    nn.DataParallel: _PARALLEL,
    nn.parallel.DistributedDataParallel: _PARALLEL,
}


def refuse(module: nn.Module, *, batch_norm: str) -> None:
    """Raise a ValueError that names the first submodule that cannot be taken, and a way out."""
    parts = {id(part) for part in module.modules()}
    of_parts = (
        (name, part, reason)
        for name, part in module.named_modules()
        for reason in (*_reasons(part, batch_norm), *module_attributes.reasons(part, parts))
    )
    for name, part, reason in (*of_parts, *module_attributes.sharing(module)):
        where = f"the submodule {name!r}" if name else "the module itself"
        raise ValueError(f"from_module cannot take {where} ({type(part).__name__}): {reason}")
    if not any(leaf.requires_grad for leaf in module.parameters()):
        raise ValueError(
            f"from_module cannot take a {type(module).__name__} without parameters that require a gradient: there is "
            "nothing to adapt. Call .requires_grad_() on the parts that should learn."
        )


def _reasons(part: nn.Module, batch_norm: str) -> Iterable[str]:
    yield from (reason for kind, reason in _NEVER.items() if isinstance(part, kind))
    if any(is_lazy(leaf) for leaf in (*part.parameters(recurse=False), *part.buffers(recurse=False))):
        yield "its parameters have no shape yet: run the module once on an example batch first."
    for name, leaf in part.named_parameters(recurse=False):
        if not leaf.is_floating_point():
            yield f"its parameter {name!r} is {leaf.dtype}: use real floating-point parameters, or a buffer."
    if hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None:
        yield "it is compiled: pass the module as it was before, and compile the whole training step instead."
    if any(isinstance(hook, SpectralNorm | WeightNorm) for hook in part._forward_pre_hooks.values()):
        yield "its weight is set by a hook: use the functions of torch.nn.utils.parametrizations instead."
    if isinstance(part, nn.Embedding) and (part.max_norm is not None or part.scale_grad_by_freq):
        yield "max_norm changes the weight in place and scale_grad_by_freq has no second derivative: leave both off."
    if part.training:
        yield from _reasons_in_training(part, batch_norm)


def _reasons_in_training(part: nn.Module, batch_norm: str) -> Iterable[str]:
    if isinstance(part, batchnorm._NormBase) and part.track_running_stats and batch_norm == "refuse":
        yield (
            "in training it would update running statistics: call .eval() first to normalise by those it has, or pass "
            'batch_norm="batch" to normalise by the batch at hand.'
        )
    if isinstance(part, dropout._DropoutNd) and part.p > 0:
        yield f"its dropout with p={part.p} draws random numbers: call .eval() first, or set p=0."
    if isinstance(part, nn.MultiheadAttention) and part.dropout > 0:
        yield f"its dropout={part.dropout} draws random numbers: call .eval() first, or set dropout=0."
    if isinstance(part, nn.RReLU):
        yield "in training it draws random numbers: call .eval() first, or use nn.LeakyReLU."
    if isinstance(part, parametrizations._SpectralNorm):
        yield "in training its spectral norm updates a buffer at every call: call .eval() first."
