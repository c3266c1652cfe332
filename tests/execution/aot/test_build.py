"""Code is made in a process of its own, for a cache that only its owner can write."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import metafunc
from metafunc import Execution, algorithms, data, nn, tree
from metafunc.execution import aot, code_cache, tracing
from metafunc.execution.aot import build
from metafunc.execution.aot.serialise import describe
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import gaussian
from metafunc.testing import network, random_tasks
from metafunc.training.events import Event
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.objectives import query_loss

MODEL = network((2,), 3)
LOSS = gaussian(3).of(MODEL)
META = MODEL.init(torch.Generator().manual_seed(0))
TASK_LOSS = query_loss(gradient_descent(LOSS, lr=0.1, num_steps=2), LOSS)
TASKS = random_tasks("regression", num_tasks=4, num_outputs=3)


def test_the_name_depends_on_the_graph_the_shapes_the_threads_torch_and_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def named(function: Callable[[Tensor], Tensor], rows: int) -> str:
        x = torch.ones(rows)
        return build.name_of(describe(tracing.trace(function, x), [x])[0])

    names = [named(lambda x: 2 * x, 3), named(lambda x: 3 * x, 3), named(lambda x: 2 * x, 4)]
    assert len(set(names)) == 3
    assert named(lambda x: 2 * x, 3) == names[0]
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    assert named(lambda x: 2 * x, 3) != names[0]
    torch.set_num_threads(before)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "2.0")
        assert named(lambda x: 2 * x, 3) != names[0]
    with monkeypatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": False, "num_logical_cores": 1})
        other = named(lambda x: 2 * x, 3)
        patch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": False, "num_logical_cores": 2})
        assert named(lambda x: 2 * x, 3) == other != names[0]
    assert named(lambda x: 2 * x, 3) == names[0]


def test_a_cache_that_others_can_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code_cache.folder().chmod(0o777)
    warned: list[str] = []
    with aot.Compiler(at_once=True, warn=warned.append) as own:
        assert own.lower(lambda x: 2 * x)(torch.ones(1)).tolist() == [2.0]
    assert "others can write" in warned[0]


def processes(folder: Path) -> list[str]:
    found = subprocess.run(["ps", "-eww", "-o", "stat=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if str(folder) in line and not line.startswith("Z")]


def gone(folder: Path, seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while processes(folder) and time.monotonic() < end:
        time.sleep(0.1)
    return not processes(folder)


def test_closing_ends_the_compiler_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    x = torch.ones(3)
    begun = build.Build(describe(tracing.trace(torch.sin, x), [x])[0], niceness=19)
    assert processes(tmp_path)
    assert not begun.wait(lambda: True)
    begun.close()
    assert gone(tmp_path)
    assert list((tmp_path / "metafunc").iterdir()) == []


def test_what_another_process_compiles_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    x = torch.ones(3)
    described = describe(tracing.trace(torch.sin, x), [x])[0]
    other = build.Build(described, niceness=19, builds=False)
    assert not processes(tmp_path)
    assert not other.done()
    assert not other.failed()
    assert other.wait(lambda: False)  # at once, since it may never be there
    with pytest.raises(build.BuildError, match="the first rank of this machine has not compiled it"):
        other.load()
    with code_cache.opened(other.folder) as handle:
        code_cache.keep(handle, other.name, b"library")
    assert other.done()
    assert other.kept == b"library"
    other.close()


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Builds without a compiler, which are counted, in a cache of the test's own; how often is looked does not wait."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "LOOK", 0.0)
    start, begun = subprocess.Popen, []

    def started(command: list[str], **how: Any) -> "subprocess.Popen[bytes]":
        begun.append(command)
        made = f"open({build.LIBRARY!r}, 'wb').write(b'library')"
        return start([sys.executable, "-c", made], cwd=command[-1], **how)

    monkeypatch.setattr(subprocess, "Popen", started)
    return begun


def sine() -> str:
    x = torch.ones(3)
    return describe(tracing.trace(torch.sin, x), [x])[0]


@pytest.mark.usefixtures("quick")
def test_a_library_is_in_the_cache_as_soon_as_it_is_compiled() -> None:
    first, other = (build.Build(sine(), niceness=0, builds=builds) for builds in (True, False))
    assert not other.done()
    assert not build.cached(sine())
    assert build.usual_seconds(sine()) is None
    assert first.wait(lambda: False)
    assert not first.failed()
    assert other.done()
    assert other.kept == b"library"
    assert build.cached(sine())
    taken = build.usual_seconds(sine())
    assert taken is not None
    assert 0 < taken < 60
    first.close()


def test_of_two_that_need_a_library_one_builds_it(quick: list[list[str]], tmp_path: Path) -> None:
    first, other = (build.Build(sine(), niceness=0) for _ in range(2))
    assert len(quick) == 1
    assert first.wait(lambda: False)
    assert not other.done(), "the first has not given the name back"
    first.close()
    assert other.wait(lambda: False)
    assert other.kept == b"library"
    other.close()
    assert len(quick) == 1
    assert {path.suffix for path in (tmp_path / "metafunc").iterdir()} == {".so", ".sum", ".json"}


def test_who_waits_builds_where_the_other_ends_without_a_library(quick: list[list[str]]) -> None:
    first, other = (build.Build(sine(), niceness=0) for _ in range(2))
    first.close()  # at once
    assert other.wait(lambda: False)
    assert not other.failed()
    assert len(quick) == 2
    other.close()
    # The wrong twin: without a reservation both build.
    code_cache.prune(other.folder)
    (other.folder / f"{other.name}.so").unlink()
    held = code_cache.reserve
    try:
        code_cache.reserve = lambda handle, name: os.open(os.devnull, os.O_RDONLY)
        both = [build.Build(sine(), niceness=0) for _ in range(2)]
    finally:
        code_cache.reserve = held
    assert len(quick) == 4
    for each in both:
        each.close()


@pytest.mark.usefixtures("quick")
def test_steps_go_on_where_the_cache_is_lost_while_they_wait_for_another_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_cache, "reserve", lambda handle, name: None)  # another process builds
    warned: list[str] = []
    with aot.Compiler(at_once=False, warn=warned.append) as own:
        sine_of = own.lower(torch.sin)
        for step in range(3):
            own.between_steps(step)
            sine_of(torch.ones(3))
        shutil.rmtree(tmp_path / "metafunc")
        own.between_steps(3)
        assert torch.equal(sine_of(torch.ones(3)), torch.ones(3).sin())
        own.between_steps(4)
    assert len(warned) == 1
    assert "no folder" in warned[0]


def test_a_compiler_ends_when_the_process_that_waits_for_it_is_killed(tmp_path: Path) -> None:
    code = """
import os, torch, time
from metafunc.execution import tracing
from metafunc.execution.aot.build import Build
from metafunc.execution.aot.serialise import describe
x = torch.ones(3)
begun = Build(describe(tracing.trace(torch.sin, x), [x])[0], niceness=19)
time.sleep(2)
print(begun.process.pid, flush=True)
time.sleep(60)
"""
    paths = {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, **paths})
    assert parent.stdout is not None
    assert int(parent.stdout.readline())
    assert processes(tmp_path)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(tmp_path)


def test_operations_that_code_cannot_call_are_named_before_it_is_made() -> None:
    square = torch.eye(3)
    refused = {
        "aten.linalg_cholesky_ex.default": tracing.trace(torch.linalg.cholesky, square),
        "aten._linalg_slogdet.default": tracing.trace(lambda x: torch.linalg.slogdet(x).logabsdet, square),
    }
    for name, graph in refused.items():
        with pytest.raises(build.BuildError, match=f"compiled code cannot call .*{name}"):
            build.check_calls(graph)
    # What is taken apart, has code, or is in the interface of libraries is none of these.
    build.check_calls(tracing.trace(lambda x: torch.cumprod(x.exp() @ x, 0).softmax(-1), square))


@pytest.mark.compiled
def test_a_step_that_code_cannot_take_runs_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    warned: list[str] = []
    x = torch.eye(3) + 0.1
    with aot.Compiler(at_once=True, warn=warned.append) as own:
        assert torch.equal(own.lower(torch.linalg.cholesky)(x), torch.linalg.cholesky(x))
    assert len(warned) == 1
    assert "cannot call aten" in warned[0]


@pytest.mark.compiled
def test_code_is_made_once_and_gives_the_steps_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain = value_and_grad(TASK_LOSS)(META, TASKS)
    for _ in range(2):
        warned: list[str] = []
        with aot.Compiler(at_once=True, warn=warned.append) as own:
            step = value_and_grad(TASK_LOSS, lower=own.lower)
            torch.testing.assert_close(step(META, TASKS), plain, rtol=1e-12, atol=1e-13)
            other = tree.scale(META, 1.5)
            again = value_and_grad(TASK_LOSS)(other, TASKS)
            torch.testing.assert_close(step(other, TASKS), again, rtol=1e-12, atol=1e-13)
        assert not warned
        monkeypatch.setattr(build.subprocess, "Popen", None)  # the second time it lies in the cache
    assert {path.suffix for path in (tmp_path / "metafunc").iterdir()} == {".so", ".sum", ".json"}


@pytest.mark.compiled
def test_another_seed_and_inner_step_size_find_the_code_and_change_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bitwise the numbers of code that is built for them alone."""
    family = data.sinusoid(num_shots=3, num_queries=3, num_test_queries=5)

    def trained(seed: int, inner_lr: float) -> Any:
        learner = algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), gaussian(), inner_lr=inner_lr)
        execution = Execution(compile="on", threads=1)
        events: list[Event] = []
        found = metafunc.fit(
            learner, family, steps=3, num_tasks=3, seed=seed, execution=execution, on_event=events.append
        )
        assert "warning" not in [event.phase for event in events], "the code is taken"
        return found.meta

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    alone = trained(1, 0.03)
    monkeypatch.setenv(code_cache.NAMED, str(tmp_path / "other"))
    first = trained(0, 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(build.Build, "_start", None)  # nothing is built
        second = trained(1, 0.03)
    assert all(map(torch.equal, tree.leaves(second), tree.leaves(alone)))
    assert not all(map(torch.equal, tree.leaves(second), tree.leaves(first)))
    assert len(list((tmp_path / "other").glob("*.so"))) == 1
