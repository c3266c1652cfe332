"""A training under torchrun on one machine: killed, hung, stopped and diverging, it ends as one process does.

Every case starts torchrun and waits for its restarts, so all of them are for the night.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .agents import STEPS, Agent, Place, place

pytestmark = [pytest.mark.nightly, pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")]
SAFE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
OPTIONS = ("--standalone", "--nproc-per-node", "2", "--max-restarts", "3", "--shutdown-timeout", "5")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("torchrun")) as found:
        yield found


@pytest.fixture(scope="module")
def alone(shared: Place) -> dict[str, str]:
    return shared.alone("alone")


def begun(shared: Place, run: str, **environment: str) -> Agent:
    """A training that has written its second checkpoint."""
    agent = shared.start(OPTIONS, shared.train(run), **{**SAFE, **environment})
    shared.reaches(run, 20)
    return agent


@pytest.mark.parametrize(("name", "number"), [("killed", signal.SIGKILL), ("hung", signal.SIGSTOP)])
def test_torchrun_starts_ranks_again_when_one_is_killed_or_hangs(
    shared: Place, alone: dict[str, str], name: str, number: signal.Signals
) -> None:
    agent = begun(shared, name, METAFUNC_RANKS_TIMEOUT="5")
    os.kill(agent.workers()[1], number)
    assert agent.end() == 0
    assert shared.bits(name) == alone
    assert shared.ended(name) == "finished"
    assert "Another rank has ended or does not answer" in agent.said
    assert "Traceback" not in agent.said.partition("torch.distributed.elastic")[0]


def test_a_rank_that_is_asked_to_stop_saves_and_torchrun_goes_on(shared: Place, alone: dict[str, str]) -> None:
    agent = begun(shared, "one")
    os.kill(agent.workers()[1], signal.SIGTERM)
    assert agent.end() == 0
    assert "SIGTERM stopped the run after step" in agent.said
    assert shared.bits("one") == alone


@pytest.mark.parametrize(
    ("number", "everyone"),
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, False)],
    ids=["torchrun", "torchrun-and-ranks", "ctrl-c"],
)
def test_a_signal_to_torchrun_loses_nothing(
    shared: Place, alone: dict[str, str], number: signal.Signals, everyone: bool
) -> None:
    name = f"preempted-{number.name}-{everyone}"
    agent = begun(shared, name)
    if everyone:  # as SLURM does, which signals every process of a step; torchrun hands its own on
        for worker in agent.workers().values():
            os.kill(worker, number)
    os.kill(agent.process.pid, number)
    assert agent.end() != 0
    assert shared.ended(name) == "interrupted"
    assert agent.said.count(f"{number.name} stopped the run after step") == 1
    last = max(shared.steps(name))
    assert 20 <= last < STEPS
    assert f"after step {last}." in agent.said
    again = shared.start(OPTIONS, shared.train(name), **SAFE)
    assert again.end() == 0
    assert shared.ended(name) == "finished"
    assert shared.bits(name) == alone


def test_a_divergence_is_said_once_with_its_task_and_not_repeated(shared: Place) -> None:
    agent = shared.start(OPTIONS, shared.train("diverged", "--poisoned"), **SAFE)
    assert agent.end() != 0
    assert agent.said.count("2 of its 4 tasks cause it, the first with index 1;") == 1
    assert shared.ended("diverged") == "diverged"
    assert agent.said.count("exitcode  : 4") >= 1
    assert "checkpoint" not in [path.name for path in (shared.folder / "diverged").iterdir()]


def test_the_worker_says_which_variable_torchrun_needs(shared: Place) -> None:
    options = ("--standalone", "--nproc-per-node", "2", "--max-restarts", "1")
    short = ["train", "maml", "sinusoid", "--steps", "1", "--num-tasks", "2", "--shards", "2", "--test-tasks", "1"]
    environment = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "0"}
    agent = shared.start(options, [*short, "--quiet", "--out", "warned"], **environment)
    assert agent.end() == 0
    assert agent.said.count("set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before torchrun") == 1
