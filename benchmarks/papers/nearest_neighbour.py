"""Raw-pixel nearest neighbour: the floor under every few-shot number, as a learner that learns nothing.

    python -m benchmarks.papers.nearest_neighbour --path OMNIGLOT --num-shots 1

It is a `MetaLearner` like any other, so that `metafunc.evaluate` gives it the very episodes that the trained ones get.
"""

from typing import NamedTuple

import torch
import tyro
from torch import Tensor
from torch.nn import functional as F

import metafunc
from benchmarks import reporting
from metafunc import Batch, Categorical, MetaLearner, Task, data, tree

FAR = 1e6
"""Added to the squared distance of rows of other classes: more than any two images of 784 pixels are apart."""


class Examples(NamedTuple):
    """The support set itself; before adaptation no row has a class."""

    x: Tensor
    classes: Tensor


def nearest_neighbour(num_ways: int) -> MetaLearner[tuple[()], Examples]:
    """Every query gets the class of the support row that is nearest in pixels."""

    def adapt(meta: tuple[()], support: Batch) -> Examples:
        return Examples(support.x.flatten(1), F.one_hot(support.y, num_ways).to(support.x.dtype))

    def path(meta: tuple[()], support: Batch, num_steps: int) -> Examples:
        after = adapt(meta, support)
        return tree.stack([Examples(after.x, torch.zeros_like(after.classes)), after])

    def predict(params: Examples, x: Tensor) -> Categorical:
        square = (x.flatten(1)[:, None] - params.x).square().sum(-1)
        others = FAR * (1 - params.classes)
        return Categorical(-(square[..., None] + others).amin(1)[None])

    def unlearned(meta: tuple[()], task: Task) -> Tensor:
        return torch.zeros(())

    return MetaLearner(
        init=lambda generator: (),
        prepare=lambda meta, tasks, generator, *, step, num_steps: tasks,
        adapt=adapt,
        path=path,
        task_loss=unlearned,
        predict=predict,
    )


def main(
    path: str,
    num_shots: int = 1,
    num_ways: int = 5,
    num_queries: int = 15,
    seed: int = 0,
    num_test_tasks: int = 2000,
) -> None:
    """Test nearest neighbours on the episodes that `omniglot.py` tests on, and write the result.

    Args:
        path: the local copy of Omniglot.
        num_shots: support drawings per character.
        num_ways: characters per task.
        num_queries: query drawings per character.
        seed: of the episodes.
        num_test_tasks: how many episodes.
    """
    torch.set_num_threads(1)
    family = data.omniglot(path=path, num_ways=num_ways, num_shots=num_shots, num_queries=num_queries)
    result = metafunc.evaluate(nearest_neighbour(num_ways), (), family, num_tasks=num_test_tasks, seed=seed)
    accuracy = result.by_step[-1]["accuracy"]
    print(f"{num_ways}-way {num_shots}-shot: {100 * accuracy['mean']:.2f} ± {100 * accuracy['ci95']:.2f} %")
    name = f"omniglot_{num_ways}way_{num_shots}shot_nearest_neighbour"
    reporting.write(name, {"seed": seed, "num_test_tasks": num_test_tasks, "accuracy": accuracy})


if __name__ == "__main__":
    tyro.cli(main)
