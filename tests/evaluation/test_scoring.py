"""How many tasks a meta-test takes at a time: what is counted is what they take in memory."""

import torch

from metafunc import algorithms, nn
from metafunc.evaluation.scoring import draw, fitting
from metafunc.nn import likelihood
from metafunc.types import Batch, Task

MODEL = nn.conv4((1, 28, 28), 5, filters=8)


def images(generator: torch.Generator, num_tasks: int) -> Task:
    def batch(rows: int) -> Batch:
        x = torch.rand(num_tasks, rows, 1, 28, 28, generator=generator)
        return Batch(x, torch.arange(rows).remainder(5).expand(num_tasks, rows))

    return Task(batch(5), batch(10))


def at_once(num_particles: int) -> int:
    learner = algorithms.platipus(MODEL, likelihood.categorical(5), num_particles=num_particles)
    meta = learner.init(torch.Generator().manual_seed(0))
    return fitting(learner, meta, draw(learner, meta, images, 0, "test", 0, 2), 3)


def test_particles_of_images_count() -> None:
    # One particle's activations are nearly all that a task takes; counted once for all, they would give equal numbers.
    one, ten = at_once(1), at_once(10)
    assert 6 * ten < one < 10 * ten
