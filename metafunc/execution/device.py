"""A device, threads, and what else surrounds pure functions on a real machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from metafunc import tree
from metafunc.execution import allocator
from metafunc.execution.deferred_compiler import deferred_compiler

T = TypeVar("T")


def device_of(name: str | torch.device, local_rank: int = 0) -> torch.device:
    """The device of a name; "auto" takes the first there is of cuda, mps and cpu.

    Args:
        name: the device, or its kind.
        local_rank: the number of this process among those of its machine, which share its devices of a kind in turn;
            a device that is named with its own number is taken by all.

    Raises:
        ValueError: torch does not know the name, or the machine has no such device.

    Examples:
        >>> device_of("cpu", local_rank=3)
        device(type='cpu')
    """
    try:
        found = torch.accelerator.current_accelerator(check_available=True) if name == "auto" else torch.device(name)
        device = _in_turn(found or torch.device("cpu"), local_rank)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch's CPU build raises an AssertionError for "cuda"
        raise ValueError(f"There is no device {str(name)!r} here ({error}); give cpu, cuda, mps or auto.") from error
    return device


def _in_turn(device: torch.device, local_rank: int) -> torch.device:
    """The device of a process among those of its kind."""
    if device.type == "cpu" or device.index is not None:
        return device
    turn = local_rank % max(1, torch.accelerator.device_count())
    return torch.device(device.type, turn) if turn else device


def move(values: T, device: torch.device) -> T:
    """A tree on another device; the tree itself if it is there already."""
    return tree.map(lambda leaf: leaf.to(device), values)


@contextmanager
def surroundings(*, threads: int | None = None, deterministic: bool = False) -> Iterator[None]:
    """A number of torch threads and deterministic algorithms, for a while; both are put back afterwards.

    Freed memory is retained meanwhile, and torch's compiler imported only where something asks for it.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(before[0] if threads is None else threads)
    changes = deterministic and not before[1]
    if changes:  # which imports torch's compiler
        torch.use_deterministic_algorithms(True)
    try:
        with allocator.retain_freed_memory(), deferred_compiler():
            yield
    finally:
        torch.set_num_threads(before[0])
        if changes:
            torch.use_deterministic_algorithms(False)
