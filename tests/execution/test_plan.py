"""What is chosen for the steps that the choice was measured on, and that the user has the last word."""

from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from metafunc.execution import plan
from metafunc.execution.plan import Work
from metafunc.types import Batch, Params, Task

SINUSOID = Work(parameters=1761, numbers=1000, num_tasks=25, steps=10_000, device="cpu")
OMNIGLOT = Work(parameters=243_909, numbers=2_007_040, num_tasks=32, steps=60_000, device="cpu")


def test_a_short_small_training_follows_a_list_on_one_thread() -> None:
    choice = plan.choose(SINUSOID)
    assert (choice.compile, choice.capture, choice.threads) == (False, True, 1)
    assert "10,000 steps are too few" in choice.why


def test_a_long_small_training_is_compiled_task_by_task() -> None:
    choice = plan.choose(SINUSOID._replace(steps=60_000))
    assert (choice.compile, choice.capture, choice.per_task, choice.threads) == (True, False, True, 1)


def test_gradients_are_summed_over_tasks_where_there_are_many_particles_or_tasks() -> None:
    long = SINUSOID._replace(steps=60_000)
    assert not plan.choose(long._replace(parameters=10 * long.parameters)).per_task
    assert plan.choose(long._replace(num_tasks=256)).per_task
    assert not plan.choose(long._replace(num_tasks=512)).per_task


def test_rematerialised_steps_are_neither_noted_nor_compiled() -> None:
    for work in (SINUSOID._replace(steps=60_000), OMNIGLOT):
        choice = plan.choose(work._replace(listed=False), recorded=True)
        assert (choice.compile, choice.background, choice.capture) == (False, False, False)
        assert choice.why.startswith(
            "Steps are not compiled, because a list of rematerialised ones would take the memory that they save; all"
        )
    images = OMNIGLOT._replace(convolutional=True, listed=False)
    assert plan.choose(images, chunk_size=2, threads=2).why.endswith("; one task after the other, on 1 thread.")


def test_a_training_that_is_recorded_is_compiled_in_the_background() -> None:
    choice = plan.choose(SINUSOID, recorded=True)
    assert (choice.background, choice.compile, choice.capture, choice.per_task) == (True, False, True, True)
    assert choice.why == (
        "Steps follow a list of their operations until they are compiled, which goes on in the background; all tasks "
        "at once, on 1 thread."
    )
    assert not plan.choose(SINUSOID._replace(steps=plan.BACKGROUND - 1), recorded=True).background
    assert not plan.choose(SINUSOID._replace(device="cuda"), recorded=True).background
    assert not plan.choose(SINUSOID, recorded=True, deterministic=True).background
    assert not plan.choose(SINUSOID, recorded=True, compile="off").background
    asked = plan.choose(SINUSOID, recorded=True, compile="on")
    assert (asked.background, asked.compile) == (False, True)


def test_a_step_of_moderate_size_is_compiled_sooner_and_takes_the_threads_there_are() -> None:
    choice = plan.choose(OMNIGLOT._replace(steps=plan.LONG))
    assert (choice.compile, choice.per_task, choice.threads) == (True, False, torch.get_num_threads())
    assert choice.why.startswith("Steps are compiled, which 10,000 of them pay for; all tasks at once, on ")
    assert plan.choose(OMNIGLOT, recorded=True).background
    few = plan.choose(OMNIGLOT._replace(steps=plan.LONG - 1), recorded=True)
    assert (few.compile, few.background, few.capture) == (False, False, True)
    assert "9,999 steps are too few to pay for it" in few.why


@pytest.mark.parametrize(
    "change",
    [
        {"convolutional": True},
        {"device": "cuda"},
        {"parameters": plan.MODERATE + 1},
        {"numbers": plan.MODERATE + 1},
    ],
)
def test_a_step_that_is_arithmetic_alone_is_not_compiled(change: dict[str, Any]) -> None:
    choice = plan.choose(OMNIGLOT._replace(**change), recorded=True)
    assert (choice.compile, choice.background, choice.capture) == (False, False, True)
    assert "arithmetic" in choice.why


def test_a_deterministic_training_is_compiled_only_if_asked() -> None:
    long = SINUSOID._replace(steps=60_000)
    assert not plan.choose(long, deterministic=True).compile
    assert plan.choose(long, deterministic=True, compile="on").compile


def test_the_user_has_the_last_word() -> None:
    asked = plan.choose(SINUSOID._replace(steps=60_000), compile="off", chunk_size=5, threads=2)
    assert (asked.compile, asked.chunk_size, asked.threads) == (False, 5, 2)
    assert asked.why == (
        "Steps are not compiled, as asked, but follow a list of their operations; 5 tasks at a time, on 2 threads."
    )
    assert plan.choose(SINUSOID._replace(steps=1), compile="on").compile


def test_noting_has_to_pay() -> None:
    assert not plan.choose(SINUSOID._replace(steps=plan.CAPTURED - 1)).capture


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' annotation hook would come first
    with pytest.raises(ValueError, match="compile must be one of 'auto', 'on', 'off', not 'inductor'"):
        plan.choose(SINUSOID, compile="inductor")  # type: ignore[arg-type]  # that is the point


def test_tasks_are_taken_as_many_at_a_time_as_their_graphs_have_room() -> None:
    """Two layers of 2048 rows and 1000 numbers: 8 MB each, of which two and more are alive."""
    meta, tasks = {"w": torch.ones(1000, 1000)}, Task(Batch(torch.ones(6, 1), ()), Batch(torch.ones(6, 2048, 1000), ()))

    def loss(meta: Params, task: Task) -> Tensor:
        return (task.query.x @ meta["w"]).sin().square().mean()

    found = plan.work(meta, tasks, steps=10, device=torch.device("cpu"), task_loss=loss)
    layer = 4 * 2048 * 1000
    assert 2 * layer <= found.task_bytes <= 4 * layer
    assert plan.choose(found).chunk_size is None
    many = found._replace(num_tasks=120)
    choice = plan.choose(many)
    assert choice.chunk_size in (30, 40, 60)
    assert choice.chunk_size * found.task_bytes <= plan.GRAPHS
    assert f"{choice.chunk_size} tasks at a time, because a task's graph takes" in choice.why
    assert plan.choose(many, chunk_size=120).chunk_size == 120
    assert plan.choose(many._replace(num_tasks=127)).chunk_size == 1, "no other number divides it"


def test_what_cannot_be_told_is_not_known() -> None:
    meta, tasks = torch.ones(200_000), Task(Batch(torch.ones(3, 1), ()), Batch(torch.ones(3, 1), ()))

    def loss(meta: Tensor, task: Task) -> Tensor:
        return meta.sum() if meta.sum() > 0 else -meta.sum()

    assert plan.work(meta, tasks, steps=10, device=torch.device("cpu"), task_loss=loss).task_bytes == 0
