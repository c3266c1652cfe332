"""Ways to a step that give other numbers than its definition are noticed, named and not taken."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import metafunc
from metafunc import algorithms, tree
from metafunc.execution import plan, tracing, trial
from metafunc.execution.plan import Plan
from metafunc.execution.workload import Workload
from metafunc.nn import likelihood
from metafunc.testing import random_tasks
from metafunc.transforms import low_rank
from metafunc.types import Batch, FastLoss, MetaLearner, Model, Params, Scalar, Task, TaskFamily

PLANNED = plan.choose(Workload(parameters=40, numbers=100, num_tasks=4, steps=10, device="cpu"))
EACH = PLANNED._replace(per_task=True)
TASKS = random_tasks("regression", num_tasks=4, num_outputs=1)


def draw(generator: torch.Generator) -> Params:
    shapes = {"w": (8, 2), "b": (8,), "scale": (8,), "shift": (8,), "v": (1, 8)}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def normalised(params: Params, x: Tensor) -> Tensor:
    """A user's network with torch's own layer norm, whose second derivative under `vmap` is wrong."""
    h = F.layer_norm(F.linear(x, params["w"], params["b"]), (8,), params["scale"], params["shift"])
    return F.linear(torch.tanh(h), params["v"])


NORMALISED = Model(draw, normalised)
PLAIN = Model(draw, lambda params, x: F.linear(torch.tanh(F.linear(x, params["w"], params["b"])), params["v"]))
META = draw(torch.Generator().manual_seed(0))


def maml(model: Model) -> MetaLearner[Params, Params]:
    return algorithms.maml(model, likelihood.gaussian(1), inner_lr=0.1)


def by_loop(model: Model, meta: Params, tasks: Task) -> tuple[Tensor, Params]:
    """MAML's value and gradient by the formula: a loop over tasks, and plain autograd."""
    leaves = {name: leaf.detach().clone().requires_grad_() for name, leaf in meta.items()}
    losses = []
    for task in tree.unstack(tasks):
        inner = (model.apply(leaves, task.support.x) - task.support.y).square().mean()
        gradients = torch.autograd.grad(inner, list(leaves.values()), create_graph=True, materialize_grads=True)
        adapted = {name: leaf - 0.1 * grad for (name, leaf), grad in zip(leaves.items(), gradients, strict=True)}
        losses.append((model.apply(adapted, task.query.x) - task.query.y).square().mean())
    value = torch.stack(losses).mean()
    gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    return value.detach(), dict(zip(leaves, gradients, strict=True))


def step(found: trial.Trial[Any], meta: Params, tasks: Task) -> tuple[Tensor, Params]:
    with metafunc.execution.aot.Compiler(at_once=False) as compiler:
        (value, _), gradient = plan.measured_gradient(found.task_loss, found.plan, compiler)(meta, tasks)
    return value, gradient


@pytest.mark.parametrize("planned", [PLANNED, EACH, PLANNED._replace(threaded=True)])
def test_what_is_right_is_taken_as_planned(planned: Plan) -> None:
    learner = maml(PLAIN)
    found = trial.tried(learner.task_loss, planned, META, TASKS)
    assert found == trial.Trial(learner.task_loss, planned)
    torch.testing.assert_close(step(found, META, TASKS), by_loop(PLAIN, META, TASKS), rtol=1e-12, atol=1e-14)


def test_a_wrong_derivative_under_vmap_is_noticed_and_tasks_are_taken_in_turn() -> None:
    learner = maml(NORMALISED)
    as_planned = step(trial.Trial(learner.task_loss, PLANNED), META, TASKS)
    right = by_loop(NORMALISED, META, TASKS)
    assert tree.norm(tree.sub(as_planned[1], right[1])) > 1e-3 * tree.norm(right[1])
    found = trial.tried(learner.task_loss, PLANNED, META, TASKS)
    assert found.plan.threaded
    assert "Steps by all tasks at once by vmap" in found.messages[0]
    assert "off by a relative" in found.messages[0]
    torch.testing.assert_close(step(found, META, TASKS), right, rtol=1e-12, atol=1e-14)


def test_a_last_layer_that_begins_at_zero_hides_no_wrong_derivative() -> None:
    zero = {**META, "v": torch.zeros_like(META["v"])}
    right, planned = by_loop(NORMALISED, zero, TASKS)[1], trial.Trial(maml(NORMALISED).task_loss, PLANNED)
    assert tree.norm(tree.sub(step(planned, zero, TASKS)[1], right)) < 1e-12 * tree.norm(right)
    assert trial.tried(planned.task_loss, PLANNED, zero, TASKS).plan.threaded
    assert not zero["v"].any()


def test_particles_are_taken_in_turn_where_vmap_over_them_is_wrong() -> None:
    learner = algorithms.emaml(maml(NORMALISED), num_particles=2)
    meta = tree.stack([META, tree.scale(META, 1.5)])
    right = tree.stack([by_loop(NORMALISED, particle, TASKS) for particle in tree.unstack(meta)])
    found = trial.tried(learner.task_loss, PLANNED, meta, TASKS)
    assert found.messages[0].endswith("they are taken by one task, and of each one particle, after the other.")
    value, gradient = step(found, meta, TASKS)
    torch.testing.assert_close(value, right[0].mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, tree.scale(right[1], 0.5), rtol=1e-12, atol=1e-14)


def test_a_loss_that_forgets_a_term_on_its_quick_way_is_replaced_by_its_definition() -> None:
    plain = maml(PLAIN).task_loss

    def penalised(meta: Params, task: Task, /) -> Scalar:
        return plain(meta, task) + 1e-4 * meta["w"].square().sum()

    found = trial.tried(FastLoss(plain, definition=penalised), PLANNED, META, TASKS)
    assert found.task_loss is penalised
    assert found.plan == PLANNED
    assert "in factors" in found.messages[0]


def test_factors_that_forget_a_use_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong twin: what something else than a layer takes is the weight before adaptation."""
    monkeypatch.setattr(low_rank._Linears, "_formed", lambda self, value: value)

    def loss(params: Params, batch: Batch) -> Scalar:
        error: Tensor = (PLAIN.apply(params, batch.x) - batch.y).square().mean()
        return error + 0.1 * params["w"].square().mean() * (batch.x.shape[0] == 5)

    fast = low_rank.query_loss(loss, lr=0.1, num_steps=2, favour=lambda rows, shape: True)
    found = trial.tried(fast, PLANNED, META, TASKS)
    assert found.task_loss is fast.definition
    assert "in factors" in found.messages[0]
    monkeypatch.undo()
    assert trial.tried(fast, PLANNED, META, TASKS).task_loss is fast


def test_a_gradient_of_each_task_that_is_wrong_gives_way_to_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.func, "grad_and_value", _half(torch.func.grad_and_value))
    found = trial.tried(lambda meta, task: PLAIN.apply(meta, task.query.x).square().mean(), EACH, META, TASKS)
    assert found.plan == PLANNED
    assert "each task's own gradient by vmap are off by a relative" in found.messages[0]


def _half(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(loss: Any) -> Any:
        def halved(*arguments: Any) -> Any:
            gradient, value = function(loss)(*arguments)
            return tree.scale(gradient, 0.5), value

        return halved

    return wrong


def test_a_gradient_of_each_task_that_fails_gives_way_to_that_of_all() -> None:
    def loss(meta: Params, task: Task) -> Scalar:
        labels = F.one_hot(task.query.y.argmax(-1), 3)  # which looks at the largest label
        return (PLAIN.apply(meta, task.query.x) * labels).square().mean()

    found = trial.tried(loss, EACH, META, TASKS)
    assert found.plan == PLANNED
    assert "each task's own gradient by vmap fail (RuntimeError" in found.messages[0]


def test_a_model_that_takes_single_precision_alone_is_tried_in_it() -> None:
    frozen = torch.linspace(-1, 1, 64).reshape(8, 8)

    def behind(model: Model) -> Model:
        return replace(model, apply=lambda params, x: model.apply({**params, "w": frozen @ params["w"]}, x))

    meta, tasks = (tree.map(lambda leaf: leaf.float(), given) for given in (META, TASKS))
    assert trial.tried(maml(behind(PLAIN)).task_loss, PLANNED, meta, tasks).messages == ()
    found = trial.tried(maml(behind(NORMALISED)).task_loss, PLANNED, meta, tasks)
    assert found.plan.threaded
    assert "in float32" in found.messages[0]


class Passed(torch.autograd.Function):
    """The identity, with half its derivative under `vmap`."""

    @staticmethod
    def forward(x: Tensor, batched: bool) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, bool], output: Tensor) -> None:
        ctx.scale = 0.5 if inputs[1] else 1.0

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.scale * gradient, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None], x: Tensor, batched: bool) -> tuple[Tensor, int | None]:
        return Passed.apply(x, True), in_dims[0]


@pytest.mark.parametrize("large", [0.0, 1e6])
def test_a_wrong_gradient_does_not_hide_behind_a_large_loss(large: float) -> None:
    def loss(meta: Params, task: Task) -> Scalar:
        error: Tensor = Passed.apply(PLAIN.apply(meta, task.query.x), False).square().mean() + large
        return error

    meta, tasks = single(META), single(TASKS)
    for at, some in ((META, TASKS), (meta, tasks)):
        expected = tree.leaves(trial._step(trial._Way(loss, PLANNED._replace(threaded=True), ""))(at, some))
        ways = list(trial._ways(loss, PLANNED))
        assert trial._chosen(ways, at, some, expected).plan.threaded


def test_a_definition_that_is_not_finite_is_said_where_the_planned_way_is() -> None:
    def infinite(meta: Params, task: Task) -> Scalar:
        return meta["w"].sum() / 0

    fast = FastLoss(lambda meta, task: meta["w"].sum(), definition=infinite)
    assert "not compared" in trial.tried(fast, PLANNED, META, TASKS).messages[0]
    assert trial.tried(infinite, PLANNED, META, TASKS).messages == ()


def test_random_numbers_are_refused_as_ever_and_none_is_taken() -> None:
    state = torch.get_rng_state()
    found = trial.tried(lambda meta, task: meta["w"].mean() * torch.rand(()), PLANNED, META, TASKS)
    assert found.plan == PLANNED
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(RuntimeError, match="random"):
        step(found, META, TASKS)


def test_what_cannot_be_tried_is_said() -> None:
    def failing(meta: Params, task: Task) -> Scalar:
        raise ValueError("this task cannot be learned")

    found = trial.tried(failing, PLANNED, META, TASKS)
    assert found.messages == ("The ways to a step were not tried: ValueError: this task cannot be learned.",)


def test_where_memory_is_short_a_step_of_its_own_precision_and_chunk_is_tried() -> None:
    large = {"w": torch.zeros(trial.ROOM, dtype=torch.float32)}
    few, roomy = trial._few(PLANNED, large, TASKS)
    assert (few.query.x.shape[0], roomy) == (2, True)
    few, roomy = trial._few(PLANNED._replace(chunk_size=1), large, TASKS)
    assert (few.query.x.shape[0], roomy) == (1, False)
    assert not trial._few(PLANNED._replace(threaded=True, threads=1), large, TASKS)[1]
    assert trial._few(PLANNED._replace(threaded=True, threads=2), large, TASKS)[1]


def single(value: Any) -> Any:
    return tree.map(lambda leaf: leaf.float(), value)


def family() -> TaskFamily:
    def sample(generator: torch.Generator, num_tasks: int) -> Task:
        seed = int(torch.randint(2**16, (), generator=generator))
        drawn: Task = single(random_tasks("regression", num_tasks=num_tasks, num_outputs=1, seed=seed))
        return drawn

    return TaskFamily("noise", "regression", (2,), 1, sample, sample, sample)


@pytest.mark.parametrize("model", [PLAIN, NORMALISED])
def test_a_training_says_what_it_does_not_take(model: Model) -> None:
    warned: list[str] = []
    trained = metafunc.fit(
        maml(model),
        family(),
        steps=3,
        num_tasks=4,
        start=single(META),
        on_event=lambda event: warned.append(event.message) if event.phase == "warning" else None,
    )
    assert trained.step == 3
    assert len(warned) == (model is NORMALISED)


def test_a_loss_that_cannot_be_traced_is_said_once() -> None:
    warned: list[str] = []
    positive = tracing.Traced(lambda x: x if x.sum() > 0 else -x, warn=warned.append)
    for sign in (1.0, -1.0, 1.0, -1.0):
        assert positive(torch.full((2,), sign)).tolist() == [1.0, 1.0]
    assert len(warned) == 1
    assert "it cannot be traced" in warned[0]


def test_a_graph_that_drops_a_term_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tracing.trace

    def dropping(function: Callable[..., Any], *arguments: Any, fake: bool = False) -> Any:
        graph = whole(function, *arguments, fake=fake)
        added = next(node for node in graph.graph.nodes if node.target is torch.ops.aten.add.Tensor)
        added.replace_all_uses_with(added.args[0])
        graph.recompile()
        return graph

    monkeypatch.setattr(tracing, "trace", dropping)
    warned: list[str] = []
    polynomial = tracing.Traced(lambda x: x * x + x, warn=warned.append)
    assert [polynomial(torch.tensor(x)).item() for x in (1.0, 2.0, 3.0, 4.0)] == [2, 6, 12, 20]
    assert "gives other numbers" in warned[0]
