"""One contender in a process of its own, which takes as many steps as it is asked to and reports how long they took.

It reads one number of steps per line from standard input, and answers each with a line of JSON; at the end of its input
it ends. Started by `measure`, with a workload as JSON.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from benchmarks.speed.workloads import Workload


class Ended(Exception):  # noqa: N818 - it names what happened
    """There are no more requests."""


class Clock:
    """What a contender calls after every step: it lets so many steps pass as were asked for, then reports and waits."""

    def __init__(self, requests: TextIO, replies: TextIO) -> None:
        self.requests, self.replies = requests, replies
        self.left = self.asked = 1
        self.started, self.used = time.perf_counter(), time.process_time()

    def __call__(self, _: Sequence[Any]) -> None:
        """A step is done."""
        self.left -= 1
        if self.left:
            return
        seconds = time.perf_counter() - self.started
        used = time.process_time() - self.used
        self.reply(seconds=seconds / self.asked, cpu=used / self.asked, peak=peak_memory())
        line = self.requests.readline()
        if not line.strip():
            raise Ended
        self.left = self.asked = int(line)
        self.started, self.used = time.perf_counter(), time.process_time()

    def reply(self, **values: Any) -> None:
        """Send one line of JSON."""
        print(json.dumps(values), file=self.replies, flush=True)


def peak_memory() -> float:
    """This process's peak resident memory in MB; unlike `ru_maxrss` it starts again with the program."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def workload(described: dict[str, Any]) -> Workload:
    """A workload from its fields in JSON."""
    lists = {field.name for field in fields(Workload) if isinstance(described[field.name], list)}
    return Workload(**{name: tuple(value) if name in lists else value for name, value in described.items()})


class Saver(Clock):
    """Saves the parameters after the first step, reports how long that took, and ends."""

    def __init__(self, path: str, replies: TextIO) -> None:
        super().__init__(sys.stdin, replies)
        self.path = path

    def __call__(self, leaves: Sequence[Any]) -> None:
        """The first step is done."""
        seconds = time.perf_counter() - self.started
        np.savez(self.path, *(np.asarray(leaf.detach() if hasattr(leaf, "detach") else leaf) for leaf in leaves))
        self.reply(seconds=seconds)
        raise Ended


def main(module: str, option: str, described: str, path: str) -> None:
    """Take part; with a path, take one step and save the parameters there."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints does not belong among the replies
    work = workload(json.loads(described))
    train = importlib.import_module(f"benchmarks.speed.contenders.{module}").train
    try:
        train(work, Saver(path, replies) if path else Clock(sys.stdin, replies), option)
    except Ended:
        # Compilers' helpers may still be at work; there is nothing to put in order.
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
