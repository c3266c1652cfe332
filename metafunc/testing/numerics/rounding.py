r"""How far two right answers may be apart: rounding, conditioning, and differences extrapolated to the limit.

**Rounding.** A stable computation returns the exact answer for inputs that are off by $8\sqrt n\,\epsilon$ relatively,
with n roundings one after the other: their errors are as good as independent, so they add up like $\sqrt n$, and a sum
above 8 standard deviations has a probability of $2e^{-32}$ (Higham and Mary, 2019). Two routes to $f(x)$ therefore
differ by at most

$$8 \sqrt n \, \epsilon \, (\lVert f(x) \rVert + S), \qquad S = \lVert f(x (1 + \delta s)) - f(x) \rVert / \delta,$$

where S, the conditioning, is measured: every number of every input is moved by $\delta = \sqrt\epsilon$ relatively,
up or down at random. An answer without at least half of its digits is not an answer: the bound is cut at
$\sqrt\epsilon (1 + \lVert f(x) \rVert)$.

References:
    Higham and Mary (2019), "A New Approach to Probabilistic Rounding Error Analysis".
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.types import M, Tree

T = TypeVar("T")
ROUNDING = (
    "8 sqrt(n) eps (|f| + S): n roundings in a row add up like a random walk, and S is how far the answer moves, per "
    "relative change, when all inputs are moved by sqrt(eps)."
)

DIFFERENCES = (
    "The differences' own estimate of their error (the last change of the extrapolation, or near a kink ten times that "
    "from one tiny step to the next, and rounding over h), plus " + ROUNDING
)


def epsilon(values: Tree) -> float:
    """The relative spacing of the coarsest floating-point type in a tree."""
    return max(torch.finfo(leaf.dtype).eps for leaf in tree.leaves(values) if leaf.is_floating_point())


def roundings(*values: Tree, passes: int = 1) -> float:
    r"""$8\sqrt n$ for the n roundings of some passes over all numbers of these trees."""
    return 8 * math.sqrt(max(passes, 1) * sum(tree.size(value) for value in values))


def magnitude(values: Tree) -> float:
    """The Euclidean length of all floating-point numbers in a tree."""
    squares = [float(leaf.detach().square().sum()) for leaf in tree.leaves(values) if leaf.is_floating_point()]
    return math.sqrt(sum(squares))


def random_signs(like: T) -> T:
    """A tree of +1 and -1, always the same."""
    generator = Generator().manual_seed(0)

    def draw(leaf: Tensor) -> Tensor:
        return (2.0 * torch.randint(2, leaf.shape, generator=generator) - 1.0).to(leaf)

    return tree.map(draw, like)


def direction(params: M, seed: int = 0) -> M:
    """A random direction, as long as the parameters (or, where all are zero, with entries of about 1).

    Normal rather than of equal lengths along all axes: sums and differences of parameters are what losses often ignore.
    """
    generator = Generator().manual_seed(seed)

    def draw(leaf: Tensor) -> Tensor:
        return torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf)

    drawn = tree.map(draw, params)
    length = magnitude(params)
    return tree.scale(drawn, length / magnitude(drawn)) if length else drawn


def rounding_bound(function: Callable[..., Tree], *arguments: Tree, passes: int = 1) -> float:
    """How far two stable evaluations of a function may be apart: the bound at the head of this module."""
    return bounded(function, *arguments, passes=passes)[1]


def bounded(function: Callable[..., T], *arguments: Tree, passes: int = 1) -> tuple[T, float]:
    """The value of a function, and how far two stable evaluations of it may be apart.

    Args:
        function: from the arguments to a tree; it is called twice.
        arguments: trees of tensors; only floating-point leaves are moved.
        passes: how often the computation goes over all its inputs, such as gradients per inner step.
    """
    eps = epsilon(arguments)
    delta = math.sqrt(eps)

    def moved(leaf: Tensor, sign: Tensor) -> Tensor:
        return leaf * (1 + delta * sign) if leaf.is_floating_point() else leaf

    value = function(*arguments)
    nearby = function(*tree.map(moved, arguments, random_signs(arguments)))
    size = magnitude(value)
    conditioning = magnitude(tree.sub(nearby, value)) / delta
    return value, min(roundings(*arguments, passes=passes) * eps * (size + conditioning), delta * (1 + size))


def by_autograd(loss: Callable[..., Tensor], params: M, *data: Any) -> M:
    """The gradient by plain reverse-mode autograd, without `torch.func`: the independent route of many identities.

    `metafunc.execution.gradient.by_autograd` takes the same gradient in training. It is written twice on purpose: what
    training calls is held against this, which shares no line with it.
    """
    inputs = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
    with torch.enable_grad():
        return tree.unflatten(params, list(gradients_of(loss(inputs, *data), tree.leaves(inputs))))


def gradients_of(value: Tensor, inputs: list[Tensor], *, create_graph: bool = False) -> tuple[Tensor, ...]:
    """`torch.autograd.grad`, with zeros for what the value does not depend on."""
    if not value.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in inputs)
    return torch.autograd.grad(value, inputs, create_graph=create_graph, materialize_grads=True)


def hessian_product(loss: Callable[..., Tensor], params: M, vector: M, *data: Any) -> M:
    r"""$\nabla^2 L(\theta)\, v$ by differentiating twice with plain reverse-mode autograd."""
    inputs = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
    with torch.enable_grad():
        first = gradients_of(loss(inputs, *data), tree.leaves(inputs), create_graph=True)
        along = tree.dot(list(first), [leaf.detach() for leaf in tree.leaves(vector)])
        return tree.unflatten(params, list(gradients_of(along, tree.leaves(inputs))))


def count(tasks: Tree) -> int:
    """How many tasks are stacked."""
    return int(tree.leaves(tasks)[0].shape[0])


def mean(trees: list[T]) -> T:
    """The mean of some trees of one structure."""
    return tree.map(lambda *leaves: torch.stack(leaves).mean(0), trees[0], *trees[1:])
