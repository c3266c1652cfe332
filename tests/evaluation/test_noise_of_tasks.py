"""The noise of tasks, within a factor of 1.5 on lines and on curves; what is harder, and what must not count."""

import pytest
import torch

from metafunc.evaluation.noise_of_tasks import ROWS, noises_of
from metafunc.types import Batch, Task


def tasks_of(kind, rows, noise, *, seed=0, outputs=1):
    """Tasks of lines, of curves, or of curves that turn within a third, half of whose rows are the support set."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(50, *shape, generator=generator)

    x = normal(rows, 1)
    if kind == "lines":
        y = normal(1, outputs) + normal(1, outputs) * x
    elif kind == "curves":
        y = normal(1, outputs) + (1 + 0.5 * normal(1, outputs).abs()) * torch.sin(1.5 * x + 3 * normal(1, outputs))
    else:
        y = normal(1, outputs) * torch.sin(3 * x + 3 * normal(1, outputs)) + normal(1, outputs) * torch.cos(2 * x)
    y = y + noise * normal(rows, outputs)
    half = rows // 2
    return Task(Batch(x[:, :half], y[:, :half]), Batch(x[:, half:], y[:, half:]))


def apart(tasks, noise):
    """By which factor the likelier noise scale is wrong."""
    found = noises_of(tasks)[0].scale
    return max(found / noise, noise / found)


@pytest.mark.parametrize("kind", ["lines", "curves"])
@pytest.mark.parametrize("rows", [5, 10, 20])
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.5])
def test_the_likelier_noise_is_within_a_factor(kind, rows, noise):
    tasks = tasks_of(kind, rows, noise)
    likelier, other = noises_of(tasks)
    assert max(likelier.scale / noise, noise / likelier.scale) < 1.5
    if kind == "curves" and noise < 0.5:
        assert other.scale > 3 * noise, "what a line leaves of curves is no noise"
    assert tasks.query.y.std() > 1.5 * noise


@pytest.mark.parametrize(("rows", "noise", "within"), [(5, 0.02, 2.0), (5, 0.5, 2.0), (20, 0.1, 1.5)])
def test_of_curves_that_turn_faster_it_is_within_two(rows, noise, within):
    assert apart(tasks_of("fast", rows, noise), noise) < within


def test_what_is_masked_counts_nowhere():
    tasks = tasks_of("lines", 10, 0.3)
    wild = tasks.query._replace(y=torch.where(torch.arange(5)[:, None] < 3, tasks.query.y, 50.0))
    masked = tasks._replace(query=wild._replace(mask=(torch.arange(5) < 3).float().expand(50, 5)))
    assert apart(masked, 0.3) < 1.5
    assert apart(tasks._replace(query=wild), 0.3) > 2


def test_targets_share_the_root_of_the_mean_square():
    tasks = tasks_of("lines", 10, 0.1, outputs=2)
    noise = torch.tensor([1.0, 0.0])
    more = Task(
        *(
            part._replace(y=part.y + noise * torch.randn(part.y.shape, generator=torch.Generator().manual_seed(1)))
            for part in tasks
        )
    )
    assert apart(more, ((1.01 + 0.01) / 2) ** 0.5) < 1.3
    assert apart(more, 0.1) > 3


def test_targets_that_are_nothing_and_tasks_of_many_rows_are_no_trouble():
    tasks = tasks_of("lines", 6, 0.1)
    nothing = Task(*(part._replace(y=0 * part.y) for part in tasks))
    assert all(0 <= each.scale < 1e-100 for each in noises_of(nothing))
    many = Task(*(part._replace(x=part.x[:2], y=part.y[:2]) for part in tasks_of("lines", 6 * ROWS, 0.1)))
    assert apart(many, 0.1) < 1.3
