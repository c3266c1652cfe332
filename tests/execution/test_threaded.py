"""Tasks in a loop: the gradient of the vectorised step, bit for bit on any number of threads."""

import threading

import pytest
import torch

from metafunc import algorithms, nn, tree, value_and_grad
from metafunc.execution import plan, threaded
from metafunc.execution.plan import Execution
from metafunc.execution.workload import workload_of
from metafunc.nn import likelihood
from metafunc.types import Batch, Task


def problem():
    generator = torch.Generator().manual_seed(0)
    model = nn.conv4((1, 16, 16), 2, filters=3)
    learner = algorithms.maml(model, likelihood.categorical(2), inner_lr=0.4, num_steps=2)
    meta = tree.map(torch.Tensor.double, model.init(generator))

    def batch(rows: int) -> Batch:
        x = torch.randn(3, rows, 1, 16, 16, generator=generator, dtype=torch.float64)
        return Batch(x, torch.arange(rows).remainder(2).expand(3, rows))

    return learner, meta, Task(batch(4), batch(6))


def test_it_is_the_vectorised_gradient():
    learner, meta, tasks = problem()
    value, gradient = threaded.value_and_grad(learner.task_loss)(meta, tasks)
    expected, direction = value_and_grad(learner.task_loss)(meta, tasks)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    assert tree.norm(tree.sub(gradient, direction)) < 1e-12 * tree.norm(direction)
    one_short = value_and_grad(learner.task_loss)(meta, tree.at(tasks, slice(2)))[1]
    assert tree.norm(tree.sub(gradient, one_short)) > 1e-3 * tree.norm(direction), "a task that is left out shows"


def test_threads_change_no_bit_and_torch_has_its_own_back():
    learner, meta, tasks = problem()
    before = torch.get_num_threads()
    found = []
    for count in (1, 3):
        step = threaded.value_and_grad(learner.task_loss, num_threads=count)
        first = step(meta, tasks)
        found += [first, step(meta, tasks)]  # only the second step is on several threads
    for value, gradient in found[1:]:
        assert torch.equal(value, found[0][0])
        assert all(torch.equal(leaf, found[0][1][name]) for name, leaf in gradient.items())
    assert torch.get_num_threads() == before


def test_threads_replay_the_graph_and_never_call_the_task_loss():
    learner, meta, tasks = problem()
    threads = set()

    def watched(meta, task):
        threads.add(threading.get_ident())
        return learner.task_loss(meta, task)

    step = threaded.value_and_grad(watched, num_threads=3)
    step(meta, tasks)
    threads.discard(threading.get_ident())
    step(meta, tasks)
    assert not threads

    def unpredictable(meta, task):
        return watched(meta, task) * (2 if task.query.x.sum() > 0 else 1)

    step = threaded.value_and_grad(unpredictable, num_threads=3)
    values = [step(meta, tasks)[0] for _ in range(3)]
    assert values[0] == values[2] != 0
    assert threads == {threading.get_ident()}


def test_a_failing_task_and_a_wrong_number_are_said():
    before = torch.get_num_threads()

    def failing(meta, task):
        raise ValueError("this task cannot be learned")

    _, meta, tasks = problem()
    with pytest.raises(ValueError, match="cannot be learned"):
        threaded.value_and_grad(failing, num_threads=2)(meta, tasks)
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="at least 1"):
        threaded.value_and_grad(failing, num_threads=0)


def test_training_chooses_it_for_kernels_on_a_cpu():
    _, meta, tasks = problem()
    cpu = torch.device("cpu")
    large = tree.map(lambda leaf: leaf.expand(200, *leaf.shape[1:]), tree.at(tasks, slice(1)))
    found = workload_of(meta, large, steps=10, device=cpu)
    assert found.convolutional
    chosen = plan.choose(found)
    assert chosen.threaded
    assert "one task per thread" in chosen.why
    assert not plan.choose(found, Execution(compile="on")).threaded
    assert not plan.choose(found._replace(device="cuda")).threaded
    assert not plan.choose(found._replace(convolutional=False)).threaded
    assert not plan.choose(workload_of(meta, tasks, steps=10, device=cpu)).threaded, "small work is all calls"
