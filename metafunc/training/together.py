"""One training by several ranks: what each of them draws, and what all of them hold in common.

A rank draws, prepares and differentiates its shards of a step's tasks. All hold the whole state and take the same
updates; rank 0 records, and gives its state to the others when a run begins or goes on.
"""

import json
import os
import platform
import secrets
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from metafunc import tree
from metafunc.data.shard_draws import shard_generator, shard_tasks
from metafunc.execution import shards
from metafunc.execution.aot import Switch
from metafunc.execution.device import move
from metafunc.execution.distributed import ALONE, Ranks
from metafunc.execution.gradient import Measured
from metafunc.execution.rank_agreement import Agreement, everywhere
from metafunc.execution.shards import Reduce
from metafunc.training import checkpoint
from metafunc.training.checkpoint import Checkpoint
from metafunc.training.environment import environment
from metafunc.training.renamed import WHERE
from metafunc.training.state import State
from metafunc.types import M, MetaLearner, P, Task, TaskFamily


class Drifted(Exception):  # noqa: N818 - it names what happened
    """The meta-parameters of two ranks differ, which take the same updates."""

    everywhere = True


@dataclass(frozen=True)
class Together:
    """The ranks of a training.

    Args:
        ranks: which one this is, and how many there are.
        reduce: how the gradients of shards are added.
    """

    ranks: Ranks = ALONE
    reduce: Reduce = "ordered"

    def tasks(
        self, learner: MetaLearner[M, P], family: TaskFamily, now: State[M], device: torch.device
    ) -> tuple[Task, ...]:
        """The next step's prepared tasks, of each of this rank's shards."""
        own = self.ranks.share(now.spec.shards)
        return tuple(move(next_tasks(learner, family, now, shard), device) for shard in own)

    def gradient(
        self,
        gradient_at: Measured[M],
        meta: M,
        tasks: Sequence[Task],
        notes: Callable[[], Sequence[int]],
        *,
        waits: bool,
    ) -> tuple[Tensor, M, tuple[int, ...]]:
        """The loss with the gradient's length, and the gradient, of all ranks' tasks; and each note at its largest.

        Args:
            gradient_at: the same of one shard.
            meta: the meta-parameters.
            tasks: of this rank's shards.
            notes: what this rank has to say once it has its own gradients.
            waits: as in `in_turn`.
        """
        with self.in_turn(waits=waits):
            found = [gradient_at(meta, shard) for shard in tasks]
        return shards.mean(found, self.ranks, reduce=self.reduce, notes=notes())

    def in_turn(self, *, waits: bool) -> AbstractContextManager[None]:
        """Where code is waited for, the first rank of each machine compiles it, and the others then find it."""
        return self.ranks.first_on_host() if waits else nullcontext()

    def switch(self, known: Switch | None) -> Switch | None:
        """When the run switched to compiled code, as rank 0 knows."""
        found = self.ranks.tell(known)[0]
        return None if found is None else Switch(*found)

    def signal(self, received: Signals | None) -> Signals | None:
        """The signal that a rank received."""
        note = max(self.ranks.tell(int(received or 0)))
        return Signals(note) if note else None

    def whole(self, tasks: Sequence[Task]) -> Task:
        """The tasks of all shards."""
        if len(tasks) == 1 and self.ranks.size == 1:
            return tasks[0]
        own: Task = tree.map(lambda *leaves: torch.cat(leaves), *tasks)
        return self.ranks.joined_tree(own)

    def collected(self, own: Sequence[int], num_tasks: int) -> tuple[int, ...]:
        """The numbers of tasks of a step that have something about them, from those of this rank's own tasks.

        Args:
            own: the numbers among this rank's tasks.
            num_tasks: tasks of a step.
        """
        before = num_tasks // self.ranks.size * self.ranks.rank
        return tuple(i for found in self.ranks.tell([before + i for i in own]) for i in found)

    def share(self, now: State[M], best: M | None) -> M | None:
        """Give rank 0's state to the others, and the meta-parameters of its best validation, which are returned."""
        if self.ranks.size == 1:
            return best
        tensors, rest = now.pack() if self.ranks.first else ({}, None)
        if self.ranks.first and best is not None:
            tensors = {**tensors, **checkpoint.flatten(best, "best")}
        blob = safetensors.torch.save(
            {name: leaf.detach().cpu().contiguous().clone() for name, leaf in tensors.items()}
        )
        given = safetensors.torch.load(self.ranks.from_first(blob))
        rest = json.loads(self.ranks.from_first(json.dumps({"step": now.step, "state": rest}).encode()))
        if self.ranks.first:
            return best
        now.unpack(Checkpoint(rest["step"], {n: leaf for n, leaf in given.items() if n[:5] != "best."}, rest["state"]))
        known = any(name.startswith("best.") for name in given)
        return checkpoint.restore(now.meta, given, "best") if known else None

    def check(self, now: State[M], last: Path | None) -> None:
        """Hold the ranks' meta-parameters against each other.

        Raises:
            Drifted: two differ.
        """
        if self.ranks.size == 1:
            return
        said = self.ranks.tell(sum_of(now.meta))
        if wrong := [rank for rank, found in enumerate(said) if found != said[0]]:
            kept = f"The last checkpoint is {last}." if last else "There is no checkpoint yet."
            raise Drifted(
                f"The meta-parameters of rank {wrong[0]} are not those of rank 0 after step {now.step}: its machine is "
                f"of another kind, or has a fault. {kept}"
            )


def sum_of(meta: M) -> int:
    """A sum over the bits of meta-parameters, by which two processes know whether theirs are the same."""
    return zlib.crc32(b"".join(_bytes(leaf) for leaf in tree.leaves(meta)))


def next_tasks(learner: MetaLearner[M, P], family: TaskFamily, now: State[M], shard: int = 0) -> Task:
    """The tasks of a shard of the next step, on the CPU: a function of the seed, the step and the shard."""
    spec, step = now.spec, now.step
    tasks = shard_tasks(
        family.train, shard_generator(spec.seed, "train", step, 0, 1), spec.num_tasks, shard, spec.shards
    )
    generator = shard_generator(spec.seed, "prepare", step, shard, spec.shards)
    return learner.prepare(now.meta, tasks, generator, step=step, num_steps=spec.steps)


def met(settled: Agreement, initial: M, config: Mapping[str, Any], family: TaskFamily, device: torch.device) -> M:
    """Hold the ranks against each other. Returns the meta-parameters that rank 0 starts from.

    Raises:
        ValueError: they differ in what they are, or in what they are to do.
    """
    if settled.ranks.size == 1:
        return initial
    settled.alike(comparable(environment(family, device=device, threads=1), config))
    leaves = {str(i): leaf.detach().cpu().contiguous().clone() for i, leaf in enumerate(tree.leaves(initial))}
    given = safetensors.torch.load(settled.ranks.from_first(safetensors.torch.save(leaves)))
    return move(tree.unflatten(initial, [given[name] for name in leaves]), device)


def refuse_own_folders(settled: Agreement, out: Path | str | None) -> None:
    """Refuse a run's folder that not all machines see, where torchrun may start rank 0 again on another of them.

    Raises:
        ValueError: a rank does not see it.
    """
    if out is None:
        return
    again = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    several = len({host for host, _ in settled.reach([platform.node(), again])}) > 1
    if not (several and again):
        return
    name = settled.reach(f".seen-{secrets.token_hex(8)}")[0]
    mark = Path(out) / name
    if settled.ranks.first:
        mark.touch()
    settled.reach()
    unseen = [rank for rank, seen in enumerate(settled.reach(mark.exists())) if not seen]
    if settled.ranks.first:
        mark.unlink()
    if unseen:
        raise everywhere(
            ValueError(
                f"{out} is not the same folder on rank {unseen[0]}, whose machine may have rank 0 after a restart: "
                "give a folder that all machines share."
            )
        )


def comparable(env: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be the same on all ranks, by its name: versions, the kind of processor, data and configuration."""
    same = {name: env[name] for name in ("metafunc", "git", "torch", "device_name")}
    data = env["data"]
    known = data["info"].get("fingerprint")
    # A table with the same fingerprint may lie elsewhere on each machine.
    data = {name: value for name, value in data.items() if name != "info"} | {"fingerprint": known} if known else data
    processor = torch.backends.cpu.get_cpu_capability()
    return {**same, "processor": processor, "data": data, **{name: _without_paths(config[name]) for name in config}}


def _without_paths(section: Any) -> Any:
    """A section of a configuration without what each machine may have elsewhere."""
    if not isinstance(section, Mapping):
        return section
    return {name: value for name, value in section.items() if name not in ("path", "init_from", *WHERE)}


def _bytes(leaf: Tensor) -> bytes:
    flat = leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return flat.numpy().tobytes()
