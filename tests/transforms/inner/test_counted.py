"""Inner loops of a drawn length, and paths whose steps shrink, against plain loops."""

import pytest
import torch

from metafunc import Batch, Task, inner, optim
from metafunc.testing.problems.strategies import Normals


def loss(params, batch):
    return (torch.sin(batch.x @ params) - batch.y).square().mean()


STEP = inner.descend(loss, optim.sgd(0.3))


def data(num_tasks=4):
    normal = Normals(0)
    return normal(3), Batch(normal(num_tasks, 5, 3), normal(num_tasks, 5))


def test_as_many_steps_are_taken_as_the_task_says_and_their_derivative_is_that_of_the_loop():
    start, support = data()
    counts = torch.tensor([1.0, 3.0, 0.0, 2.0], dtype=torch.float64)
    adapt = inner.repeat_counted(STEP, 3)

    def counted(params):
        return torch.vmap(lambda own: adapt(params, own))(support._replace(extra=counts))

    def looped(params):
        each = [Batch(x, y) for x, y in zip(support.x, support.y, strict=True)]
        return torch.stack([inner.repeat(STEP, int(n))(params, own) for n, own in zip(counts, each, strict=True)])

    torch.testing.assert_close(counted(start), looped(start), rtol=0, atol=1e-14)
    jacobians = torch.func.jacrev(counted)(start), torch.func.jacrev(looped)(start)
    torch.testing.assert_close(*jacobians, rtol=1e-12, atol=1e-13)
    without = torch.vmap(lambda own: adapt(start, own))(support)
    torch.testing.assert_close(without[1], looped(start)[1])
    assert (without[0] - looped(start)[0]).abs().max() > 1e-3


def test_numbers_of_steps_are_uniform_in_training_and_absent_at_meta_test():
    tasks = Task(*(Batch(torch.zeros(6000, 1, 1), torch.zeros(6000, 1, 1)),) * 2)
    prepare = inner.drawing_counts(3)
    drawn = prepare((), tasks, torch.Generator().manual_seed(0), step=0, num_steps=1).support.extra
    shares = torch.stack([(drawn == k).double().mean() for k in (1, 2, 3)])
    assert (shares - 1 / 3).abs().max() < 4 * (2 / 9 / 6000) ** 0.5
    assert prepare((), tasks, torch.Generator(), step=None, num_steps=1) is tasks


@pytest.mark.parametrize("num_steps", [0, 1, 2, 5])
def test_steps_beyond_the_trained_ones_shrink(num_steps):
    start, support = data(1)
    own = Batch(support.x[0], support.y[0])
    expected, at = [start], start
    for k in range(num_steps):
        rate = 0.3 if k < 2 else 0.3 / (k - 2 + 2)
        at = at - rate * torch.func.grad(loss)(at, own)
        expected.append(at)
    found = inner.settling_path(STEP, 2)(start, own, num_steps)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-12, atol=1e-13)


def test_negative_numbers_are_refused():
    with pytest.raises(ValueError, match="trained must be at least 0"):
        inner.settling_path(STEP, -1)
    with pytest.raises(ValueError, match="most must be at least 0"):
        inner.repeat_counted(STEP, -1)
