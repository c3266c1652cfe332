r"""The meta-objective and its gradient against the explicit product of the chain rule,

$$\nabla_\theta L^q(\theta_K) = (I - \alpha H(\theta_0)) \cdots (I - \alpha H(\theta_{K-1})) \nabla L^q(\theta_K),$$

with dense Hessians, and against forms of it that are wrong but have been written down.
"""

import pytest
import torch

from metafunc import tree
from metafunc.execution.gradient import measured, value_and_grad
from metafunc.nn.likelihood import gaussian
from metafunc.testing import network, random_tasks
from metafunc.transforms.inner import descend, first_order, gradient_descent, repeat
from metafunc.transforms.objectives import expected_query_loss, pool, query_loss
from metafunc.transforms.optim import sgd
from metafunc.types import Batch, Task

LR = 0.1
MODEL = network((2,), 3)
LOSS = gaussian(3).of(MODEL)
META = MODEL.init(torch.Generator().manual_seed(0))
TASKS = random_tasks("regression", num_tasks=4)
TASK = tree.unstack(TASKS)[0]
VECTOR, UNRAVEL = tree.ravel(META)
IDENTITY = torch.eye(VECTOR.numel(), dtype=torch.float64)


def on_vector(data):
    return lambda vector: LOSS(UNRAVEL(vector), data)


def hessian(vector, task):
    return torch.func.hessian(on_vector(task.support))(vector)


def gradient(vector, data):
    return torch.func.grad(on_vector(data))(vector)


def visited(num_steps, task=TASK):
    """The inner iterates as vectors."""
    points = [VECTOR]
    for _ in range(num_steps):
        points.append(points[-1] - LR * gradient(points[-1], task.support))
    return points


def explicit(num_steps, task=TASK):
    *before, last = visited(num_steps, task)
    product = gradient(last, task.query)
    for point in reversed(before):
        product = (IDENTITY - LR * hessian(point, task)) @ product
    return product


def exact(num_steps, tasks=None):
    """metafunc's own meta-gradient, as a vector."""
    chosen = tree.stack([TASK]) if tasks is None else tasks
    task_loss = query_loss(gradient_descent(LOSS, lr=LR, num_steps=num_steps), LOSS)
    return tree.ravel(value_and_grad(task_loss)(META, chosen)[1])[0]


def agree(first, second):
    return torch.allclose(first, second, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("num_steps", [0, 1, 2, 3])
def test_the_meta_gradient_is_the_product_of_the_chain_rule(num_steps):
    assert agree(exact(num_steps), explicit(num_steps))


def test_the_first_order_gradient_is_the_query_gradient_and_not_the_product():
    step = first_order(descend(LOSS, sgd(LR)))
    found = torch.func.grad(query_loss(repeat(step, 3), LOSS))(META, TASK)
    first = tree.ravel(found)[0]
    assert agree(first, gradient(visited(3)[-1], TASK.query))
    assert not agree(first, explicit(3))


def two_steps():
    start, middle, last = visited(2)
    return hessian(start, TASK), hessian(middle, TASK), gradient(last, TASK.query)


def test_counting_the_first_hessian_twice_is_wrong():
    outer, inner, grad = two_steps()
    wrong = grad @ (IDENTITY - LR * outer - LR * inner) @ (IDENTITY - LR * outer)
    assert not agree(exact(2), wrong)


def test_the_order_of_the_factors_matters():
    outer, inner, grad = two_steps()
    row = grad @ (IDENTITY - LR * inner) @ (IDENTITY - LR * outer)
    exchanged = grad @ (IDENTITY - LR * outer) @ (IDENTITY - LR * inner)
    assert agree(exact(2), row)
    assert not agree(exact(2), exchanged)


def each_task():
    """Every task's (I - alpha H_i), and its query gradient at its own adapted parameters."""
    tasks = tree.unstack(TASKS)
    factors = [IDENTITY - LR * hessian(VECTOR, task) for task in tasks]
    grads = [gradient(visited(1, task)[-1], task.query) for task in tasks]
    return torch.stack(factors), torch.stack(grads)


def test_over_tasks_the_mean_of_products_is_right():
    factors, grads = each_task()
    assert agree(exact(1, TASKS), torch.einsum("tij,tj->i", factors, grads) / len(grads))


@pytest.mark.parametrize("index", range(4))
def test_a_factor_outside_the_sum_over_tasks_is_wrong(index):
    factors, grads = each_task()
    assert not agree(exact(1, TASKS), grads.mean(0) @ factors[index])


def test_the_mean_hessian_is_wrong():
    factors, grads = each_task()
    assert not agree(exact(1, TASKS), factors.mean(0) @ grads.mean(0))


def test_the_expected_loss_is_the_mean_over_tasks():
    adapt = gradient_descent(LOSS, lr=LR, num_steps=2)
    each = [LOSS(adapt(META, task.support), task.query) for task in tree.unstack(TASKS)]
    assert torch.allclose(expected_query_loss(adapt, LOSS)(META, TASKS), torch.stack(each).mean(), rtol=1e-12)


@pytest.mark.parametrize("chunk_size", [1, 3, 4, 9])
def test_chunks_sum_to_the_whole(chunk_size):
    task_loss = query_loss(gradient_descent(LOSS, lr=LR), LOSS)
    value, grad = value_and_grad(task_loss, chunk_size=chunk_size)(META, TASKS)
    whole_value, whole_grad = value_and_grad(task_loss)(META, TASKS)
    assert torch.allclose(value, whole_value, rtol=1e-12)
    assert agree(tree.ravel(grad)[0], tree.ravel(whole_grad)[0])


def test_what_value_and_grad_returns_is_detached_even_from_meta_that_requires_gradients():
    meta = tree.map(lambda leaf: leaf.clone().requires_grad_(), META)
    value, grad = value_and_grad(query_loss(gradient_descent(LOSS, lr=LR), LOSS))(meta, TASKS)
    assert not any(leaf.requires_grad for leaf in [value, *tree.leaves(grad)])
    assert all(leaf.grad is None for leaf in tree.leaves(meta))


def test_a_gradient_is_found_where_the_caller_has_switched_gradients_off():
    with torch.no_grad():
        grad = exact(2)
    assert agree(grad, explicit(2))


def test_a_loss_without_a_derivative_has_a_zero_gradient():
    value, grad = value_and_grad(lambda meta, task: LOSS(tree.detach(meta), task.query))(META, TASKS)
    assert value > 0
    assert all(leaf.eq(0).all() for leaf in tree.leaves(grad))


def test_a_chunk_of_no_tasks_is_refused():
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        value_and_grad(lambda meta, task: LOSS(meta, task.query), chunk_size=0)


def test_pooling_keeps_every_row_and_what_counts():
    full = Batch(torch.zeros(2, 1), torch.zeros(2, 1))
    half = Batch(torch.ones(2, 1), torch.ones(2, 1), mask=torch.tensor([1.0, 0.0]))
    assert pool(Task(full, full)).mask == ()
    assert pool(Task(full, half)).mask.tolist() == [1, 1, 1, 0]
    assert pool(Task(half, full)).mask.tolist() == [1, 0, 1, 1]
    assert pool(Task(half, half)).mask.tolist() == [1, 0, 1, 0]
    assert pool(Task(full, half)).x.squeeze(-1).tolist() == [0, 0, 1, 1]


def test_what_is_measured_is_the_loss_and_the_length_of_the_whole_gradient():
    plain = value_and_grad(query_loss(gradient_descent(LOSS, lr=LR, num_steps=1), LOSS))
    value, grad = plain(META, TASKS)
    (loss, length), gradient = measured(plain)(META, TASKS)
    assert torch.equal(loss, value)
    torch.testing.assert_close(length, torch.linalg.vector_norm(tree.ravel(grad)[0]), rtol=1e-14, atol=0)
    assert all(map(torch.equal, tree.leaves(gradient), tree.leaves(grad)))
