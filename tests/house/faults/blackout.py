"""Power cuts: after every call of a command, what a disk may hold, and whether the command after it makes it good."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import NamedTuple

from .jobs import JOBS, Bases, left_behind, unacceptable
from .power import LOSSES, Disk, calls, put

Tree = dict[str, bytes | None]
MARKS = "setups:marks"


class Cut(NamedTuple):
    """A power cut: behind which call, with which loss; and what a disk then holds and had been promised to hold."""

    number: int
    loss: str
    tree: Tree
    promises: Mapping[str, int]
    """The step of the last save that had returned, by run."""

    @property
    def name(self) -> str:
        """How it is called in a report."""
        return f"{self.loss}, after call {self.number}"

    def put(self, folder: Path) -> Path:
        """Write what the disk then holds into a folder, which is made."""
        folder.mkdir()
        put(self.tree, folder)
        return folder


class Recorded(NamedTuple):
    """A command that has been recorded: what it promised when, and the checkpoints and lines it wrote."""

    cuts: list[Cut]
    checkpoints: Mapping[str, bytes]
    logs: Mapping[str, bytes]


def record(bases: Bases, name: str, seed: int, setup: str = MARKS, draws: int = 1) -> Recorded:
    """Run a command, recorded, and cut the power after each of its calls in each way, at random in several draws."""
    job, chance = JOBS[name], Random(seed)
    root = bases.begin(job.start)
    ended = bases.machine.run(root, job.argv, below="", setup=setup, data=True)
    assert ended.code == 0, ended
    disk = Disk(root / "work")
    disk.load(bases.base(job.start) / "work")
    cuts, checkpoints, seen, logs = [], {}, set(), {}
    for number, call in enumerate(calls((root / "log").read_bytes())):
        if not disk.do(call):
            continue
        saved = [mark.split() for mark in disk.marks if mark.startswith("saved ")]
        promises = {run: int(step) for _, run, step in saved}
        for loss in (*LOSSES, *["any part"] * (draws - 1)):
            tree = disk.after(loss, chance)
            if loss == "everything survives":
                checkpoints |= {n: c for n, c in tree.items() if "/step-" in n and c is not None}
                logs |= {n: c for n, c in tree.items() if n.endswith("metrics.jsonl") and c is not None}
            key = hash((tuple(tree.items()), tuple(promises.items())))
            if key not in seen:  # the same disk was tried before
                seen.add(key)
                cuts.append(Cut(number, loss, tree, promises))
    shutil.rmtree(root)
    return Recorded(cuts, checkpoints, logs)


def at_the_end(recorded: Recorded) -> list[Cut]:
    """The cuts after the last call: what the command wrote has to be there without another."""
    last = recorded.cuts[-1].number
    return [cut for cut in recorded.cuts if cut.number == last]


def broken(recorded: Recorded, cut: Cut) -> Iterator[str]:
    """The promises that a disk breaks: checkpoints whose save had returned, and the lines that they count."""
    for run, step in cut.promises.items():
        (place,) = (n.removesuffix("metrics.jsonl") for n in recorded.logs if Path(n).parent.name == run)
        names = {Path(n).parent.name for n in recorded.checkpoints if n.startswith(f"{place}checkpoints/step-")}
        recent = [f"{place}checkpoints/{name}" for name in names if int(name[5:]) >= step]
        if not any(_whole(recorded, cut, folder) for folder in recent):
            yield f"the checkpoint of step {step} in {run} is lost"
        lines = recorded.logs[f"{place}metrics.jsonl"].splitlines(keepends=True)
        wanted = b"".join(line for line in lines if json.loads(line)["step"] <= step)
        if not (cut.tree.get(f"{place}metrics.jsonl") or b"").startswith(wanted):
            yield f"lines of the log up to step {step} in {run} are lost"


def _whole(recorded: Recorded, cut: Cut, folder: str) -> bool:
    files = {n: c for n, c in recorded.checkpoints.items() if n.startswith(f"{folder}/")}
    return len(files) == 2 and all(cut.tree.get(n) == c for n, c in files.items())


def survive(bases: Bases, name: str, recorded: Recorded, cut: Cut) -> str:
    """Go on after a power cut.

    Returns:
        What is wrong, in one line; empty if nothing is.
    """
    job, expected = JOBS[name], bases.expected(name)
    wrong = list(broken(recorded, cut))
    root = bases.begin("nothing")
    shutil.rmtree(root / "work")
    cut.put(root / "work")
    again = bases.machine.run(root, job.again(root / "work"), below=job.below)
    wrong += unacceptable(again)
    if again.code != 0:
        wrong.append(f"exit {again.code}: {again.stderr.strip()[-300:]!r}")
    else:
        found = job.result(root / "work")
        wrong += [f"{part} differs" for part in {*expected, *found} if expected.get(part) != found.get(part)]
        wrong += [f"left behind: {path}" for path in left_behind(root, bases.base(job.start))]
    shutil.rmtree(root)
    return f"{name}, {cut.name}: {'; '.join(wrong)}" if wrong else ""
