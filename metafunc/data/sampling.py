"""Index-stable draws: a task is a pure function of (seed, split, step, index), so no sampler has a state.

A sampler draws one matrix of uniforms, one row per task, and maps each row to its task deterministically. The matrix is
filled row by row, hence row `i` does not depend on how many rows follow, and neither does task `i`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64, Int64, Shaped
from torch import Generator, Tensor

from metafunc import tree
from metafunc.types import Batch, Sampler, Task

TRAINED = "training tasks"
"""What the episodes of a part without tasks of its own are of."""


class DataUnavailable(Exception):  # noqa: N818 - it names a condition, with its own exit code
    """The data cannot be had here and now: the hub does not answer, or a path does not exist."""


WAYS_OUT = """Three ways out:
  - work offline with an embedded family: `glyphs` (images) or `sinusoid` (regression);
  - give a local copy: --data.path PATH (parquet, a `save_to_disk` folder, or a folder of images);
  - load it once where the hub can be reached, and keep that cache: with HF_HUB_OFFLINE=1 it is used as it is."""


@dataclass(frozen=True)
class Grouped:
    """A sampler of episodes that come from a finite number of things, such as the tasks of a table or classes.

    However many episodes are drawn, they tell about so many things only, and an interval has to count these.

    Args:
        sample: draws the episodes.
        groups: from the same generator and number of episodes to the numbers of the things that each of them is made
            of, (episodes, things per episode).
        of: what these are, in the plural.
        names: what each of them is called, by its number; empty where they have no names.

    Examples:
        >>> import torch
        >>> from metafunc.data import sinusoid
        >>> ward = Grouped(sinusoid().test, lambda generator, n: torch.zeros(n, 1).long(), "wards")
        >>> ward(torch.Generator().manual_seed(0), 3).query.x.shape[0]
        3
    """

    sample: Sampler
    groups: Callable[[Generator, int], Int64[Tensor, "t k"]]
    of: str = "tasks"
    names: Sequence[str] = ()

    def __call__(self, generator: Generator, num_tasks: int, /) -> Task:
        return self.sample(generator, num_tasks)


def sampler(
    width: int,
    draw: Callable[[Float64[Tensor, "t width"]], Task],
    *,
    groups: Callable[[Float64[Tensor, "t width"]], Int64[Tensor, "t k"]] | None = None,
    of: str = "tasks",
    names: Sequence[str] = (),
) -> Sampler:
    """A sampler from a pure function of uniform numbers.

    Args:
        width: how many uniform numbers a task takes.
        draw: from uniforms on [0, 1), one row per task, to stacked tasks; each task may depend on its own row only.
        groups: from the same uniforms to the numbers of the things that each task is made of, where there is a finite
            number of them; None: every task is another one.
        of: what these things are, in the plural.
        names: what each of them is called, by its number.

    Returns:
        (generator, num_tasks) to stacked tasks, of which task `i` is the same whatever `num_tasks` is.

    Examples:
        >>> import torch
        >>> from metafunc.types import Batch, Task
        >>> coin = sampler(2, lambda u: Task(Batch(u[:, :1], u[:, :1] < 0.5), Batch(u[:, 1:], u[:, 1:] < 0.5)))
        >>> few, many = (coin(torch.Generator().manual_seed(0), n).query.x for n in (2, 50))
        >>> bool((few == many[:2]).all())
        True
    """

    def uniforms(generator: Generator, num_tasks: int) -> Float64[Tensor, "t width"]:
        # Float64 uniforms are drawn one after the other; torch's normal_ and float32 fills go by blocks of 16, whose
        # layout depends on the size of the whole. That is why everything random is made from these.
        return torch.rand(num_tasks, width, dtype=torch.float64, generator=generator)

    def sample(generator: Generator, num_tasks: int, /) -> Task:
        return draw(uniforms(generator, num_tasks))

    if groups is None:
        return sample
    return Grouped(sample, lambda generator, num_tasks: groups(uniforms(generator, num_tasks)), of, names)


def changed(sampler: Sampler, change: Callable[[Task], Task]) -> Sampler:
    """A sampler whose tasks are changed; what they come from stays what it is.

    Args:
        sampler: draws the tasks.
        change: from stacked tasks to as many.

    Examples:
        >>> import torch
        >>> from metafunc.data import sinusoid
        >>> exchanged = changed(sinusoid(num_shots=3).test, lambda tasks: Task(tasks.query, tasks.support))
        >>> exchanged(torch.Generator().manual_seed(0), 2).query.x.shape
        torch.Size([2, 3, 1])
    """

    def sample(generator: Generator, num_tasks: int, /) -> Task:
        return change(sampler(generator, num_tasks))

    return replace(sampler, sample=sample) if isinstance(sampler, Grouped) else sample


def generator_for(seed: int, split: str, step: int) -> Generator:
    """The generator of one step: a hash of the seed, the split and the step's number, on the CPU.

    Args:
        seed: the seed of the run.
        split: what the draw is for: "train", "validation", "test", or any other name.
        step: the number of the outer step.

    Returns:
        A fresh generator, the same for the same three arguments on every machine.

    Examples:
        >>> generator_for(0, "train", 7).initial_seed() == generator_for(0, "train", 7).initial_seed()
        True
    """
    digest = hashlib.sha256(f"{seed}/{split}/{step}".encode()).digest()
    # torch's CPU engine keeps the low 32 bits of a seed, so no more are passed. Two given steps share their draws with
    # probability 2^-32: in a run of 70,000 steps one batch may come up twice, which is harmless.
    return Generator().manual_seed(int.from_bytes(digest[:4], "big"))


def redraw(sampler: Sampler, seed: int, split: str, step: int, index: int) -> Task:
    """One task of a run again, without the task axis.

    Args:
        sampler: the sampler that the run used.
        seed: the seed of the run.
        split: the split that the step drew from.
        step: the number of the outer step.
        index: the task's position in that step's batch.

    Returns:
        The task.

    Examples:
        >>> from metafunc.data import sinusoid
        >>> redraw(sinusoid().train, seed=0, split="train", step=7, index=3).support.x.shape
        torch.Size([10, 1])
    """
    tasks = sampler(generator_for(seed, split, step), index + 1)
    return tree.at(tasks, index)


def replayed(tasks: Task) -> Sampler:
    """A sampler of fixed tasks, with replacement: for families of which only a few tasks exist for training.

    Args:
        tasks: all of them, stacked.

    Examples:
        >>> import torch
        >>> from metafunc.types import Batch, Task
        >>> two = replayed(Task(*(Batch(torch.arange(2.0)[:, None], torch.zeros(2, 1)) for _ in range(2))))
        >>> two(torch.Generator().manual_seed(0), 100).query.x.unique().tolist()
        [0.0, 1.0]
    """
    count = tree.leaves(tasks)[0].shape[0]

    def which(uniforms: Float64[Tensor, "t 1"]) -> Int64[Tensor, "t 1"]:
        return (uniforms * count).long()

    def draw(uniforms: Float64[Tensor, "t 1"]) -> Task:
        return tree.map(lambda leaf: leaf[which(uniforms)[:, 0]], tasks)

    return sampler(1, draw, groups=which)


def between(uniforms: Tensor, low: float, high: float) -> Tensor:
    """Uniform numbers on [0, 1) moved to [low, high)."""
    return low + (high - low) * uniforms


def standard_normal(uniforms: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """Uniform numbers on [0, 1) as standard normal ones, by the inverse distribution function.

    Examples:
        >>> import torch
        >>> standard_normal(torch.tensor([0.5, 0.975], dtype=torch.float64)).round(decimals=2).tolist()
        [0.0, 1.96]
    """
    # Uniforms are multiples of 2^-53; half of that stands for a zero, whose normal number would be infinite.
    normals: Tensor = torch.special.ndtri(uniforms.clamp(min=2.0**-54))
    return normals


JITTER = 1e-9
"""Added to a prior variance, in its units: in float64 a smooth kernel's matrix of a hundred rows has a factor then."""


def correlated(covariance: Float64[Tensor, "t n n"], normals: Float64[Tensor, "t n"]) -> Float64[Tensor, "t n"]:
    """Normal numbers with a covariance, by its Cholesky factor; a task's numbers are its own row's.

    Args:
        covariance: a matrix for each task.
        normals: standard normal numbers.

    Examples:
        >>> import torch
        >>> both = torch.ones(1, 2, 2, dtype=torch.float64)  # two numbers that are one
        >>> correlated(both, torch.tensor([[3.0, 4.0]], dtype=torch.float64)).round(decimals=3)
        tensor([[3., 3.]], dtype=torch.float64)
    """
    scale = covariance.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    factor = torch.linalg.cholesky(covariance + JITTER * scale * torch.eye(normals.shape[1], dtype=normals.dtype))
    # Row by row and not as a matrix product, which may add in another order for another number of tasks.
    numbers: Tensor = (factor * normals[:, None]).sum(-1)
    return numbers


def split_points(x: Shaped[Tensor, "t n *row"], y: Float64[Tensor, "t n"], num_shots: int) -> Task:
    """Points of functions as tasks in float32: the first `num_shots` are the support, the others the query.

    Args:
        x: inputs, one number or a row of them per point.
        y: targets.
        num_shots: support points per task.

    Returns:
        Tasks with inputs (t, n, inputs) and targets (t, n, 1).

    Examples:
        >>> import torch
        >>> split_points(torch.rand(4, 7), torch.rand(4, 7, dtype=torch.float64), 5).query.x.shape
        torch.Size([4, 2, 1])
    """
    x, y = (x if x.ndim == 3 else x[..., None]).float(), y.float()[..., None]
    return Task(Batch(x[:, :num_shots], y[:, :num_shots]), Batch(x[:, num_shots:], y[:, num_shots:]))


def distinct(uniforms: Float64[Tensor, "*batch k"], sizes: Int64[Tensor, "*batch"]) -> Int64[Tensor, "*batch k"]:
    """The first k entries of a random permutation of 0..size-1, from k uniforms and without the other size - k.

    Args:
        uniforms: k independent numbers on [0, 1).
        sizes: how many there are to choose from.

    Returns:
        Different integers in [0, size), every ordered choice equally likely; if k exceeds the size, the entries that
        are left over are size, size + 1, ..., which stand for nothing.

    Examples:
        >>> import torch
        >>> distinct(torch.tensor([0.0, 0.0, 0.99], dtype=torch.float64), torch.tensor(5)).tolist()
        [0, 1, 4]
    """
    chosen: list[Tensor] = []
    taken = torch.empty(*sizes.shape, 0, dtype=torch.int64)
    for j in range(uniforms.shape[-1]):
        rank = (uniforms[..., j] * (sizes - j).clamp(min=0)).long()
        # The rank-th number that is still free: the i-th smallest taken one, s_i, precedes it if s_i - i <= rank.
        passed = taken - torch.arange(j) <= rank[..., None]
        chosen.append(rank + passed.sum(-1))
        taken = torch.cat([taken, chosen[-1][..., None]], -1).sort(-1).values
    return torch.stack(chosen, -1)
