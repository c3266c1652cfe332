"""Freed memory is retained while it is asked for, and only then."""

import os
import platform
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from metafunc.execution import allocator, device

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
BLOCKS = """
import ctypes, resource, torch
from metafunc.execution import device

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no huge pages, of which there would be few to count

def faults():  # how many pages have to be fetched for 64 MiB, at best: a block in its way gives it a new place
    return min(one() for _ in range(10))

def one():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 2**20

print(faults())
with device.surroundings():
    print(faults())
    torch.ones(2**26)
    print(resident())
print(resident())
"""


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What malloc is applied, instead of telling it; and nothing that the user applied it."""
    for name in (*allocator.VARIABLES, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    settings: list[tuple[int, int]] = []
    library = SimpleNamespace(
        mallopt=lambda name, value: settings.append((name, value)),
        malloc_trim=lambda pad: settings.append((0, pad)),
    )
    monkeypatch.setattr(allocator, "_glibc", lambda: library)
    return settings


RETAINED, GIVEN_BACK = [*allocator.RETAINED.items()], [*allocator.GIVEN_BACK.items(), (0, 0)]


@glibc_only
def test_pages_stay_while_steps_go_on_and_go_back_afterwards() -> None:
    asked = (*allocator.VARIABLES, "GLIBC_TUNABLES")
    clean = {name: value for name, value in os.environ.items() if name not in asked}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS], env=clean, capture_output=True, text=True, timeout=120, check=True
    )
    before, inside, held, afterwards = map(int, done.stdout.split())
    assert 5 * inside < before
    assert before > 500
    assert afterwards < held - 200


@glibc_only
def test_malloc_accepts_its_settings() -> None:
    accepted = "import ctypes; from metafunc.execution import allocator as a; library = ctypes.CDLL(None); print(*"
    accepted += "[library.mallopt(*s) for s in (*a.RETAINED.items(), *a.GIVEN_BACK.items())])"
    done = subprocess.run([sys.executable, "-c", accepted], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["1"] * 5


def test_the_last_of_several_puts_it_back(applied: list[tuple[int, int]]) -> None:
    with device.surroundings():
        assert applied == RETAINED
        with allocator.retain_freed_memory():
            pass
        assert applied == RETAINED
    assert applied == RETAINED + GIVEN_BACK


def test_of_overlapping_trainings_too(applied: list[tuple[int, int]]) -> None:
    leave, entered = threading.Event(), threading.Event()

    def other() -> None:
        with allocator.retain_freed_memory():
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    with allocator.retain_freed_memory():
        thread.start()
        entered.wait(60)
    assert applied == RETAINED
    leave.set()
    thread.join()
    assert applied == RETAINED + GIVEN_BACK


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_forked_child_begins_again(applied: list[tuple[int, int]]) -> None:
    with allocator.retain_freed_memory():
        if not (child := os.fork()):
            os._exit(allocator._Holders.count + (applied[len(RETAINED) :] != GIVEN_BACK[:-1]))
        assert os.waitpid(child, 0)[1] == 0
        assert allocator._Holders.count == 1


def test_it_is_put_back_when_something_fails(applied: list[tuple[int, int]]) -> None:
    with pytest.raises(KeyError), allocator.retain_freed_memory():
        raise KeyError
    assert applied == RETAINED + GIVEN_BACK


@pytest.mark.parametrize("name", [*allocator.VARIABLES, "GLIBC_TUNABLES"])
def test_what_the_user_set_is_left_alone(
    applied: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "glibc.malloc.trim_threshold=131072" if name == "GLIBC_TUNABLES" else "131072")
    with allocator.retain_freed_memory():
        pass
    assert not applied


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with allocator.retain_freed_memory():
        assert allocator._Holders.count == 0
