"""A run that is killed again and again ends bitwise as one that is not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from metafunc.training import checkpoint


def state(run: Path) -> tuple[Any, ...]:
    """All that a run ends with, bit by bit: parameters, optimiser, schedule, best, and the log."""
    last, damaged = checkpoint.newest(run / "checkpoints")
    assert last is not None
    assert damaged == []
    tensors = {name: tensor.numpy().tobytes() for name, tensor in last.tensors.items()}
    return last.step, tensors, json.dumps(last.state), (run / "metrics.jsonl").read_bytes()


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
import torch._dynamo  # torch's optimisers import it at their first step, which takes a second: once, in the parent
torch.set_num_threads(1)
import metafunc
from metafunc import Recording, Validation, algorithms, data, likelihood, nn
from metafunc.training import checkpoint

here, steps = Path(sys.argv[1]), 160

def train(out, pipe):
    def started(event):
        if event.phase == "train":
            os.write(pipe, b".")
    learner = algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian())
    metafunc.fit(learner, data.sinusoid(num_shots=3, num_queries=3), steps=steps, num_tasks=2, out=out, resume=True,
                 recording=Recording(checkpoint_every=2, log_every=3),
                 validation=Validation(every=10, num_tasks=2), on_event=started)

def child(out):
    read, write = os.pipe()
    number = os.fork()
    if number == 0:
        code = 1
        try:
            train(out, write)
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    return number, read

def finished(number, pipe):
    os.close(pipe)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])

begun = time.monotonic()
number, pipe = child(here / "whole")
while os.read(pipe, 4096):  # to the end of the run, when the pipe closes
    pass
pace = (time.monotonic() - begun) / steps
assert finished(number, pipe) == 0

delay = random.Random(0)
reached = []
for kill in range(20):
    number, pipe = child(here / "killed")
    if kill % 5:  # four in five while it goes, one in five while it begins
        os.read(pipe, 1)
    time.sleep(delay.uniform(0, 10 * pace))
    os.kill(number, signal.SIGKILL)
    assert finished(number, pipe) == -signal.SIGKILL, "it ended before it was killed"
    reached.append((checkpoint.steps(here / "killed" / "checkpoints") or [0])[-1])
assert reached == sorted(reached)
assert 0 < reached[-1] < steps, reached
number, pipe = child(here / "killed")
while os.read(pipe, 4096):
    pass
assert finished(number, pipe) == 0
print(len(set(reached)))
"""


def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    """Twenty times; a parent that has torch loaded forks the runs, so that each costs a fraction of a second."""
    ran = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 5, "the kills hit runs that had hardly begun"
    assert state(tmp_path / "killed") == state(tmp_path / "whole")
