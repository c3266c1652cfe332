"""Ranks: the processes that share one training, on one machine or several, and what they tell each other.

They are what `torchrun`, or `metafunc train --ranks`, has started. They meet by `torch.distributed`, and all that they
tell each other is bytes that pass through the memory of the host: tensors, and JSON. Nothing is pickled.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import above

T = TypeVar("T")
TIMEOUT = "METAFUNC_RANKS_TIMEOUT"
"""The environment variable for how many seconds ranks wait for each other."""
SECONDS = 300.0
COMPILING = timedelta(hours=1)
"""How long the ranks of a machine wait for its first, which compiles."""
STORE = "METAFUNC_RANKS_STORE"
"""The environment variable that names where the ranks of one machine meet; `metafunc train --ranks` sets it."""
SHARED_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


class RankLost(Exception):  # noqa: N818 - it names what happened
    """Another rank has ended, or does not answer any more."""


@dataclass(frozen=True)
class Ranks:
    """One of the processes that share a training, and how many they are.

    Args:
        rank: which one this is; rank 0 records.
        size: how many there are.
        local_rank: which one on its machine.

    Examples:
        >>> from metafunc.execution.distributed import Ranks
        >>> [list(Ranks(rank, 2).share(5)) for rank in range(2)]
        [[0, 1], [2, 3, 4]]
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that records."""
        return self.rank == 0

    def share(self, number: int) -> range:
        """Which of some numbered things are this rank's: as many as another's, or one more, one after the other."""
        return range(self.rank * number // self.size, (self.rank + 1) * number // self.size)

    def gather_tensor(self, own: Tensor) -> Tensor:
        """The tensors of all ranks, which have one shape and type, on a leading axis in the order of the ranks."""
        flat = own.contiguous().reshape(-1).view(torch.uint8)
        found = torch.empty(self.size, flat.numel(), dtype=torch.uint8)
        with answering():
            torch.distributed.all_gather(list(found), flat)
        return found.view(own.dtype).reshape(self.size, *own.shape)

    def gather(self, data: bytes) -> list[bytes]:
        """What all ranks give, in their order."""
        if self.size == 1:
            return [data]
        lengths = self.gather_tensor(torch.tensor(len(data))).tolist()
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else padded[:0]
        rows = self.gather_tensor(padded)
        return [row[:length].numpy().tobytes() for row, length in zip(rows, lengths, strict=True)]

    def tell(self, value: Any) -> list[Any]:
        """What all ranks give, as JSON, in their order."""
        return [json.loads(said) for said in self.gather(json.dumps(value).encode())]

    def from_first(self, data: bytes) -> bytes:
        """What rank 0 gives; the others' is passed over."""
        if self.size == 1:
            return data
        length = torch.tensor([len(data)])
        with answering():
            torch.distributed.broadcast(length, 0)
            found = torch.empty(int(length), dtype=torch.uint8)
            if self.first:
                found[:] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            torch.distributed.broadcast(found, 0)
        return found.numpy().tobytes()

    def joined(self, parts: Mapping[str, Tensor], axis: int) -> dict[str, Tensor]:
        """Tensors by name, of which every rank has a part, or none at all, put together along an axis."""
        if self.size == 1:
            return dict(parts)
        own = {f"{i} {name}": part.cpu().contiguous() for i, (name, part) in enumerate(parts.items())}
        found = [
            safetensors.torch.load(data) for data in self.gather(safetensors.torch.save(own) if own else b"") if data
        ]
        where = next(iter(parts.values())).device if parts else torch.device("cpu")
        # A rank without a part has the others' order, which safetensors does not keep.
        order = sorted(found[0], key=lambda key: int(key.partition(" ")[0])) if found else []
        return {key.partition(" ")[2]: torch.cat([part[key] for part in found], axis).to(where) for key in order}

    def joined_tree(self, part: T, axis: int = 0) -> T:
        """A tree of which every rank has a part, put together along an axis."""
        if self.size == 1:
            return part
        leaves = {str(i): leaf for i, leaf in enumerate(tree.leaves(part))}
        found = self.joined(leaves, axis)
        return tree.unflatten(part, [found[name] for name in leaves])

    @contextmanager
    def first_on_host(self) -> Iterator[None]:
        """Something that the first rank of each machine does before the others of that machine do it."""
        if self.size == 1:
            yield
            return
        if self.local_rank > 0:
            self._meet()
        yield
        if self.local_rank == 0:
            self._meet()

    def _meet(self) -> None:
        with answering():
            torch.distributed.monitored_barrier(timeout=COMPILING)


ALONE = Ranks()
"""One process."""


@contextmanager
def answering() -> Iterator[None]:
    """What torch.distributed raises when a rank is gone, in words.

    Raises:
        RankLost: one is.
    """
    try:
        yield
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise RankLost(f"Another rank has ended or does not answer, so that this one cannot go on ({said}).") from error


def launched() -> bool:
    """Whether this process is one that torchrun, or `metafunc train --ranks`, has started."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


@contextmanager
def join() -> Iterator[Ranks]:
    """Meet the other ranks that were started with this one, and part from them at the end; alone where there are none.

    The environment says who they are, as torchrun leaves it. They wait for each other for 300 seconds, or for
    `METAFUNC_RANKS_TIMEOUT`.

    Raises:
        ValueError: the environment makes no sense.
        RankLost: the others do not come.

    Examples:
        >>> from metafunc.execution import distributed
        >>> with distributed.join() as ranks:
        ...     ranks.size
        1
    """
    if not launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    found = Ranks(*(int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    seconds = _seconds(os.environ.get(TIMEOUT, str(SECONDS)))
    if not torch.distributed.is_available():
        raise ValueError("This build of torch has no torch.distributed: train in one process.")
    with answering():
        torch.distributed.init_process_group(
            "gloo",
            init_method=os.environ.get(STORE, "env://"),
            rank=found.rank,
            world_size=found.size,
            timeout=timedelta(seconds=seconds),
        )
    try:
        yield found
    finally:
        torch.distributed.destroy_process_group()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{TIMEOUT} must be a number of seconds, not {text!r}.") from None
    above(0, **{TIMEOUT: seconds})
    return seconds


def advice(environment: Mapping[str, str]) -> str | None:
    """What to say where torchrun is to start its workers again: torch 2.13 often hangs at that.

    Its workers share one store for all attempts, in which a new one reads the address of one that is dead.

    Args:
        environment: the environment's variables.
    """
    restarts = int(environment.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    if restarts == 0 or environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # as SHARED_STORE decides
        return None
    return (
        f"torchrun may hang when it starts its workers again, as --max-restarts asks for: set {SHARED_STORE}=1 before "
        "torchrun."
    )
