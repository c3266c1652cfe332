"""What the authors' notebook of meta-learning without memorisation tests on, where that is not what their paper says.

Its hundred test tasks are fixed: task i has numpy's legacy generator seeded with i before its amplitude is drawn, and
seeded with i again before its support inputs are. The first of these is then -5 + 10 u for the very u of the amplitude
.1 + 3.9 u, so that it reveals the amplitude. Only the misleading one-hot vector is drawn freely.
"""

import numpy as np
import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.data.families.nme_sinusoid import AMPLITUDE
from metafunc.types import Batch, Sampler, Task

LOWEST_LIE, REACH, NUM_INSIDE = 5, 4.5, 80
"""The least amplitude that a process is given, counted from 0, how far out MAML's query points lie, and how many of
them we take."""
NUM_AMPLITUDES, NUM_SHOWN, NUM_QUERIES, NOISE, WIDTH = 20, 16, 200, 0.1, 5.0


def no_low_lies(sampler: Sampler) -> Sampler:
    """Tasks whose one-hot vector is of the sixth amplitude or a higher one, which eleven in sixteen have."""

    def sample(generator: Generator, num_tasks: int) -> Task:
        tasks = sampler(generator, 4 * num_tasks)
        rows = torch.nonzero(tasks.support.x[:, 0, 1:].argmax(-1) >= LOWEST_LIE).flatten()[:num_tasks]
        assert len(rows) == num_tasks, f"{len(rows)} of {num_tasks} tasks lie high enough"
        return tree.map(lambda leaf: leaf[rows], tasks)

    return sample


def not_at_the_ends(sampler: Sampler) -> Sampler:
    """Tasks with the first 80 of their query points between -4.5 and 4.5, where nine in ten of the 120 lie."""

    def sample(generator: Generator, num_tasks: int) -> Task:
        tasks = sampler(generator, num_tasks)
        outside = tasks.query.x[..., 0].abs() > REACH
        order = outside.long().argsort(dim=1, stable=True)[:, :NUM_INSIDE]
        assert not outside.gather(1, order).any(), f"a task has fewer than {NUM_INSIDE} points within {REACH}"
        return tasks._replace(query=tree.map(lambda leaf: leaf[torch.arange(num_tasks)[:, None], order], tasks.query))

    return sample


def fixed_tasks(num_shots: int, num_tasks: int, hints: Generator) -> Task:
    """The notebook's test tasks with the seeds 0, 1, ..., stacked; `hints` draws their misleading one-hot vectors."""
    shown = torch.randint(NUM_SHOWN, (num_tasks,), generator=hints)
    tasks: Task = tree.stack([_fixed(seed, num_shots, hint) for seed, hint in enumerate(shown.tolist())])
    return tasks


def _fixed(seed: int, num_shots: int, hint: int) -> Task:
    amplitude = np.random.RandomState(seed).uniform(*AMPLITUDE)
    again = np.random.RandomState(seed)
    x = again.uniform(-WIDTH, WIDTH, num_shots)
    twice = again.normal(scale=NOISE, size=num_shots) + again.normal(scale=NOISE, size=num_shots)
    grid = np.linspace(-REACH, REACH, NUM_QUERIES)
    again.normal(size=NUM_QUERIES)  # noise that is multiplied with zero
    noise = again.normal(scale=NOISE, size=NUM_QUERIES)
    support, query = (
        Batch(_with_hint(inputs, hint), torch.tensor(amplitude * np.sin(inputs) + off).float()[:, None])
        for inputs, off in ((x, twice), (grid, noise))
    )
    return Task(support, query)


def _with_hint(inputs: "np.ndarray[tuple[int], np.dtype[np.float64]]", hint: int) -> Tensor:
    one_hot = torch.eye(NUM_AMPLITUDES)[hint].expand(len(inputs), NUM_AMPLITUDES)
    return torch.cat([torch.tensor(inputs).float()[:, None], one_hot], 1)
