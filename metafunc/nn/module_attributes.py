"""What a module must not keep beside its parameters: more of them, or views, to which no argument finds its way."""

import copy
import functools
import types
import weakref
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Set

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_OPAQUE = (Tensor, nn.Module, type, types.ModuleType, types.FunctionType)
"""Values whose own attributes are not looked at."""
_REGISTRIES = ("_parameters", "_buffers", "_modules")
_COLLECTION = (
    "its attribute {name!r} holds parameters, which stay what they are there: use nn.ParameterList or "
    "nn.ParameterDict, or look them up by name in forward."
)
_UNREGISTERED = (
    "its attribute {name!r} holds a {kind} that is no submodule, so that its parameters are not learnt: use "
    "nn.ModuleList or nn.ModuleDict, or requires_grad_(False) on it if they should not be."
)
_FUNCTION = (
    "its attribute {name!r} is a function around {what}, and a copy's function would still use those of the original: "
    "make it a method, or pass them to it in forward."
)
_WEAK = (
    "its attribute {name!r} is a weak reference to {what}, and a copy's reference would still lead to those of the "
    "original: keep the submodule itself, in a list if it should not be registered twice."
)
_COMPUTED = (
    "its attribute {name!r} was computed from its parameters, as a hook or pruning does: make it permanent "
    "(torch.nn.utils.prune.remove), or compute it in forward."
)
_SHARED = (
    "its {name!r} shares memory with the parameter {other!r}, as views and .data do, and an argument would take the "
    "place of one of them only: put the same parameter in both places, or compute one from the other in forward."
)
_COMPILED = "its attribute {name!r} is a compiled function: use the function as it was before it was compiled."


def reasons(part: nn.Module, parts: Set[int]) -> Iterable[str]:
    """What is wrong with a submodule's plain attributes: arguments take the place of registered parameters only.

    Args:
        part: the submodule.
        parts: the identities of all submodules of the module.
    """
    for name, value in vars(part).items():
        if name in _REGISTRIES:
            continue
        for leaf in _held(value):
            if reason := _reason(leaf, parts):
                yield reason.format(name=name, kind=type(leaf).__name__, what=_learning(_behind(leaf)))


def sharing(module: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """The submodules that keep a tensor with the memory of another tensor that learns: path, submodule and reason."""
    learning: dict[object, list[tuple[str, Tensor]]] = defaultdict(list)
    for name, leaf in module.named_parameters():
        if leaf.requires_grad and _in_memory(leaf):
            learning[_place(leaf)].append((name, leaf))
    for path, part in module.named_modules():
        kept = {name: value for name, value in vars(part).items() if name not in _REGISTRIES}
        for name, value in {**kept, **part._parameters, **part._buffers}.items():
            for tensor in (held for held in _held(value) if isinstance(held, Tensor) and _in_memory(held)):
                for other, known in learning[_place(tensor)]:
                    if tensor is not known and _meet(tensor, known):
                        yield path, part, _SHARED.format(name=name, other=other)


def _in_memory(leaf: Tensor) -> bool:
    return not is_lazy(leaf) and leaf.layout == torch.strided and leaf.device.type != "meta" and leaf.numel() > 0


def _place(leaf: Tensor) -> object:
    return leaf.device, leaf.untyped_storage().data_ptr()


def _meet(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors in the same storage have a number in common: parts of a flat vector have none."""
    if one.element_size() != other.element_size():
        return True
    found = torch.zeros(one.untyped_storage().nbytes() // one.element_size(), dtype=torch.bool)
    found.as_strided(one.shape, one.stride(), one.storage_offset()).fill_(True)
    return bool(found.as_strided(other.shape, other.stride(), other.storage_offset()).any())


def copied(module: nn.Module) -> nn.Module:
    """A deep copy.

    Raises:
        ValueError: something in it cannot be copied; the message names it.
    """
    try:
        return copy.deepcopy(module)
    except Exception as error:  # What cannot be copied raises what it will.
        first = str(error).partition("\n")[0]
        where = ", ".join(_uncopyable(module)) or "the module itself"
        raise ValueError(
            f"from_module works on a copy of the module, and {where} cannot be copied ({first}): make it in forward, "
            "or pass what it holds as part of the input."
        ) from error


def _uncopyable(module: nn.Module) -> Iterator[str]:
    known = {id(leaf): leaf for leaf in (*module.modules(), *module.parameters(), *module.buffers())}
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            try:
                copy.deepcopy(value, {**known})
            except Exception:  # What cannot be copied raises what it will, and is named by the caller.
                yield f"the attribute {path + '.' + name if path else name!r}"


def _reason(leaf: object, parts: Set[int]) -> str:
    if isinstance(leaf, Tensor) and not leaf.is_leaf:
        return _COMPUTED
    if isinstance(leaf, nn.Parameter) and leaf.requires_grad:
        return _COLLECTION
    if hasattr(leaf, "_torchdynamo_orig_callable"):
        return _COMPILED
    if isinstance(leaf, nn.Module):
        return _UNREGISTERED if id(leaf) not in parts and _learning([leaf]) else ""
    if isinstance(leaf, types.FunctionType) and _learning(_behind(leaf)):
        return _FUNCTION
    return _WEAK if isinstance(leaf, weakref.ReferenceType) and _learning(_behind(leaf)) else ""


def _behind(leaf: object) -> list[object]:
    """What a function or a weak reference leads to, which a copy of it does not copy."""
    if isinstance(leaf, weakref.ReferenceType):
        return [leaf()]
    if not isinstance(leaf, types.FunctionType):
        return []
    found: list[object] = []
    for cell in leaf.__closure__ or ():
        try:
            found += _held(cell.cell_contents)
        except ValueError:  # A name that was not bound yet.
            continue
    return found + [item for default in leaf.__defaults__ or () for item in _held(default)]


def _learning(found: Iterable[object]) -> str:
    """The first thing with parameters that learn, in words; empty if there is none."""
    for leaf in found:
        if isinstance(leaf, nn.Parameter) and leaf.requires_grad:
            return "a parameter"
        if isinstance(leaf, nn.Module) and any(inner.requires_grad for inner in leaf.parameters()):
            return f"the parameters of a {type(leaf).__name__}"
    return ""


def _held(value: object) -> Iterator[object]:
    """A value, what lies in it through collections and partial functions, however deep, and its own attributes."""
    waiting, seen, begun = [value], set[int](), False
    while waiting:
        leaf = waiting.pop()
        if id(leaf) in seen:
            continue
        seen.add(id(leaf))
        yield leaf
        if isinstance(leaf, Mapping):
            waiting += leaf.values()
        elif isinstance(leaf, list | tuple | Set | deque):
            waiting += leaf
        elif isinstance(leaf, functools.partial):
            waiting += (leaf.func, leaf.args, leaf.keywords)
        elif not begun and not isinstance(leaf, _OPAQUE):
            waiting += getattr(leaf, "__dict__", {}).values()
        begun = True
