"""A training over two machines, which are two network namespaces with host names of their own: whatever happens to one
of them, it ends as one process does. For the night, and for a user who may make namespaces.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from .agents import Agent, Place, place


def possible() -> bool:
    """Whether namespaces can be made here."""
    if not (shutil.which("ip") and shutil.which("unshare")):
        return False
    return subprocess.run(["unshare", "--net", "--uts", "true"], capture_output=True).returncode == 0


pytestmark = [pytest.mark.nightly, pytest.mark.skipif(not possible(), reason="needs ip, unshare and the right to both")]
NAMES = ("a", "b")
ADDRESS = {"a": "10.99.7.1", "b": "10.99.7.2"}
SAFE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "METAFUNC_RANKS_TIMEOUT": "10"}


def ip(*words: str) -> None:
    """A command about the network."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass
class Machines:
    """Two machines that see one folder.

    Args:
        place: the folder.
        prefix: what the namespaces' names begin with.
    """

    place: Place
    prefix: str

    def space(self, name: str) -> str:
        """The namespace of a machine."""
        return f"{self.prefix}{name}"

    def start(self, name: str, run: str, restarts: int = 5) -> Agent:
        """The agent of one machine."""
        first = "true" if name == "a" else "false"
        options = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", str(restarts), "--shutdown-timeout", "5"]
        options += ["--rdzv-backend", "c10d", "--rdzv-id", self.prefix, "--rdzv-endpoint", f"{ADDRESS['a']}:29400"]
        options += ["--rdzv-conf", f"is_host={first}", "--local-addr", ADDRESS[name]]
        named = f'hostname machine-{name} && exec "$@"'
        before = ["ip", "netns", "exec", self.space(name), "unshare", "--uts", "sh", "-c", named, "sh"]
        network = {"GLOO_SOCKET_IFNAME": self.space(name)}
        return self.place.start(options, self.place.train(run), before=before, **SAFE, **network)

    def both(self, run: str) -> dict[str, Agent]:
        """Both agents, once the training has written its second checkpoint."""
        agents = {name: self.start(name, run) for name in NAMES}
        self.place.reaches(run, 20)
        return agents

    def link(self, name: str, state: str) -> None:
        """Plug a machine's cable in or out: up or down."""
        ip("-n", self.space(name), "link", "set", self.space(name), state)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with place(tmp_path_factory.mktemp("machines")) as shared:
        found = Machines(shared, f"mf{os.getpid() % 10_000}")
        spaces = [found.space(name) for name in NAMES]
        try:
            for space in spaces:
                ip("netns", "add", space)
            own, peer = (["name", space, "netns", space] for space in spaces)
            ip("link", "add", *own, "type", "veth", "peer", *peer)
            for name, space in zip(NAMES, spaces, strict=True):
                ip("-n", space, "address", "add", f"{ADDRESS[name]}/24", "dev", space)
                for device in ("lo", space):
                    ip("-n", space, "link", "set", device, "up")
            yield found
        finally:
            for agent in shared.agents:
                agent.kill()
            for space in spaces:
                subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)


@pytest.fixture(scope="module")
def alone(machines: Machines) -> dict[str, str]:
    return machines.place.alone("alone")


def ended_as(machines: Machines, agents: dict[str, Agent], run: str, alone: dict[str, str]) -> None:
    assert {name: agent.end() for name, agent in agents.items()} == {"a": 0, "b": 0}
    assert machines.place.bits(run) == alone
    assert machines.place.ended(run) == "finished"


def test_a_rank_of_the_other_machine_is_killed_and_later_another_hangs(
    machines: Machines, alone: dict[str, str]
) -> None:
    agents = machines.both("ranks")
    os.kill(next(iter(agents["b"].workers().values())), signal.SIGKILL)
    machines.place.reaches("ranks", 30)
    machines.place.until(lambda: bool(agents["b"].workers()), "a worker on machine b")
    os.kill(next(iter(agents["b"].workers().values())), signal.SIGSTOP)
    ended_as(machines, agents, "ranks", alone)


def test_a_machine_dies_and_comes_back(machines: Machines, alone: dict[str, str]) -> None:
    agents = machines.both("machine")
    agents["b"].kill()
    time.sleep(5)
    agents["b"] = machines.start("b", "machine")
    ended_as(machines, agents, "machine", alone)


def test_the_network_is_cut_for_a_while(machines: Machines, alone: dict[str, str]) -> None:
    agents = machines.both("cable")
    machines.link("b", "down")
    time.sleep(20)  # longer than ranks wait for each other
    machines.link("b", "up")
    ended_as(machines, agents, "cable", alone)


def test_a_folder_that_one_machine_does_not_see_is_refused_before_a_step(machines: Machines) -> None:
    own = machines.place.folder / "own"
    own.mkdir()
    agents = {name: machines.start(name, f"own/{name}", restarts=1) for name in NAMES}
    assert {agent.end() != 0 for agent in agents.values()} == {True}
    assert "is not the same folder on rank 1" in agents["a"].said + agents["b"].said
    assert not list(own.glob("*/checkpoints/step-*"))
