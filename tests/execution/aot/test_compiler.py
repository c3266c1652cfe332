"""Steps switch to compiled code between two steps, and only to code that gives their numbers."""

from typing import Any

import pytest
import torch

from metafunc import tree
from metafunc.execution import aot, tracing
from metafunc.execution.aot import compiler
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import gaussian
from metafunc.testing import network, random_tasks
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.objectives import query_loss

MODEL = network((2,), 3)
LOSS = gaussian(3).of(MODEL)
META = MODEL.init(torch.Generator().manual_seed(0))
TASK_LOSS = query_loss(gradient_descent(LOSS, lr=0.1, num_steps=2), LOSS)
TASKS = random_tasks("regression", num_tasks=4, num_outputs=3)


def same(first: Any, second: Any) -> bool:
    return all(map(torch.equal, tree.leaves(first), tree.leaves(second)))


def test_it_switches_between_steps_and_records_it_first(rounded: Any) -> None:
    plain, recorded = value_and_grad(TASK_LOSS)(META, TASKS), []
    with aot.Compiler(at_once=False, record=recorded.append) as own:
        step = value_and_grad(TASK_LOSS, lower=own.lower)
        bitwise = []
        for number in range(8):
            own.between_steps(number)
            before = len(recorded)
            bitwise.append(same(step(META, TASKS), plain))
            assert bitwise[-1] == (not recorded)
            assert before == len(recorded) or own.step == recorded[0].step
    # Traced in step 1, ready at the fourth look, which is before step 5.
    assert bitwise == [True] * 5 + [False] * 3
    assert [switch.step for switch in recorded] == [5]
    assert rounded.closed == 1


def refusal() -> str:
    """The warning, where the code is not taken: all steps give the graph's numbers, and no switch is recorded."""
    plain, recorded, warned = value_and_grad(TASK_LOSS)(META, TASKS), [], []
    with aot.Compiler(at_once=False, record=recorded.append, warn=warned.append) as own:
        step = value_and_grad(TASK_LOSS, lower=own.lower)
        for number in range(8):
            own.between_steps(number)
            assert same(step(META, TASKS), plain)
    assert not recorded
    (warning,) = warned
    return warning


@pytest.mark.parametrize("factor", [1 + 1e-3, float("nan")])
def test_code_that_gives_other_numbers_is_refused_with_a_warning(rounded: Any, factor: float) -> None:
    rounded.factor = factor
    assert "other numbers than its graph" in refusal()


def test_code_that_fails_when_it_is_called_is_refused_with_a_warning(
    rounded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: Any) -> Any:
        def run(inputs: Any) -> Any:
            raise RuntimeError("no such operation")

        return run

    monkeypatch.setattr(rounded, "load", load)
    assert refusal() == "The step cannot be compiled (no such operation); it runs without."


def test_one_leaf_that_is_wrong_is_enough() -> None:
    graph = tracing.trace(value_and_grad(TASK_LOSS), META, TASKS)
    leaves = tree.leaves((META, TASKS))
    right = graph(*leaves)
    assert compiler.agree(graph, leaves, right, [leaf * (1 + 1e-14) for leaf in right])
    for i in range(len(right)):
        wrong = [leaf * (1 + 1e-4 * (j == i)) for j, leaf in enumerate(right)]
        assert not compiler.agree(graph, leaves, right, wrong)
