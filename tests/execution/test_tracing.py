"""A step that replays its traced graph is bitwise the step, and one that cannot be traced runs eagerly."""

from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc import tree
from metafunc.execution import tracing
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import gaussian
from metafunc.testing import network, random_tasks
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.objectives import query_loss
from metafunc.types import Params

MODEL = network((2,), 3)
LOSS = gaussian(3).of(MODEL)
META: Params = MODEL.init(torch.Generator().manual_seed(0))
TASK_LOSS = query_loss(gradient_descent(LOSS, lr=0.1, num_steps=2), LOSS)


def same(first: Any, second: Any) -> bool:
    return all(map(torch.equal, tree.leaves(first), tree.leaves(second)))


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("per_task", [False, True])
def test_the_graph_gives_bitwise_the_same_at_other_points(chunk_size: int | None, per_task: bool) -> None:
    plain = value_and_grad(TASK_LOSS, chunk_size=chunk_size, per_task=per_task)
    replayed = value_and_grad(TASK_LOSS, chunk_size=chunk_size, per_task=per_task, lower=tracing.Traced)
    for seed in range(4):
        tasks = random_tasks("regression", num_tasks=4, num_outputs=3, seed=seed)
        meta = tree.scale(META, 1.0 + seed)
        assert same(plain(meta, tasks), replayed(meta, tasks))


def test_the_second_call_traces_and_the_third_replays() -> None:
    calls = []

    def square(x: Tensor) -> Tensor:
        calls.append(x.shape)
        return x * x

    traced = tracing.Traced(square)
    assert [traced(torch.tensor(x)).item() for x in (1.0, 2.0, 3.0, 4.0)] == [1, 4, 9, 16]
    assert len(calls) == 3  # eagerly, eagerly and traced; then no more
    traced(torch.ones(2))
    assert len(calls) == 4


def test_what_depends_on_numbers_runs_eagerly() -> None:
    """A graph would take the branch that was taken when it was traced."""
    traced = tracing.Traced(lambda x: x if x > 0 else -x)
    assert [traced(torch.tensor(x)).item() for x in (1.0, 2.0, -3.0, -4.0)] == [1, 2, 3, 4]
    assert list(traced.graphs.values()) == [None]


def test_what_gives_other_numbers_each_time_runs_eagerly() -> None:
    traced = tracing.Traced(lambda x: x + torch.rand(()))
    assert len({traced(torch.tensor(1.0)).item() for _ in range(4)}) == 4
    assert list(traced.graphs.values()) == [None]


def test_many_shapes_are_not_all_traced() -> None:
    traced = tracing.Traced(lambda x: 2 * x)
    for _ in range(3):
        for rows in range(tracing.MAX_SIGNATURES + 3):
            assert traced(torch.ones(rows)).tolist() == [2.0] * rows
    assert len(traced.graphs) == tracing.MAX_SIGNATURES


def test_an_error_is_the_functions_own() -> None:
    def refuse(x: Tensor) -> Tensor:
        raise ValueError("no")

    traced = tracing.Traced(refuse)
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            traced(torch.ones(1))


@pytest.mark.compiled
@pytest.mark.parametrize("per_task", [False, True])
def test_the_compiled_step_is_the_plain_one(per_task: bool) -> None:
    tasks = random_tasks("regression", num_tasks=4, num_outputs=3)
    plain = value_and_grad(TASK_LOSS)(META, tasks)
    compiled = value_and_grad(TASK_LOSS, per_task=per_task, lower=tracing.compiled)
    for _ in range(2):
        torch.testing.assert_close(compiled(META, tasks), plain, rtol=1e-12, atol=1e-13)


@pytest.mark.compiled
def test_what_is_viewed_may_be_laid_out_in_another_way() -> None:
    """Inductor lays out the one part of a `cat` as it lay before, torch does not."""

    def viewed(x: Tensor) -> Tensor:
        return torch.cat([x.mT], 1)[..., :8].view(3, 12, 2, 4).view(36, 2, 4).exp()

    x = torch.linspace(0, 1, 3 * 39 * 12).reshape(3, 39, 12)
    torch.testing.assert_close(tracing.compiled(viewed)(x), viewed(x))


def test_where_inductor_fails_there_is_one_warning_and_the_graph_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no compiler\nand more")

    monkeypatch.setattr("torch._inductor.compile", fail)
    warned: list[str] = []
    double = tracing.compiled(lambda x: 2 * x, warn=warned.append)
    assert [double(torch.tensor(x)).item() for x in (1.0, 2.0)] == [2, 4]
    assert len(warned) == 1
    assert "RuntimeError: no compiler)" in warned[0]
    with pytest.raises(RuntimeError):
        tracing.compiled(lambda x: 2 * x)(torch.ones(1))


def test_the_peak_counts_what_is_alive_at_the_same_time() -> None:
    def chain(x: Tensor) -> Tensor:
        first = x.sin()
        second = first.cos()
        return (second.exp() + 1).view(2, -1).sum()

    def kept(x: Tensor) -> Tensor:
        first, second, third = x.sin(), x.cos(), x.exp()
        return (first + second + third).sum()

    x = torch.ones(1000)
    assert tracing.peak_bytes(tracing.trace(chain, x)) == 2 * 4000
    assert tracing.peak_bytes(tracing.trace(kept, x)) == 4 * 4000
    assert tracing.peak_bytes(tracing.trace(chain, x, fake=True)) == 2 * 4000
    assert tracing.peak_bytes(tracing.trace(lambda x: torch.var_mean(x.sin()), x)) == 4000 + 8
