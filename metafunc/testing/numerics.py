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
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.types import M, Scalar, Tree

T = TypeVar("T")
SETTLED = 1e-7
"""An extrapolation with a larger estimated error, relative to the function's size, has met a kink."""
TINY = [2.0**-k for k in (20, 21, 22, 23, 24, 25)]
"""Relative step sizes between kinks: rounding leaves about seven digits."""
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


def random_signs(like: T, seed: int = 0) -> T:
    """A tree of +1 and -1."""
    generator = Generator().manual_seed(seed)

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
        passes: how often the computation goes over all its inputs, such as gradients an inner step.
    """
    eps = epsilon(arguments)
    delta = math.sqrt(eps)

    def moved(leaf: Tensor, sign: Tensor) -> Tensor:
        return leaf * (1 + delta * sign) if leaf.is_floating_point() else leaf

    value = function(*arguments)
    nearby = function(*tree.map(moved, arguments, random_signs(arguments)))
    size = magnitude(value)
    slope = magnitude(tree.sub(nearby, value)) / delta
    return value, min(roundings(*arguments, passes=passes) * eps * (size + slope), delta * (1 + size))


class Extrapolated(NamedTuple):
    """A derivative from differences, and an estimate of how far it is off."""

    value: Tensor
    error: float


def richardson(function: Callable[[M], Scalar], at: M, along: M, *, num_levels: int = 6) -> Extrapolated:
    r"""The derivative of a scalar function along a direction, from central differences extrapolated to step zero.

    With $D(h) = (f(\theta + hd) - f(\theta - hd)) / 2h = f' + c_1 h^2 + c_2 h^4 + \dots$ at $h_j = 2^{-4-2j}$,

    $$T_{j,0} = D(h_j), \qquad T_{j,k} = T_{j,k-1} + \frac{T_{j,k-1} - T_{j-1,k-1}}{16^k - 1}$$

    removes one power of $h^2$ after the other. The entry is chosen whose estimated error is smallest: the larger of its
    differences from the two entries it was made of, plus the rounding error $8 \sqrt n\, \epsilon (|f| + |f'|)/h_j$
    of its smallest step. A function with kinks, such as a rectifier's, does not settle so: extrapolation supposes a
    power series. Its derivative is taken from steps too small to reach a kink, at the price of digits.

    Args:
        function: a scalar function of a tree; only its values are used.
        at: the point $\theta$.
        along: the direction $d$, as long as the parameters, so that $h$ is relative.
        num_levels: how many step sizes.

    Example:
        >>> import torch
        >>> from metafunc.testing import numerics
        >>> x = torch.tensor(1.0, dtype=torch.float64)
        >>> found = numerics.richardson(torch.exp, x, x)
        >>> abs(found.value.item() - 2.718281828459045) < found.error < 1e-10
        True

    References:
        Ridders (1982), "Accurate Computation of F'(x) and F'(x) F''(x)".
    """
    first, size, noise = _quotients(function, at, along, [2.0 ** (-4 - 2 * j) for j in range(num_levels)])
    best, error = first[0], math.inf
    column = first
    for k in range(1, num_levels):
        refined = column[1:] + (column[1:] - column[:-1]) / (16**k - 1)
        change = torch.maximum((refined - column[1:]).abs(), (refined - column[:-1]).abs())
        for j, estimate in enumerate(change.tolist()):
            if estimate + noise[j + k] < error:
                best, error = refined[j], estimate + noise[j + k]
        column = refined
    if error > SETTLED * size:
        near = _between_kinks(function, at, along)
        return near if near.error < error else Extrapolated(best, error)
    return Extrapolated(best, error)


def _between_kinks(function: Callable[[M], Scalar], at: M, along: M) -> Extrapolated:
    """The derivative of a function with kinks, from steps that hardly ever reach one.

    The error is ten times the change from one step to the next, since a kink within the smaller one changes both alike.
    """
    quotients, _, noise = _quotients(function, at, along, TINY)
    changes = (quotients[1:] - quotients[:-1]).abs().tolist()
    errors = [10 * change + rounding for change, rounding in zip(changes, noise[1:], strict=True)]
    at_best = min(range(len(errors)), key=errors.__getitem__)
    return Extrapolated(quotients[at_best + 1], errors[at_best])


def _quotients(
    function: Callable[[M], Scalar], at: M, along: M, steps: Sequence[float]
) -> tuple[Tensor, float, list[float]]:
    """Central difference quotients by step, the size of function and derivative, and each quotient's rounding error."""
    offsets = torch.tensor([sign * h for h in steps for sign in (1, -1)], dtype=tree.leaves(at)[0].dtype)
    chunk = max(1, 2**20 // max(tree.size(at), 1))
    values: Tensor = torch.vmap(lambda h: function(tree.add_scaled(at, h, along)), chunk_size=chunk)(
        offsets.to(tree.leaves(at)[0].device)
    ).detach()
    found = (values[0::2] - values[1::2]) / (2 * values.new_tensor(steps))
    size = float(values.abs().max()) + float(found.abs().min())
    return found, size, [roundings(at) * epsilon(values) * size / h for h in steps]


def by_autograd(loss: Callable[..., Tensor], params: M, *data: Any) -> M:
    """The gradient by plain reverse-mode autograd, without `torch.func`: the independent route of many identities."""
    inputs = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
    with torch.enable_grad():
        return tree.unflatten(params, list(slopes(loss(inputs, *data), tree.leaves(inputs))))


def slopes(value: Tensor, inputs: list[Tensor], *, create_graph: bool = False) -> tuple[Tensor, ...]:
    """`torch.autograd.grad`, with zeros for what the value does not depend on."""
    if not value.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in inputs)
    return torch.autograd.grad(value, inputs, create_graph=create_graph, materialize_grads=True)


def hessian_product(loss: Callable[..., Tensor], params: M, vector: M, *data: Any) -> M:
    r"""$\nabla^2 L(\theta)\, v$ by differentiating twice with plain reverse-mode autograd."""
    inputs = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
    with torch.enable_grad():
        first = slopes(loss(inputs, *data), tree.leaves(inputs), create_graph=True)
        along = tree.dot(list(first), [leaf.detach() for leaf in tree.leaves(vector)])
        return tree.unflatten(params, list(slopes(along, tree.leaves(inputs))))


def row(stacked: T, i: int) -> T:
    """One task of stacked tasks."""
    return tree.map(lambda leaf: leaf[i], stacked)


def count(tasks: Tree) -> int:
    """How many tasks are stacked."""
    return int(tree.leaves(tasks)[0].shape[0])


def mean(trees: list[T]) -> T:
    """The mean of some trees of one structure."""
    return tree.map(lambda *leaves: torch.stack(leaves).mean(0), trees[0], *trees[1:])
