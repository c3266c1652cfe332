"""What every strategy is made of: numbers from a seed, step sizes and counts, parameter trees and a loss of them."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("The strategies need hypothesis: pip install 'metafunc[testing]'.") from missing

from metafunc import tree
from metafunc.nn import likelihood
from metafunc.types import Batch, Scalar, Tree

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[Any]], Any]


class Pair(NamedTuple):
    """A parameter tree that is a NamedTuple."""

    first: Tensor
    second: Tensor


class Normals:
    """Standard normals in double precision, from one seed."""

    def __init__(self, seed: int) -> None:
        self.generator = Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def like(self, values: T) -> T:
        """A tree of them; the shapes of another."""
        return tree.map(lambda leaf: self(*leaf.shape), values)


def normals() -> st.SearchStrategy[Normals]:
    """Sources of numbers; they shrink towards seed 0."""
    return st.integers(0, 2**16).map(Normals)


def learning_rates() -> st.SearchStrategy[float]:
    """Step sizes of an inner loop, from timid to bold."""
    return st.sampled_from([0.1, 0.01, 0.3])


def step_counts(most: int = 3) -> st.SearchStrategy[int]:
    """How many inner steps, at least one."""
    return st.integers(1, most)


@st.composite
def trees(draw: Draw) -> Tree:
    """Parameter trees: a tensor, a dict, a NamedTuple, dicts in dicts, tuples with scalars; leaves are small."""
    normal, (n, m) = draw(normals()), draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    shapes: list[Callable[[], Tree]] = [
        lambda: {"w": normal(n)},
        lambda: normal(n),
        lambda: {"w": normal(n, m), "b": normal(m)},
        lambda: Pair(normal(n), normal(m, n)),
        lambda: {"body": {"w": normal(n, m), "b": normal(n)}, "head": Pair(normal(m), normal())},
        lambda: (normal(n), [normal(), {"w": normal(m)}]),
    ]
    return draw(st.sampled_from(shapes))()


def tree_loss(params: Tree, batch: Batch) -> Scalar:
    r"""A smooth loss of any tree: $\frac1n \sum_i (\sum_j \tanh(w_j c_j(x_i)) - y_i)^2$ with fixed features c."""
    flat = tree.ravel(params)[0]
    waves = torch.arange(1, len(flat) + 1).to(flat)
    features = torch.cos(batch.x.flatten(1).sum(1, keepdim=True) * waves)
    outputs = torch.tanh(features * flat).sum(1, keepdim=True)
    return likelihood.gaussian().loss(outputs.expand_as(batch.y), batch)
