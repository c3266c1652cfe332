"""The draws of one shard of a step's tasks: its rows of the step's draw, and a generator for its noise."""

from torch import Generator

from metafunc import tree
from metafunc.data.sampling import generator_for
from metafunc.types import Sampler, Task


class ShardGenerator(Generator):
    """The generator of one shard of a step's tasks, which also has that of the whole step.

    Noise of a task is drawn from the former; what all tasks of a step share, as MR-MAML's parameters, from `of_step`.
    """

    of_step: Generator


def shard_generator(seed: int, split: str, step: int, shard: int, num_shards: int) -> Generator:
    """The generator of one shard of a step; the step's own where there is one shard.

    Args:
        seed: the seed of the run.
        split: what the draw is for.
        step: the number of the outer step.
        shard: the number of the shard.
        num_shards: how many there are.

    Returns:
        A fresh generator, a `ShardGenerator` where there are several shards.

    Examples:
        >>> first, second = (shard_generator(0, "prepare", 7, shard, 2) for shard in range(2))
        >>> first.initial_seed() == second.initial_seed(), first.of_step.initial_seed() == second.of_step.initial_seed()
        (False, True)
    """
    whole = generator_for(seed, split, step)
    if num_shards == 1:
        return whole
    found = ShardGenerator()
    found.manual_seed(generator_for(seed, f"{split}/{shard}", step).initial_seed())
    found.of_step = whole
    return found


def shard_tasks(sampler: Sampler, generator: Generator, num_tasks: int, shard: int, num_shards: int) -> Task:
    """The tasks of one shard: its rows of the step's draw, of which task i is the same whatever number is drawn.

    Args:
        sampler: draws tasks.
        generator: that of the whole step.
        num_tasks: tasks of the step, which the shards divide.
        shard: the number of the shard.
        num_shards: how many there are.

    Examples:
        >>> from metafunc.data import sinusoid
        >>> sampler = sinusoid(num_shots=3).train
        >>> whole = sampler(generator_for(0, "train", 7), 6)
        >>> middle = shard_tasks(sampler, generator_for(0, "train", 7), 6, shard=1, num_shards=3)
        >>> bool((middle.query.x == whole.query.x[2:4]).all())
        True
    """
    if num_shards == 1:
        return sampler(generator, num_tasks)
    size = num_tasks // num_shards
    end = (shard + 1) * size
    drawn = tree.at(sampler(generator, end), slice(end - size, end))
    return tree.map(lambda leaf: leaf.contiguous(), drawn)  # the shards of a step lie alike in memory
