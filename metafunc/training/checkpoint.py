"""Checkpoints that are there whole or not at all: safetensors and a JSON manifest with sums, and no pickle anywhere.

A checkpoint is a folder `step-000001000` with `tensors.safetensors` and `manifest.json`. It is written under another
name on the same file system, forced to disk, and then renamed, which a file system does at one stroke: whatever moment
the process or the machine dies at, the folder is absent or complete. Bits that flip later are caught by the sums.
A save that has returned is on the disk: the folders that hold the checkpoint have been forced as well.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import counted
from metafunc.data.atomic_write import about, force, make_folder, write_through
from metafunc.training import manifest
from metafunc.training.manifest import CheckpointError as CheckpointError
from metafunc.training.manifest import Record
from metafunc.training.manifest import at as at
from metafunc.training.manifest import steps as steps
from metafunc.types import Tree

T = TypeVar("T")
_TENSORS = "tensors.safetensors"


class Checkpoint(NamedTuple):
    """What was saved: tensors by name, everything else as JSON, and what it knows of its run's other files."""

    step: int
    tensors: dict[str, Tensor]
    state: Any
    record: Record | None = None


def save(directory: Path, step: int, tensors: Mapping[str, Tensor], state: Any, record: Record | None = None) -> Path:
    """Write a checkpoint, all or nothing.

    Args:
        directory: where a run's checkpoints lie; made if absent.
        step: how many updates were done; names the checkpoint.
        tensors: by name, of any device and layout.
        state: anything that JSON can hold.
        record: what the run's other files hold; None where there is no run.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: the disk is full or not writable; what was there before is untouched.

    Examples:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from metafunc.training import checkpoint
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = checkpoint.save(folder, 10, {"w": torch.ones(2)}, {"loss": 0.5})
        >>> checkpoint.newest(folder)[0].tensors["w"]
        tensor([1., 1.])
    """
    make_folder(directory)
    target = at(directory, step)
    building = directory / f".{target.name}.{os.getpid()}"
    shutil.rmtree(building, ignore_errors=True)
    blob = safetensors.torch.save({name: _plain(tensor) for name, tensor in tensors.items()})
    sums = {"format": manifest.FORMAT, "step": step, "tensors": hashlib.sha256(blob).hexdigest()}
    body = manifest.sealed({**sums, "run": record, "state": state})
    try:
        building.mkdir()
        write_through(building / _TENSORS, blob)
        write_through(building / manifest.FILE, json.dumps(body, indent=1).encode())
        force(building)
        if target.exists():  # only ever one that was passed over: a run saves a step once
            with about(target):
                shutil.rmtree(target)
        building.rename(target)
    except OSError:
        shutil.rmtree(building, ignore_errors=True)
        raise
    force(directory)
    return target


def read(folder: Path) -> Checkpoint:
    """Read one checkpoint and check its sums.

    Raises:
        CheckpointError: it is incomplete or damaged, or of a format that this version does not know.
    """
    body = manifest.read(folder)
    try:
        blob = (folder / _TENSORS).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{folder} is incomplete: its tensors cannot be read: {error.strerror}.") from error
    if hashlib.sha256(blob).hexdigest() != body["tensors"]:
        raise CheckpointError(f"{folder} is damaged: its tensors do not have the sum that the manifest states.")
    try:
        tensors = safetensors.torch.load(blob)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{folder} holds no tensors in the safetensors format: {error}.") from error
    return Checkpoint(body["step"], tensors, body["state"], body.get("run"))


def newest(
    directory: Path, check: Callable[[Checkpoint], object] = lambda _: None
) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and what is wrong with every newer one.

    Args:
        directory: where a run's checkpoints lie.
        check: raises a `CheckpointError` about one that cannot be taken though it is whole.

    Returns:
        (the checkpoint, or None if there is no whole one; one message per damaged one that was passed over).
    """
    damaged: list[str] = []
    for step in reversed(steps(directory)):
        try:
            found = read(at(directory, step))
            check(found)
            return found, damaged
        except CheckpointError as error:
            damaged.append(str(error))
    return None, damaged


def prune(directory: Path, keep: Iterable[int]) -> None:
    """Delete all checkpoints but those of the given steps, and what interrupted writes left behind."""
    for step in set(steps(directory)) - set(keep):
        with about(at(directory, step)):
            shutil.rmtree(at(directory, step))
    for remnant in directory.glob(".step-*"):
        shutil.rmtree(remnant, ignore_errors=True)


def flatten(values: Tree, prefix: str) -> dict[str, Tensor]:
    """A tree's leaves by prefix and dotted path.

    Raises:
        ValueError: two leaves have the same path.
    """
    return {f"{prefix}.{name}": leaf for name, leaf in tree.by_path(values).items()}


def restore(like: T, tensors: Mapping[str, Tensor], prefix: str) -> T:
    """The inverse of `flatten`: saved tensors in the structure, and on the devices, of another tree.

    Args:
        like: a tree of the structure, shapes and types that were saved.
        tensors: by prefix and dotted path.
        prefix: what `flatten` was given.

    Raises:
        CheckpointError: names, shapes or types differ; the message names them.
    """
    wanted = flatten(like, prefix)
    given = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}
    wrong = [f"{name} is missing" for name in wanted if name not in given]
    wrong += [f"{name} is unknown" for name in given if name not in wanted]
    wrong += [
        f"{name} is {_kind(given[name])}, not {_kind(leaf)}"
        for name, leaf in wanted.items()
        if name in given and _kind(given[name]) != _kind(leaf)
    ]
    if wrong:
        more = f", and {counted(len(wrong) - 5, 'more differences')}" if len(wrong) > 5 else ""
        raise CheckpointError(
            f"The checkpoint belongs to other parameters: {'; '.join(wrong[:5])}{more}. Build the learner with the "
            "configuration that it was trained with."
        )
    return tree.unflatten(like, [given[name].to(leaf.device) for name, leaf in wanted.items()])


def pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A nested state, such as an optimiser's `state_dict()`, as JSON; its tensors are put into `tensors` by path.

    Raises:
        ValueError: something in it is neither a tensor nor a plain value, and only pickle could store it.
    """
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        items = [[key, pack(item, f"{name}.{key}", tensors)] for key, item in value.items()]
        return {"counter" if isinstance(value, Counter) else "dict": items}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [pack(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"{name} is a {type(value).__name__}, which a checkpoint cannot hold: it stores tensors, numbers and strings "
        "only, so that loading one never runs code. Give an optimiser or schedule whose state is made of those."
    )


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `pack`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind in ("dict", "counter"):
        items = {key: unpack(item, tensors) for key, item in content}
        return Counter(items) if kind == "counter" else items
    entries = [unpack(item, tensors) for item in content]
    return tuple(entries) if kind == "tuple" else entries


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _plain(tensor: Tensor) -> Tensor:
    # A clone: safetensors refuses tensors that share storage or are not contiguous.
    return tensor.detach().to("cpu", copy=True).clone(memory_format=torch.contiguous_format)
