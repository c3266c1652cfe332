"""A traced graph as text is bitwise the same graph again."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc import tree
from metafunc.execution import tracing
from metafunc.execution.aot import serialise
from metafunc.execution.aot.serialise import describe, restore
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


@pytest.mark.parametrize("per_task", [False, True])
def test_a_description_gives_bitwise_the_same_graph(per_task: bool) -> None:
    steps = []
    value_and_grad(TASK_LOSS, per_task=per_task, lower=lambda step: steps.append(step) or step)
    graph = tracing.trace(steps[0], META, TASKS)
    leaves = tree.leaves((META, TASKS))
    text, constants = describe(graph, leaves)
    again, inputs = restore(json.loads(json.dumps(text)))
    assert same(again(*leaves, *constants), graph(*leaves))
    assert [leaf.shape for leaf in inputs] == [leaf.shape for leaf in [*leaves, *constants]]


def test_constants_are_inputs_and_not_part_of_the_name() -> None:
    def plus(number: float) -> tuple[str, list[Tensor]]:
        offset = torch.tensor([number, 0.0])
        return describe(tracing.trace(lambda x: x + offset, torch.ones(2)), [torch.ones(2)])

    (one, first), (other, second) = plus(1.0), plus(2.0)
    assert one == other
    assert [leaf.tolist() for leaf in (*first, *second)] == [[1.0, 0.0], [2.0, 0.0]]
    assert restore(one)[0](torch.ones(2), *second)[0].tolist() == [3.0, 1.0]


def described(lr: float, dtype: torch.dtype) -> tuple[str, list[Tensor], torch.fx.GraphModule, list[Tensor]]:
    loss = query_loss(gradient_descent(LOSS, lr=lr, num_steps=2), LOSS)
    arguments = tree.map(lambda leaf: leaf.to(dtype), (META, TASKS))
    graph = tracing.trace(value_and_grad(loss), *arguments, fake=True)
    leaves = tree.leaves(arguments)
    return *describe(graph, leaves), graph, leaves


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_that_are_multiplied_with_are_inputs_and_change_no_bit(dtype: torch.dtype) -> None:
    texts, rates = set(), []
    for lr in (0.1, 0.03):
        text, constants, graph, leaves = described(lr, dtype)
        texts.add(text)
        rates.append([constant.item() for constant in constants if constant.ndim == 0])
        assert same(restore(text)[0](*leaves, *constants), graph(*leaves))
        # The wrong twin: another number in the place of the rate.
        others = [constant * 1.5 if constant.ndim == 0 else constant for constant in constants]
        assert not same(restore(text)[0](*leaves, *others), graph(*leaves))
    assert len(texts) == 1, "one piece of code for all inner step sizes"
    assert rates[0] != rates[1]


def test_numbers_stay_in_the_graph_where_an_input_would_be_rounded_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert described(0.1, torch.bfloat16)[0] != described(0.03, torch.bfloat16)[0]
    monkeypatch.setattr(serialise, "LIFTED", ())  # as it was before
    assert described(0.1, torch.float32)[0] != described(0.03, torch.float32)[0]


def test_zeros_of_either_sign_are_two_numbers() -> None:
    x = torch.ones(1)
    text, constants = describe(tracing.trace(lambda x: (x * 0.0, x * -0.0), x), [x])
    assert [found.signbit().item() for found in restore(text)[0](x, *constants)] == [False, True]


def test_what_is_no_tensor_operation_is_refused() -> None:
    graph = torch.fx.symbolic_trace(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="no tensor operation"):
        describe(graph, [torch.ones(1)])
