"""Which tasks figures show: where there is a finite number of them, each one once."""

from jaxtyping import Int64
from torch import Generator, Tensor

from metafunc import tree
from metafunc.data.sampling import Grouped
from metafunc.types import Sampler, Task

REDRAWN = 32
"""Episodes that are looked through for each task that is shown; few tasks are all among them."""


def each_once(sampler: Sampler) -> Sampler:
    """A sampler whose episodes come from different things, such as the tasks of a table: the first episode of each.

    Args:
        sampler: draws the episodes.

    Returns:
        (generator, num_tasks) to stacked tasks, which are fewer where there are no more things than that.

    Examples:
        >>> import torch
        >>> from metafunc.data import sampling
        >>> from metafunc.types import Batch
        >>> two = sampling.replayed(Task(*(Batch(torch.arange(2.0)[:, None], torch.zeros(2, 1)) for _ in range(2))))
        >>> each_once(two)(torch.Generator().manual_seed(0), 3).query.x.flatten().sort().values
        tensor([0., 1.])
    """
    if not isinstance(sampler, Grouped):
        return sampler

    def first(generator: Generator, num_tasks: int) -> list[int]:
        """The places of the episodes, among those that the generator's next numbers make."""
        groups = sampler.groups(generator.clone_state(), REDRAWN * num_tasks).tolist()
        places = {frozenset(group): place for place, group in reversed([*enumerate(groups)])}
        return sorted(places.values())[:num_tasks]

    def sample(generator: Generator, num_tasks: int, /) -> Task:
        places = first(generator, num_tasks)
        found: Task = tree.map(lambda leaf: leaf[places], sampler(generator, places[-1] + 1))
        return found

    def groups(generator: Generator, num_tasks: int) -> Int64[Tensor, "t k"]:
        places = first(generator, num_tasks)
        return sampler.groups(generator, places[-1] + 1)[places]

    return Grouped(sample, groups, sampler.of, sampler.names)
