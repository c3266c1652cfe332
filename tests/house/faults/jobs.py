"""The command lines that faults are put into, what they start from, and what they have to end with."""

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .machine import Ended, Machine

SMALL = ["--num-tasks", "2", "--test-tasks", "4", "--test-steps", "2", "--model.hidden", "4"]
SMALL += ["--compile", "off", "--threads", "1", "--quiet"]
TRAIN = ["train", "maml", "sinusoid", *SMALL, "--steps", "6", "--checkpoint-every", "2", "--validate-every", "2"]
RUN = [*TRAIN, "--out", "run"]
OTHER = [*TRAIN, "--seed", "1", "--out", "run"]
RESUME = ["train", "--resume", "run", "--quiet"]
COMPARE = ["compare", "--algorithms", "maml", "fomaml", "--tasks", "sinusoid", *SMALL, "--steps", "3"]
COMPARE += ["--seeds", "1", "--no-figures", "--out", "compared"]
PREDICT = ["predict", "run", "--support", "support.csv", "--query", "query.csv", "--out", "out/predicted.csv"]
EVAL = ["eval", "run", "--num-tasks", "3", "--num-steps", "2", "--quiet"]
PLOT = ["plot", "run"]
TABLES = {"support.csv": "x,y\n0,0\n1,0.8\n-1,-0.7\n", "query.csv": "x\n0.5\n2\n"}
WARM_UP = [RUN, COMPARE]
TIMED = ("seconds.json", "compare.json", "compare.csv", "compare.md")
"""Files that hold clock times: their lines are counted."""
GROWING = ("metrics.jsonl", "manifest.json", "tensors.safetensors")
"""Files that have other contents on the way, and are looked at by themselves."""
Result = Mapping[str, Any]


class Job(NamedTuple):
    """A command line.

    Args:
        argv: its words.
        below: the folder whose calls are counted; what it may change.
        start: the folder that it starts from, by name.
        result: what it has to end with, from the folder it ran in.
        again: the words to go on with after it was disturbed.
    """

    argv: Sequence[str]
    below: str
    start: str
    result: Callable[[Path], Result]
    again: Callable[[Path], Sequence[str]]


def run_result(run: Path) -> Result:
    """All that a training ends with, bit by bit: the last checkpoint, the log and the meta-test."""
    last = max((run / "checkpoints").glob("step-*"))
    files = [last / "tensors.safetensors", *(run / name for name in ("config.json", "metrics.jsonl", "meta_test.json"))]
    found: dict[str, Any] = {str(file.relative_to(run)): file.read_bytes() for file in files if file.exists()}
    return found | {"manifest": json.loads((last / "manifest.json").read_text())}


def compare_result(folder: Path) -> Result:
    """The comparison, but for the seconds that it took, and its trainings."""
    report = json.loads((folder / "compare.json").read_text())
    for row in report["rows"]:
        del row["seconds"], row["cpu_seconds"]
    table = [line.split(",") for line in (folder / "compare.csv").read_text().splitlines()]
    column = table[0].index("seconds")
    for line in table:
        del line[column]
    note = re.sub(r"\d+(\.\d+)? s\b|\| +\d+ +\|", "", (folder / "compare.md").read_text())
    trained = {run.name: run_result(run) for run in folder.iterdir() if (run / "config.json").exists()}
    return {"report": report, "table": table, "note": len(note.splitlines()), **trained}


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for locks."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def go_on(work: Path) -> Sequence[str]:
    """How a training goes on: one that had not become a run yet is begun again."""
    return RESUME if (work / "run" / "config.json").exists() else RUN


JOBS = {
    "train": Job(RUN, "run", "nothing", lambda work: run_result(work / "run"), go_on),
    "resume": Job(RESUME, "run", "interrupted", lambda work: run_result(work / "run"), lambda _: RESUME),
    "overwrite": Job([*RUN, "--overwrite"], "run", "other", lambda work: run_result(work / "run"),
                     lambda _: [*RUN, "--overwrite"]),
    "compare": Job(COMPARE, "compared", "nothing", lambda work: compare_result(work / "compared"), lambda _: COMPARE),
    "predict": Job(PREDICT, "out", "finished", lambda work: files(work / "out"),
                   lambda work: [*PREDICT, *["--overwrite"] * (work / "out/predicted.csv").exists()]),
    "eval": Job(EVAL, "run", "finished", lambda work: files(work / "run"), lambda _: EVAL),
    "plot": Job(PLOT, "run", "finished", lambda work: files(work / "run"), lambda _: PLOT),
}  # fmt: skip


class Bases:
    """The folders that commands start from, each made once, and what an undisturbed command ends with.

    Args:
        machine: runs them.
        root: where they are kept.
    """

    def __init__(self, machine: Machine, root: Path) -> None:
        self.machine, self.root = machine, root
        self._expected: dict[str, Result] = {}
        self._files: dict[str, dict[str, bytes]] = {}
        self._number = 0

    def begin(self, start: str) -> Path:
        """A new folder with what a command starts from, in its folder `work`."""
        self._number += 1
        root = self.root / f"{self._number}"
        shutil.copytree(self.base(start), root)
        return root

    def base(self, start: str) -> Path:
        """A folder to start from, which is made at the first time."""
        folder = self.root / start
        if folder.exists():
            return folder
        (folder / "work" / "out").mkdir(parents=True)
        for name, text in TABLES.items():
            (folder / "work" / name).write_text(text)
        if start in ("finished", "other"):
            ended = self.machine.run(folder, RUN if start == "finished" else OTHER, below="run")
            assert ended.code == 0, ended
        elif start == "compared":
            ended = self.machine.run(folder, COMPARE, below="compared")
            assert ended.code == 0, ended
        elif start == "interrupted":
            ended = self.machine.run(folder, RUN, below="run", fault=AFTER_STEP_4)
            assert (ended.code, ended.hit[:6]) == (-9, "rename"), ended
        return folder

    def expected(self, name: str) -> Result:
        """What an undisturbed command ends with."""
        if name not in self._expected:
            job, root = JOBS[name], self.begin(JOBS[name].start)
            ended = self.machine.run(root, job.argv, below=job.below)
            assert ended.code == 0, ended
            self._expected[name] = job.result(root / "work")
            self._files[name] = files(root / "work")
            (root / "log").rename(self.root / f"{name}.log")
        return self._expected[name]

    def torn(self, name: str, work: Path) -> list[str]:
        """Files that are neither what a command started from nor what it ends with, though they bear a final name."""
        before, after = files(self.base(JOBS[name].start) / "work"), self._files[name]
        return [
            file
            for file, content in files(work).items()
            if "/." not in file
            and not file.endswith(GROWING)
            and content not in (before.get(file), after.get(file))
            and not (Path(file).name in TIMED and content.count(b"\n") == after.get(file, b"").count(b"\n"))
        ]

    def log(self, name: str) -> Path:
        """The record of an undisturbed command."""
        self.expected(name)
        return self.root / f"{name}.log"


AFTER_STEP_4 = (4, 8, 5, 0, 0)
"""Killed after the fourth rename, which is that of the second checkpoint: two steps are left."""


def unacceptable(ended: Ended) -> list[str]:
    """What no ending may have: a traceback, the hint at one, or silence."""
    found = [word for word in ("Traceback", "METAFUNC_TRACEBACK") if word in ended.stderr]
    if ended.code == -14:
        found.append("it hangs")
    if ended.code not in (0, 129, 130, 143, -9) and not ended.stderr.strip():
        found.append(f"exit {ended.code} without a word")
    return found


def left_behind(root: Path, start: Path) -> list[str]:
    """What must not be there once a command has ended well: remnants, and changes outside the folder it writes to."""
    work = root / "work"
    found = [str(p.relative_to(work)) for p in work.rglob(".*") if p.name != ".lock"]
    found += [str(p) for name in ("home", "tmp") for p in (root / name).iterdir()]
    kept = {name: content for name, content in files(start / "work").items() if not name.startswith(("run/", "out/"))}
    now = {n: c for n, c in files(work).items() if not n.startswith(("run/", "out/", "compared/"))}
    return found + sorted(name for name in {*kept, *now} if kept.get(name) != now.get(name))
