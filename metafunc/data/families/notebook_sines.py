r"""The hundred fixed test tasks in the authors' notebook of meta-learning without memorisation.

Task i has numpy's legacy generator seeded with i before its amplitude is drawn, and seeded with i again before its
support inputs are. The first of these is then $-5 + 10 u$ for the very u of the amplitude $0.1 + 3.9 u$, so that it
reveals the amplitude. Support targets have the noise twice, queries lie on a line between -4.5 and 4.5, and only the
misleading one-hot vector is drawn freely.
"""

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from metafunc import tree
from metafunc.bayes.curves import Span
from metafunc.data.sampling import sampler
from metafunc.types import Batch, Sampler, Task

NUM_FIXED, WIDTH, REACH = 100, 5.0, 4.5
"""How many tasks there are, how far out support inputs may lie, and how far query inputs reach."""


def fixed_tasks(
    seeds: Int64[Tensor, " t"],
    hints: Int64[Tensor, " t"],
    *,
    num_shots: int,
    num_queries: int,
    num_amplitudes: int,
    noise: float,
    amplitude: Span,
) -> Task:
    """Tasks of these seeds with these one-hot vectors, stacked.

    Args:
        seeds: the numbers of the tasks.
        hints: the place of the one in each task's one-hot vector.
        num_shots: support points of a task.
        num_queries: its query points; the notebook has 200.
        num_amplitudes: numbers in the one-hot vector.
        noise: standard deviation of the noise.
        amplitude: the range of the amplitude.

    Examples:
        >>> settings = {"num_shots": 5, "num_queries": 200, "num_amplitudes": 20, "noise": 0.1, "amplitude": (0.1, 4.0)}
        >>> tasks = fixed_tasks(torch.tensor([0, 1]), torch.tensor([3, 3]), **settings)
        >>> (0.1 + 3.9 * (tasks.support.x[:, 0, 0] + 5) / 10).round(decimals=2)  # their amplitudes
        tensor([2.2400, 1.7300])
    """
    distinct = sorted({0, *seeds.tolist()})  # one at least, since no tasks are stacked tasks, too
    drawn = tree.stack([_task(seed, num_shots, num_queries, noise, amplitude) for seed in distinct])
    places = torch.tensor([distinct.index(seed) for seed in seeds.tolist()], dtype=torch.long)
    found: Task = tree.map(lambda leaf: leaf[places], drawn)
    one_hot = torch.nn.functional.one_hot(hints, num_amplitudes)[:, None].float()
    support, query = (
        batch._replace(x=torch.cat([batch.x, one_hot.expand(-1, batch.x.shape[1], -1)], -1)) for batch in found
    )
    return Task(support, query)


def any_fixed_task(
    *, num_shots: int, num_queries: int, num_amplitudes: int, noise: float, amplitude: Span, shown: int
) -> Sampler:
    """A sampler of the hundred tasks, each as likely as another, misled by one of the shown amplitudes.

    Args:
        num_shots: support points of a task.
        num_queries: its query points.
        num_amplitudes: numbers in the one-hot vector.
        noise: standard deviation of the noise.
        amplitude: the range of the amplitude.
        shown: how many places of the one-hot vector are hinted at, from the first.
    """

    def which(uniforms: Float64[Tensor, "t 2"]) -> Int64[Tensor, "t 1"]:
        return (uniforms[:, :1] * NUM_FIXED).long()

    def draw(uniforms: Float64[Tensor, "t 2"]) -> Task:
        return fixed_tasks(
            which(uniforms)[:, 0],
            (uniforms[:, 1] * shown).long(),
            num_shots=num_shots,
            num_queries=num_queries,
            num_amplitudes=num_amplitudes,
            noise=noise,
            amplitude=amplitude,
        )

    return sampler(2, draw, groups=which, of="tasks of the notebook")


def _task(seed: int, num_shots: int, num_queries: int, noise: float, amplitude: Span) -> Task:
    """A task without its hint, call by call as the notebook draws it."""
    height = np.random.RandomState(seed).uniform(*amplitude)
    again = np.random.RandomState(seed)
    x = again.uniform(-WIDTH, WIDTH, num_shots)
    twice = again.normal(scale=noise, size=num_shots) + again.normal(scale=noise, size=num_shots)
    line = np.linspace(-REACH, REACH, num_queries)
    again.normal(size=num_queries)  # noise that is multiplied with zero
    once = again.normal(scale=noise, size=num_queries)
    support, query = (
        Batch(torch.tensor(inputs).float()[:, None], torch.tensor(height * np.sin(inputs) + off).float()[:, None])
        for inputs, off in ((x, twice), (line, once))
    )
    return Task(support, query)
