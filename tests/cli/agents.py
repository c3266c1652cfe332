"""Agents of torchrun for tests: on this machine or on two in network namespaces; and what befalls them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
STEPS, EVERY = 60, 10
SLOW = '''
import time
from dataclasses import replace
from metafunc import algorithms


def maml(model, likelihood, poisoned: bool = False):
    """MAML whose tasks take a while to prepare; poisoned, the second of each shard has a target that is no number.

    Args:
        model: the network.
        likelihood: of the targets.
        poisoned: whether they are.
    """
    plain = algorithms.maml(model, likelihood)

    def prepare(meta, tasks, generator, /, *, step, num_steps):
        if step is not None:
            time.sleep(0.05)
            if poisoned and step > 5:
                query = tasks.query._replace(y=tasks.query.y.clone())
                query.y[1] = float("nan")
                return tasks._replace(query=query)
        return plain.prepare(meta, tasks, generator, step=step, num_steps=num_steps)

    return replace(plain, prepare=prepare)
'''
"""A learner of the user's, so that a training lasts seconds without keeping a core busy."""
WAIT = 240.0
"""Seconds that anything may take at most on a machine that is busy."""


@dataclass
class Agent:
    """One torchrun on one machine.

    Args:
        process: what was started; a session of its own.
        log: what it and its workers print.
    """

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def said(self) -> str:
        """What was printed so far."""
        return self.log.read_text(errors="replace")

    def workers(self) -> dict[int, int]:
        """Process numbers by rank."""
        found: dict[int, int] = {}
        for number in _offspring(self.process.pid):
            with suppress(OSError):
                environ = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
                command = Path(f"/proc/{number}/cmdline").read_bytes()
                ranks = [int(line[5:]) for line in environ if line.startswith(b"RANK=")]
                if ranks and b"metafunc_cli" in command:
                    found[ranks[0]] = number
        return found

    def end(self) -> int:
        """Wait for the end; returns the exit code."""
        return self.process.wait(WAIT)

    def kill(self) -> None:
        """As a machine that loses its power."""
        for number in [self.process.pid, *_offspring(self.process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self.process.wait()


@dataclass
class Place:
    """Where trainings of one test are.

    Args:
        folder: for logs and runs.
        agents: those that were started.
    """

    folder: Path
    agents: list[Agent] = field(default_factory=list)

    def start(
        self, options: Sequence[str], command: Sequence[str], *, before: Sequence[str] = (), **environment: str
    ) -> Agent:
        """Start an agent.

        Args:
            options: of torchrun.
            command: of metafunc.
            before: what is to run it, such as in a namespace.
            **environment: variables.
        """
        log = self.folder / f"agent-{len(self.agents)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*before, *TORCHRUN, *options, "-m", "metafunc_cli", *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                cwd=self.folder,
                env=self.environment(**environment),
            )
        self.agents.append(Agent(process, log))
        return self.agents[-1]

    def train(self, run: str, *more: str) -> list[str]:
        """The command of a training that lasts some seconds."""
        tasks = ["slow:maml", "sinusoid", "--steps", str(STEPS), "--num-tasks", "4", "--shards", "2"]
        recorded = ["--checkpoint-every", str(EVERY), "--validate-every", "20"]
        test = ["--test-tasks", "4", "--test-steps", "1", "--quiet"]
        return ["train", *tasks, *recorded, *test, "--out", run, "--go-on", *more]

    def alone(self, run: str) -> dict[str, str]:
        """The bits of the training by one process."""
        self.run(self.train(run))
        return self.bits(run)

    def run(self, command: Sequence[str], **environment: str) -> None:
        """A command of metafunc by one process, to its end."""
        whole = [sys.executable, "-m", "metafunc_cli", *command]
        found = self.environment(**environment)
        subprocess.run(whole, check=True, capture_output=True, timeout=WAIT, cwd=self.folder, env=found)

    def environment(self, **more: str) -> dict[str, str]:
        """That of whatever is started: one thread, and the folder's own modules."""
        paths = os.pathsep.join([str(self.folder), *filter(None, sys.path)])
        return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **more}

    def bits(self, run: str) -> dict[str, str]:
        """The sums of what a run ends with."""
        folder = self.folder / run
        last = sorted(folder.glob("checkpoints/step-*/tensors.safetensors"))[-1]
        report = json.loads((folder / "meta_test.json").read_text())
        del report["run"], report["sha256"]  # its name, and a sum over that
        test = json.dumps(report).encode()  # in the order that it has
        texts = {"metrics": (folder / "metrics.jsonl").read_bytes(), "test": test, "last": last.read_bytes()}
        return {name: hashlib.sha256(text).hexdigest()[:16] for name, text in texts.items()} | {"at": last.parent.name}

    def reaches(self, run: str, step: int) -> None:
        """Wait until a checkpoint of a step, or of a later one, is there."""
        self.until(lambda: max(self.steps(run), default=-1) >= step, f"step {step} of {run}")

    def steps(self, run: str) -> list[int]:
        """The steps of the checkpoints that there are."""
        return [int(path.name[5:]) for path in (self.folder / run).glob("checkpoints/step-*")]

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Wait for something."""
        began = time.monotonic()
        while not done():
            if time.monotonic() - began > WAIT:
                logs = "\n".join(agent.said[-2000:] for agent in self.agents)
                raise TimeoutError(f"waited {WAIT:.0f} s for {what}:\n{logs}")
            time.sleep(0.05)

    def ended(self, run: str) -> str:
        """How a run says that it ended."""
        return str(json.loads((self.folder / run / "ended.json").read_text())["how"])


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """A place with the slow learner, where nothing is left running."""
    (folder / "slow.py").write_text(SLOW)
    found = Place(folder)
    try:
        yield found
    finally:
        for agent in found.agents:
            agent.kill()


def _offspring(number: int) -> list[int]:
    """All processes that descend from one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found, left = [], [number]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found
