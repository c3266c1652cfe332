"""A training as a generator: it asks for gradients, and its caller answers, for one training or for several."""

from collections.abc import Generator, Sequence
from typing import TypeAlias

from torch import Tensor

from metafunc.types import M, Task

Course: TypeAlias = Generator[Sequence[Task], tuple[Tensor, M], None]
"""A training that asks for a gradient, by the tasks that it is of, and goes on when it is given it: with the loss and
the gradient's length in one tensor."""


def go_on(course: Course[M], answer: tuple[Tensor, M]) -> Sequence[Task] | None:
    """Give a training the gradient that it asked for. Returns the tasks of the next one; None where it has ended."""
    try:
        return course.send(answer)
    except StopIteration:
        return None
