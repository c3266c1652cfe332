"""Trees of tensors as a vector space: nested dicts, lists, tuples and NamedTuples, leaf by leaf.

The only module that imports torch's private pytree, which knows further kinds of nodes; everything here is out of
place.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from metafunc.types import Scalar, Tree

T = TypeVar("T")
_IN_LOOPS = ContextVar("in_loops", default=False)


def map(function: Callable[..., Any], first: T, *rest: Tree) -> T:
    """Apply a function to corresponding leaves; the result has the structure of the first tree."""
    # The nodes that parameters and tasks are made of; torch's own walk asks ten times as long what is a node.
    node: Any = first
    kind = type(node)
    if isinstance(node, Tensor):
        return function(node, *rest)  # type: ignore[no-any-return]
    if kind is dict and all(type(other) is dict and other.keys() == node.keys() for other in rest):
        return {name: map(function, part, *[other[name] for other in rest]) for name, part in node.items()}  # type: ignore[return-value]
    if _is_sequence(kind) and all(type(other) is kind and len(other) == len(node) for other in rest):
        parts = [map(function, *corresponding) for corresponding in zip(node, *rest, strict=True)]
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)  # type: ignore[no-any-return]
    return pytree.tree_map(function, first, *rest)  # type: ignore[no-any-return]  # torch leaves it unannotated


def _is_sequence(kind: type) -> bool:
    return kind is tuple or kind is list or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def leaves(tree: Tree) -> list[Tensor]:
    """The leaves in a fixed order."""
    found: list[Tensor] = []
    _collect(tree, found)
    return found


def _collect(node: Any, found: list[Tensor]) -> None:
    kind = type(node)
    if isinstance(node, Tensor):
        found.append(node)
    elif kind is dict or _is_sequence(kind):
        for part in node.values() if kind is dict else node:
            _collect(part, found)
    else:
        found += pytree.tree_leaves(node)


def paths(tree: Tree) -> list[str]:
    """The dotted path of every leaf, in the order of `leaves`: `{"a": {"w": x}}` gives `["a.w"]`."""
    entries, _ = pytree.tree_flatten_with_path(tree)
    return [".".join(_name(key) for key in path) for path, _ in entries]


def _name(key: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def unflatten(like: T, new_leaves: list[Tensor]) -> T:
    """A tree of the structure of `like` with other leaves.

    Raises:
        ValueError: if there are more or fewer of them.
    """
    count = len(leaves(like))
    if count != len(new_leaves):
        raise ValueError(f"The tree has {count} leaves, and {len(new_leaves)} were given for them.")
    following = iter(new_leaves)
    return map(lambda _: next(following), like)


def by_path(tree: Tree) -> dict[str, Tensor]:
    """The leaves by their dotted paths, in the order of `leaves`.

    Raises:
        ValueError: if two leaves have the same path, as in `{"a.b": x, "a": {"b": y}}`.
    """
    names = paths(tree)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"Two leaves are both called {twice[0]!r}; rename one, so that a path tells them apart.")
    return dict(zip(names, leaves(tree), strict=True))


def partition(tree: T, select: Callable[[str], bool]) -> tuple[dict[str, Tensor], Callable[[dict[str, Tensor]], T]]:
    """The leaves whose dotted path is selected, by path, and the function that puts such leaves back into the tree.

    Raises:
        ValueError: if two leaves have the same path.

    Examples:
        >>> import torch
        >>> chosen, merge = partition({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, lambda path: path == "b")
        >>> merge({path: -leaf for path, leaf in chosen.items()})
        {'a': tensor(1.), 'b': tensor(-2.)}
    """
    named = by_path(tree)
    chosen = {name: leaf for name, leaf in named.items() if select(name)}

    def merge(replacements: dict[str, Tensor]) -> T:
        return unflatten(tree, [replacements.get(name, leaf) for name, leaf in named.items()])

    return chosen, merge


def aligned(like: T, other: Tree) -> T:
    """The same tree as `other`, its dicts in the order of those in `like`: `leaves` and `ravel` go by that order.

    Raises:
        ValueError: if the two differ in more than the order of dict entries.

    Examples:
        >>> aligned({"a": 0, "b": 0}, {"b": 2, "a": 1})
        {'a': 1, 'b': 2}
    """
    return map(lambda _, leaf: leaf, like, other)


def add(first: T, second: Tree) -> T:
    """x + y."""
    return map(torch.add, first, second)


def sub(first: T, second: Tree) -> T:
    """x - y."""
    return map(torch.sub, first, second)


def scale(tree: T, factor: float | Tensor) -> T:
    """s x, for a scalar s."""
    return map(lambda leaf: leaf * factor, tree)


def add_scaled(first: T, factor: float | Tensor, second: Tree) -> T:
    """x + s y, for a scalar s."""
    return map(lambda x, y: x + factor * y, first, second)


def dot(first: Tree, second: Tree) -> Scalar:
    """The inner product, summed over all leaves."""
    return torch.stack(leaves(map(lambda x, y: (x * y).sum(), first, second))).sum()


def norm(tree: Tree) -> Scalar:
    """The Euclidean length of the whole tree."""
    return dot(tree, tree).sqrt()


def zeros_like(tree: T) -> T:
    """The zero of the tree's vector space."""
    return map(torch.zeros_like, tree)


def like(first: Tree, other: T) -> T:
    """The same tree as `other`, its leaves of the type and on the device of the first leaf of another."""
    given = leaves(first)[0]
    return map(lambda leaf: leaf.to(given), other)


def detach(tree: T) -> T:
    """The same values with no derivative."""
    return map(torch.Tensor.detach, tree)


def size(tree: Tree) -> int:
    """The number of numbers in the tree."""
    return sum(leaf.numel() for leaf in leaves(tree))


def ravel(tree: T) -> tuple[Tensor, Callable[[Tensor], T]]:
    """All leaves as one vector, and the function that turns such a vector back into the tree."""
    parts = leaves(tree)
    shapes = [part.shape for part in parts]
    counts = [part.numel() for part in parts]

    def unravel(vector: Tensor) -> T:
        pieces = torch.split(vector, counts)
        return unflatten(tree, [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)])

    return torch.cat([part.reshape(-1) for part in parts]), unravel


def stack(trees: list[T]) -> T:
    """Trees of one structure as a single tree with a new leading axis."""
    return map(lambda *parts: torch.stack(parts), trees[0], *trees[1:])


def unstack(tree: T) -> list[T]:
    """The inverse of `stack`: one tree for each index of the leading axis."""
    return [at(tree, i) for i in range(leaves(tree)[0].shape[0])]


def at(values: T, index: int | slice) -> T:
    """Row `index` of every leaf: one task of stacked ones, one particle, one step of a path.

    Examples:
        >>> import torch
        >>> at({"w": torch.arange(3)}, 1)
        {'w': tensor(1)}
    """
    return map(lambda leaf: leaf[index], values)


def split(values: T, size: int, axis: int = 0) -> list[T]:
    """Parts of every leaf, of so many rows along an axis each, but for the last.

    Examples:
        >>> import torch
        >>> split({"w": torch.arange(3)}, 2)
        [{'w': tensor([0, 1])}, {'w': tensor([2])}]
    """
    rows = leaves(values)[0].shape[axis]
    return [
        map(lambda leaf: leaf.narrow(axis, start, min(size, rows - start)), values) for start in range(0, rows, size)
    ]


def vmap(function: Callable[..., Any], in_dims: Any = 0, out_dims: int = 0) -> Callable[..., Any]:
    """`torch.vmap`, for particles and draws: within `in_loops` a loop, which is what it has to be equal to.

    Args:
        function: from trees of tensors to a tree of tensors.
        in_dims: the axis of each argument, or of all; None: the argument is the same for all.
        out_dims: the axis of the result.

    Examples:
        >>> import torch
        >>> square = vmap(lambda x: x.square().sum())
        >>> with in_loops():
        ...     square(torch.ones(2, 3))
        tensor([3., 3.])
    """

    def mapped(*arguments: Any) -> Any:
        # torch.compile cannot read a context variable, and the loop that a fast way is held against is not compiled.
        if torch.compiler.is_compiling() or not _IN_LOOPS.get():
            return torch.vmap(function, in_dims, out_dims)(*arguments)
        axes = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(arguments)
        pairs = list(zip(arguments, axes, strict=True))
        size = next(leaf.shape[axis] for each, axis in pairs if axis is not None for leaf in leaves(each))
        results = [function(*(_selected(each, axis, i) for each, axis in pairs)) for i in range(size)]
        return map(lambda *parts: torch.stack(parts, out_dims), results[0], *results[1:])

    return mapped


def _selected(values: Tree, axis: int | None, index: int) -> Tree:
    return values if axis is None else map(lambda leaf: leaf.select(axis, index), values)


@contextmanager
def in_loops() -> Iterator[None]:
    """`vmap` as a loop, for a while: slow, and right whatever an operation's rule for batches is."""
    token = _IN_LOOPS.set(True)
    try:
        yield
    finally:
        _IN_LOOPS.reset(token)


def rows(particles: Tree) -> Float[Tensor, "particles size"]:
    """Particles, stacked on the leading axis of every leaf, as the rows of a matrix.

    Examples:
        >>> import torch
        >>> rows({"w": torch.ones(3, 2), "b": torch.zeros(3)}).shape
        torch.Size([3, 3])
    """
    matrix: Tensor = torch.vmap(lambda particle: ravel(particle)[0])(particles)
    return matrix


def safe_sqrt(square: Tensor) -> Tensor:
    """The square root, whose derivative at zero is zero instead of infinite.

    Examples:
        >>> import torch
        >>> torch.func.grad(safe_sqrt)(torch.tensor(0.0))
        tensor(0.)
    """
    # Two `where`s: with only the outer one the infinite derivative of the root at zero, times zero, would be NaN.
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)
