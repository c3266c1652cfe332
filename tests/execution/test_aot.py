"""Steps that are compiled while they go on: the same numbers but for rounding, and bitwise the same when resumed."""

import json
import os
import shutil
import signal
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
from metafunc import algorithms, data, nn, tree
from metafunc.execution import aot, plan, tracing
from metafunc.execution.aot import build, compiler
from metafunc.execution.aot.serialise import describe, restore
from metafunc.execution.gradient import value_and_grad
from metafunc.nn import likelihood
from metafunc.nn.likelihood import gaussian
from metafunc.testing import network, random_tasks
from metafunc.training import checkpoint
from metafunc.training.events import Event, Interrupted, Watch, unwatched
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.objectives import query_loss

MODEL = network((2,), 3)
LOSS = gaussian(3).of(MODEL)
META = MODEL.init(torch.Generator().manual_seed(0))
TASK_LOSS = query_loss(gradient_descent(LOSS, lr=0.1, num_steps=2), LOSS)
TASKS = random_tasks("regression", num_tasks=4, num_outputs=3)
STEPS = 14


def same(first: Any, second: Any) -> bool:
    return all(map(torch.equal, tree.leaves(first), tree.leaves(second)))


class Rounded:
    """A build that is ready after a number of looks, whose code is the described list but for the last bits."""

    looks = 3
    factor = 1 + 1e-14
    closed = 0

    def __init__(self, described: str, *, niceness: int) -> None:
        self.noted, self.left = restore(described)[0], self.looks

    def done(self) -> bool:
        self.left -= 1
        return self.left < 0

    def wait(self, halted: Callable[[], bool]) -> bool:
        return True

    def load(self) -> Callable[[list[Tensor]], list[Tensor]]:
        return lambda inputs: [leaf * self.factor for leaf in self.noted(*inputs)]

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def rounded(monkeypatch: pytest.MonkeyPatch) -> type[Rounded]:
    kind = type("Rounded", (Rounded,), {})
    monkeypatch.setattr(compiler, "Build", kind)
    return kind


# Descriptions


@pytest.mark.parametrize("per_task", [False, True])
def test_a_description_gives_bitwise_the_same_list(per_task: bool) -> None:
    lists = []
    value_and_grad(TASK_LOSS, per_task=per_task, lower=lambda step: lists.append(step) or step)
    noted = tracing.capture(lists[0], META, TASKS)
    leaves = tree.leaves((META, TASKS))
    text, constants = describe(noted, leaves)
    again, inputs = restore(json.loads(json.dumps(text)))
    assert same(again(*leaves, *constants), noted(*leaves))
    assert [leaf.shape for leaf in inputs] == [leaf.shape for leaf in [*leaves, *constants]]


def test_constants_are_inputs_and_not_part_of_the_name() -> None:
    def plus(number: float) -> tuple[str, list[Tensor]]:
        offset = torch.tensor([number, 0.0])
        return describe(tracing.capture(lambda x: x + offset, torch.ones(2)), [torch.ones(2)])

    (one, first), (other, second) = plus(1.0), plus(2.0)
    assert one == other
    assert [leaf.tolist() for leaf in (*first, *second)] == [[1.0, 0.0], [2.0, 0.0]]
    assert restore(one)[0](torch.ones(2), *second)[0].tolist() == [3.0, 1.0]


def test_what_is_no_tensor_operation_is_refused() -> None:
    noted = torch.fx.symbolic_trace(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="no tensor operation"):
        describe(noted, [torch.ones(1)])


def test_the_name_depends_on_the_list_the_shapes_and_the_threads() -> None:
    def named(function: Callable[[Tensor], Tensor], rows: int) -> str:
        x = torch.ones(rows)
        return build.name_of(describe(tracing.capture(function, x), [x])[0])

    names = [named(lambda x: 2 * x, 3), named(lambda x: 3 * x, 3), named(lambda x: 2 * x, 4)]
    assert len(set(names)) == 3
    assert named(lambda x: 2 * x, 3) == names[0]
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    assert named(lambda x: 2 * x, 3) != names[0]
    torch.set_num_threads(before)


# Changing over


def test_it_changes_over_between_steps_and_notes_it_first(rounded: type[Rounded]) -> None:
    plain, told = value_and_grad(TASK_LOSS)(META, TASKS), []
    with aot.Compiler(at_once=False, record=told.append) as own:
        step = value_and_grad(TASK_LOSS, lower=own.lower)
        bitwise = []
        for number in range(8):
            own.between_steps(number)
            before = len(told)
            bitwise.append(same(step(META, TASKS), plain))
            assert bitwise[-1] == (not told)
            assert before == len(told) or own.step == told[0].step
    # Noted in step 1, ready at the fourth look, which is before step 5.
    assert bitwise == [True] * 5 + [False] * 3
    assert [swap.step for swap in told] == [5]
    assert rounded.closed == 1


@pytest.mark.parametrize("factor", [1 + 1e-3, float("nan")])
def test_code_that_gives_other_numbers_is_refused_and_that_said(rounded: type[Rounded], factor: float) -> None:
    rounded.factor = factor
    plain, told, said = value_and_grad(TASK_LOSS)(META, TASKS), [], []
    with aot.Compiler(at_once=False, record=told.append, warn=said.append) as own:
        step = value_and_grad(TASK_LOSS, lower=own.lower)
        for number in range(8):
            own.between_steps(number)
            assert same(step(META, TASKS), plain)
    assert not told
    assert len(said) == 1
    assert "other numbers than its operations" in said[0]


def test_one_leaf_that_is_wrong_is_enough() -> None:
    noted = tracing.capture(value_and_grad(TASK_LOSS), META, TASKS)
    leaves = tree.leaves((META, TASKS))
    right = noted(*leaves)
    assert compiler.agree(noted, leaves, right, [leaf * (1 + 1e-14) for leaf in right])
    for i in range(len(right)):
        wrong = [leaf * (1 + 1e-4 * (j == i)) for j, leaf in enumerate(right)]
        assert not compiler.agree(noted, leaves, right, wrong)


# Runs


def fit(out: Path, *, on_event: Watch = unwatched, **changes: Any) -> Any:
    learner = algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian())
    family = data.sinusoid(num_shots=3, num_queries=3, num_test_queries=5)
    arguments: dict[str, Any] = {"steps": STEPS, "num_tasks": 3, "resume": True, "checkpoint_every": 3, "log_every": 2}
    return metafunc.fit(learner, family, out=out, on_event=on_event, **{**arguments, **changes})


def tensors(run: Path) -> dict[str, bytes]:
    last = checkpoint.newest(run / "checkpoints")[0]
    assert last is not None
    return {name: tensor.numpy().tobytes() for name, tensor in last.tensors.items()}


@pytest.fixture
def background(monkeypatch: pytest.MonkeyPatch, rounded: type[Rounded]) -> type[Rounded]:
    monkeypatch.setattr(plan, "CAPTURED", 1)
    monkeypatch.setattr(plan, "BACKGROUND", 1)
    rounded.factor = 1 + 2e-6  # float32
    return rounded


def swap_of(run: Path) -> int:
    return int(json.loads((run / "compiled.json").read_text())["step"])


class CrashError(Exception):
    """The process dies here."""


@pytest.mark.parametrize(("stop", "later"), [(6, 9), (8, 0)])
def test_a_resumed_run_changes_over_at_the_same_step(
    tmp_path: Path, background: type[Rounded], stop: int, later: int
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit(whole)
    assert swap_of(whole) == 5

    def crash(event: Event) -> None:
        if event.phase == "train" and event.step == stop:
            raise CrashError

    with pytest.raises(CrashError):
        fit(broken, on_event=crash)  # checkpoints lie before the change, at 3, and behind it, at 6
    background.looks = later  # another pace than before
    fit(broken)
    assert tensors(broken) == tensors(whole)
    assert swap_of(broken) == 5


def test_the_step_of_the_change_shows_in_the_numbers(tmp_path: Path, background: type[Rounded]) -> None:
    fit(tmp_path / "one")
    background.looks = 0
    fit(tmp_path / "other")
    assert swap_of(tmp_path / "other") == 2
    assert tensors(tmp_path / "one") != tensors(tmp_path / "other")


def test_code_that_is_no_longer_to_be_had_is_said(
    tmp_path: Path, background: type[Rounded], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(event: Event) -> None:
        if event.phase == "train" and event.step == 10:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        fit(tmp_path, on_event=stop)

    def fail(self: Rounded) -> None:
        raise build.BuildError("no compiler")

    monkeypatch.setattr(background, "load", fail)
    events: list[Event] = []
    assert fit(tmp_path, on_event=events.append).step == STEPS
    (warning,) = [event.message for event in events if event.phase == "warning"]
    assert "no compiler" in warning
    assert "numbers may differ in the last bits" in warning


@pytest.mark.usefixtures("background")
def test_without_a_folder_or_deterministic_nothing_depends_on_the_clock(tmp_path: Path) -> None:
    first, second = fit(tmp_path / "a", deterministic=True), fit(tmp_path / "b", compile="off")
    assert same(first.meta, second.meta)
    assert not list(tmp_path.rglob("compiled.json"))


def test_a_signal_while_a_step_waits_for_its_code_stops_before_it(
    tmp_path: Path, background: type[Rounded], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(self: Rounded, halted: Callable[[], bool]) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return not halted()

    monkeypatch.setattr(background, "wait", wait)
    with pytest.raises(Interrupted) as caught:
        fit(tmp_path / "run", compile="on")
    assert caught.value.step == 0
    assert background.closed == 1
    monkeypatch.undo()
    fit(tmp_path / "run", compile="off")


# The cache and the process


def test_a_cache_that_others_can_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = build.cache()
    assert folder == tmp_path / "metafunc"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    said: list[str] = []
    with aot.Compiler(at_once=True, warn=said.append) as own:
        assert own.lower(lambda x: 2 * x)(torch.ones(1)).tolist() == [2.0]
    assert "others can write" in said[0]


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
    begun = build.Build(describe(tracing.capture(torch.sin, x), [x])[0], niceness=19)
    assert processes(tmp_path)
    assert not begun.wait(lambda: True)
    begun.close()
    assert gone(tmp_path)
    assert list((tmp_path / "metafunc").iterdir()) == []


def test_a_compiler_ends_when_whoever_waits_for_it_is_killed(tmp_path: Path) -> None:
    code = """
import os, torch, time
from metafunc.execution import tracing
from metafunc.execution.aot.build import Build
from metafunc.execution.aot.serialise import describe
x = torch.ones(3)
begun = Build(describe(tracing.capture(torch.sin, x), [x])[0], niceness=19)
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


@pytest.mark.compiled
def test_code_is_made_once_and_gives_the_steps_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain = value_and_grad(TASK_LOSS)(META, TASKS)
    for _ in range(2):
        said: list[str] = []
        with aot.Compiler(at_once=True, warn=said.append) as own:
            step = value_and_grad(TASK_LOSS, lower=own.lower)
            torch.testing.assert_close(step(META, TASKS), plain, rtol=1e-12, atol=1e-13)
            other = tree.scale(META, 1.5)
            again = value_and_grad(TASK_LOSS)(other, TASKS)
            torch.testing.assert_close(step(other, TASKS), again, rtol=1e-12, atol=1e-13)
        assert not said
        monkeypatch.setattr(build.subprocess, "Popen", None)  # the second time it lies in the cache
    assert len(list((tmp_path / "metafunc").iterdir())) == 1


@pytest.mark.compiled
def test_a_run_that_was_compiled_meanwhile_resumes_bitwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(plan, "CAPTURED", 1)
    monkeypatch.setattr(plan, "BACKGROUND", 1)
    monkeypatch.setattr(compiler, "BACKGROUND", 0)  # or it would wait for whatever else the machine does
    begun: list[build.Build] = []

    class Kept(build.Build):
        def __init__(self, described: str, *, niceness: int) -> None:
            super().__init__(described, niceness=niceness)
            begun.append(self)

    monkeypatch.setattr(compiler, "Build", Kept)
    whole, copy = tmp_path / "whole", tmp_path / "copy"

    def watch(event: Event) -> None:
        if event.phase == "train" and event.step == 5:
            assert begun[0].wait(lambda: False)  # as the run asks: a process that is ending has not ended yet
        if event.phase == "checkpoint" and event.step == 9:
            shutil.copytree(whole, copy)

    fit(whole, on_event=watch)
    assert swap_of(whole) == 5
    shutil.rmtree(tmp_path / "cache")  # so that the code has to be made again
    fit(copy)
    assert tensors(copy) == tensors(whole)
    fit(tmp_path / "other", compile="off")
    assert tensors(tmp_path / "other") != tensors(whole)
