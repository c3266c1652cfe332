"""What is chosen for the steps that the chosen was measured on, and that the user has the last word."""

from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from metafunc import algorithms, nn
from metafunc.data import sinusoid
from metafunc.execution import plan
from metafunc.execution.plan import Execution
from metafunc.execution.workload import MODERATE, Workload, workload_of
from metafunc.types import Batch, Params, Task

SINUSOID = Workload(parameters=1761, numbers=1000, num_tasks=25, steps=10_000, device="cpu")
OMNIGLOT = Workload(parameters=243_909, numbers=2_007_040, num_tasks=32, steps=60_000, device="cpu")


def test_a_short_small_training_replays_its_graph_on_one_thread() -> None:
    chosen = plan.choose(SINUSOID)
    assert (chosen.compile, chosen.trace, chosen.threads) == (False, True, 1)
    assert "it does not pay for 10,000 steps" in chosen.why


def test_a_long_small_training_is_compiled_task_by_task() -> None:
    chosen = plan.choose(SINUSOID._replace(steps=60_000))
    assert (chosen.compile, chosen.trace, chosen.per_task, chosen.threads) == (True, False, True, 1)


def test_gradients_are_summed_over_tasks_where_there_are_many_particles_or_tasks() -> None:
    long = SINUSOID._replace(steps=60_000)
    assert not plan.choose(long._replace(parameters=10 * long.parameters)).per_task
    assert plan.choose(long._replace(num_tasks=256)).per_task
    assert not plan.choose(long._replace(num_tasks=512)).per_task


def test_rematerialised_steps_are_neither_traced_nor_compiled() -> None:
    for workload in (SINUSOID._replace(steps=60_000), OMNIGLOT):
        chosen = plan.choose(workload._replace(traceable=False), recorded=True)
        assert (chosen.compile, chosen.background, chosen.trace) == (False, False, False)
        assert chosen.why.startswith(
            "Steps are not compiled, because the traced graph of rematerialised ones would take the memory that they "
            "save; all"
        )
    images = OMNIGLOT._replace(convolutional=True, traceable=False)
    assert plan.choose(images, Execution(chunk_size=2, threads=2)).why.endswith(
        "; one task after the other, on 1 thread."
    )


def test_a_training_that_is_recorded_is_compiled_in_the_background() -> None:
    chosen = plan.choose(SINUSOID, recorded=True)
    assert (chosen.background, chosen.compile, chosen.trace, chosen.per_task) == (True, False, True, True)
    assert chosen.why == (
        "Steps replay their traced graph, and are compiled once there is code for them: at once from the cache, or by "
        "a build in the background, where the steps left take 1.5 times as long as one; all tasks at once, on 1 thread."
    )
    assert plan.choose(SINUSOID._replace(steps=plan.TRACED), recorded=True).background
    assert not plan.choose(SINUSOID._replace(steps=plan.TRACED - 1), recorded=True).background
    assert not plan.choose(SINUSOID._replace(device="cuda"), recorded=True).background
    assert not plan.choose(SINUSOID, Execution(deterministic=True), recorded=True).background
    assert not plan.choose(SINUSOID, Execution(compile="off"), recorded=True).background
    asked = plan.choose(SINUSOID, Execution(compile="on"), recorded=True)
    assert (asked.background, asked.compile) == (False, True)


def test_a_step_of_moderate_size_is_compiled_sooner_and_takes_the_threads_there_are() -> None:
    chosen = plan.choose(OMNIGLOT._replace(steps=plan.LONG))
    assert (chosen.compile, chosen.per_task, chosen.threads) == (True, False, torch.get_num_threads())
    assert chosen.why.startswith("Steps are compiled, which 10,000 of them pay for; all tasks at once, on ")
    meanwhile = plan.choose(OMNIGLOT, recorded=True)
    assert (meanwhile.background, meanwhile.worth) == (True, plan.WORTH_MODERATE)
    few = plan.choose(OMNIGLOT._replace(steps=plan.LONG - 1))
    assert (few.compile, few.background, few.trace) == (False, False, True)
    assert "it does not pay for 9,999 steps" in few.why


@pytest.mark.parametrize(
    "change",
    [
        {"convolutional": True},
        {"device": "cuda"},
        {"parameters": MODERATE + 1},
        {"numbers": MODERATE + 1},
    ],
)
def test_a_step_that_is_arithmetic_alone_is_not_compiled(change: dict[str, Any]) -> None:
    chosen = plan.choose(OMNIGLOT._replace(**change), recorded=True)
    assert (chosen.compile, chosen.background, chosen.trace) == (False, False, True)
    assert "arithmetic" in chosen.why


def test_a_deterministic_training_is_compiled_only_if_asked() -> None:
    long = SINUSOID._replace(steps=60_000)
    assert not plan.choose(long, Execution(deterministic=True)).compile
    assert plan.choose(long, Execution(deterministic=True, compile="on")).compile


def test_the_user_has_the_last_word() -> None:
    asked = plan.choose(SINUSOID._replace(steps=60_000), Execution(compile="off", chunk_size=5, threads=2))
    assert (asked.compile, asked.chunk_size, asked.threads) == (False, 5, 2)
    assert asked.why == (
        "Steps are not compiled, as asked, but replay their traced graph; 5 tasks at a time, on 2 threads."
    )
    assert plan.choose(SINUSOID._replace(steps=1), Execution(compile="on")).compile


def test_tracing_has_to_pay() -> None:
    assert not plan.choose(SINUSOID._replace(steps=plan.TRACED - 1)).trace


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' annotation hook would come first
    with pytest.raises(ValueError, match="compile must be one of 'auto', 'on', 'off', not 'inductor'"):
        Execution(compile="inductor")  # type: ignore[arg-type]  # that is the point


def test_tasks_are_taken_as_many_at_a_time_as_their_graphs_have_room() -> None:
    """Two layers of 2048 rows and 1000 numbers: 8 MB each, of which two and more are alive."""
    meta, tasks = {"w": torch.ones(1000, 1000)}, Task(Batch(torch.ones(6, 1), ()), Batch(torch.ones(6, 2048, 1000), ()))

    def loss(meta: Params, task: Task) -> Tensor:
        return (task.query.x @ meta["w"]).sin().square().mean()

    found = workload_of(meta, tasks, steps=10, device=torch.device("cpu"), task_loss=loss)
    layer = 4 * 2048 * 1000
    assert 2 * layer <= found.task_bytes <= 4 * layer
    assert plan.choose(found).chunk_size is None
    many = found._replace(num_tasks=120)
    chosen = plan.choose(many)
    assert chosen.chunk_size in (30, 40, 60)
    assert chosen.chunk_size * found.task_bytes <= plan.GRAPHS
    assert f"{chosen.chunk_size} tasks at a time, because a task's graph takes" in chosen.why
    assert plan.choose(many, Execution(chunk_size=120)).chunk_size == 120
    assert plan.choose(many._replace(num_tasks=127)).chunk_size == 1, "no other number divides it"


def test_a_task_s_graph_is_that_of_all_its_particles() -> None:
    """Four times the particles take four times the memory, and leave room for a quarter of the tasks."""
    tasks = sinusoid(num_shots=200, num_queries=200).train(torch.Generator().manual_seed(0), 2)

    def found(num_particles: int) -> Workload:
        learner = algorithms.build(
            "emaml",
            lambda *given: nn.mlp(*given, hidden=(300, 300)),
            (1,),
            "regression",
            1,
            num_particles=num_particles,
        )
        meta = learner.init(torch.Generator().manual_seed(0))
        return workload_of(meta, tasks, steps=10, device=torch.device("cpu"), task_loss=learner.task_loss)

    few, many = found(2), found(8)
    assert few.task_bytes > 2 * 300 * 200 * 4
    assert many.task_bytes == pytest.approx(4 * few.task_bytes, rel=0.25)
    num_tasks = 4 * (plan.GRAPHS // many.task_bytes)
    chunks = [plan.choose(each._replace(num_tasks=num_tasks)).chunk_size or num_tasks for each in (few, many)]
    assert chunks[0] == pytest.approx(4 * chunks[1], rel=0.3)
    assert chunks[1] * many.task_bytes <= plan.GRAPHS


def test_what_cannot_be_found_out_is_not_known() -> None:
    meta, tasks = torch.ones(200_000), Task(Batch(torch.ones(3, 1), ()), Batch(torch.ones(3, 1), ()))

    def loss(meta: Tensor, task: Task) -> Tensor:
        return meta.sum() if meta.sum() > 0 else -meta.sum()

    assert workload_of(meta, tasks, steps=10, device=torch.device("cpu"), task_loss=loss).task_bytes == 0
