r"""What every meta-learner owes its users, as checks that raise an AssertionError.

Give them a learner whose parameters are in double precision: most compare two routes to one number at $10^{-10}$.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.testing import assert_close

from metafunc import tree
from metafunc.meta import value_and_grad
from metafunc.testing.problems import duplicated, padded
from metafunc.types import M, MetaLearner, P, Task, Tree

T = TypeVar("T")
TOLERANCE = 1e-10
"""Relative, between two exact routes in double precision: some 10^5 roundings."""


def check_learner(
    learner: MetaLearner[M, P], tasks: Task, *, num_steps: int, exact: bool = True, inner_steps: bool = True
) -> None:
    """All checks of this module on one learner and a few tasks.

    Args:
        learner: the learner; `metafunc.testing.network` is a factory for its networks.
        tasks: stacked tasks, as `metafunc.testing.random_tasks` draws them.
        num_steps: the inner steps that its `adapt` takes.
        exact: whether its meta-gradient claims to be the derivative of its task loss.
        inner_steps: whether it adapts in steps; otherwise its paths have two rows.

    Raises:
        AssertionError: says which check failed and by how much.

    Example:
        >>> from metafunc import algorithms, testing
        >>> learner = algorithms.build("maml", testing.network, (2,), "regression", 3, inner_lr=0.1, num_steps=2)
        >>> testing.check_learner(learner, testing.random_tasks("regression"), num_steps=2)
    """
    generator = torch.Generator().manual_seed(0)
    meta = learner.init(generator)
    prepared = learner.prepare(meta, tasks, generator, step=0, num_steps=100)
    is_pure(learner, meta, prepared)
    does_not_see_other_tasks(learner, meta, prepared)
    ignores_padding(learner, meta, tasks)
    path_ends_in_adapt(learner, meta, tasks, num_steps=num_steps, inner_steps=inner_steps)
    if exact:
        gradient_is_the_derivative(learner, meta, prepared)
        hessian_is_symmetric(learner, meta, prepared)


def is_pure(learner: MetaLearner[M, P], meta: M, tasks: Task) -> None:
    """Called twice, the answer is bitwise the same; arguments and the global generator are as they were."""
    before, state = tree.map(torch.clone, (meta, tasks)), torch.get_rng_state()
    for call in _calls(learner, tasks):
        identical(call(meta), call(meta), "A second call gave another answer.")
    identical((meta, tasks), before, "A call changed its arguments.")
    identical(torch.get_rng_state(), state, "A call drew from the global generator.")
    first, second = (
        learner.prepare(meta, tasks, torch.Generator().manual_seed(1), step=0, num_steps=100) for _ in range(2)
    )
    identical(first, second, "`prepare` drew from something else than its generator.")
    identical(torch.get_rng_state(), state, "`prepare` drew from the global generator.")
    identical((meta, tasks), before, "`prepare` changed its arguments.")


def does_not_see_other_tasks(learner: MetaLearner[M, P], meta: M, tasks: Task) -> None:
    """A loop over tasks, chunks of them, another order, every task twice, and `torch.func.grad` all agree with vmap."""
    num_tasks = tree.leaves(tasks)[0].shape[0]
    whole = value_and_grad(learner.task_loss)
    expected = whole(meta, tasks)
    each = [whole(meta, tree.map(lambda leaf, i=i: leaf[i : i + 1], tasks)) for i in range(num_tasks)]
    close(tree.map(lambda *parts: torch.stack(parts).mean(0), *each), expected, "A loop over tasks differs from vmap.")
    for size in range(1, num_tasks + 1):
        chunked = value_and_grad(learner.task_loss, chunk_size=size)
        close(chunked(meta, tasks), expected, f"Chunks of {size} differ from all tasks at once.")
    close(whole(meta, tree.map(lambda leaf: leaf.flip(0), tasks)), expected, "The order of the tasks matters.")
    close(whole(meta, duplicated(tasks)), expected, "Every task twice is not the same mean.")
    gradient, value = torch.func.grad_and_value(learner.meta_loss)(meta, tasks)
    close((value, gradient), expected, "torch.func.grad differs from autograd.")


def ignores_padding(learner: MetaLearner[M, P], meta: M, tasks: Task) -> None:
    """Rows of garbage that the mask says not to count change neither the loss, nor its gradient, nor adaptation."""
    with_garbage = padded(tasks)
    whole = value_and_grad(learner.task_loss)
    close(whole(meta, with_garbage), whole(meta, tasks), "Padding enters the loss.")
    adapt = torch.vmap(learner.adapt, in_dims=(None, 0))
    close(adapt(meta, with_garbage.support), adapt(meta, tasks.support), "Padding enters adaptation.")


def path_ends_in_adapt(
    learner: MetaLearner[M, P], meta: M, tasks: Task, *, num_steps: int, inner_steps: bool = True
) -> None:
    """A path has num_steps + 1 rows and ends in `adapt`; with inner steps it starts in parameters that are meta's."""
    support = tree.unstack(tasks.support)[0]
    rows = tree.unstack(learner.path(meta, support, num_steps))
    wanted = num_steps + 1 if inner_steps else 2
    if len(rows) != wanted:
        raise AssertionError(f"A path of {num_steps} steps has {len(rows)} rows, not {wanted}.")
    identical(rows[-1], learner.adapt(meta, support), "The last row of the path is not what `adapt` returns.")
    if inner_steps:
        start = tree.unstack(learner.path(meta, support, 0))
        identical(start, rows[:1], "A path of no steps is not the first row of a longer one.")
        known = tree.leaves(meta)
        if not all(any(torch.equal(leaf, other) for other in known) for leaf in tree.leaves(start)):
            raise AssertionError(
                "No steps are not the identity: the first row holds what is not in the meta-parameters."
            )


def gradient_is_the_derivative(
    learner: MetaLearner[M, P], meta: M, tasks: Task, *, num_directions: int = 4, tolerance: float = 1e-6
) -> None:
    """Along random directions, the gradient is what central differences of the loss say."""
    gradient = value_and_grad(learner.task_loss)(meta, tasks)[1]
    for direction in _directions(meta, num_directions):
        expected = central_difference(lambda at: learner.meta_loss(at, tasks), meta, direction)
        close(tree.dot(gradient, direction), expected, "The meta-gradient is not the derivative.", tolerance=tolerance)


def hessian_is_symmetric(learner: MetaLearner[M, P], meta: M, tasks: Task) -> None:
    """u'Hv = v'Hu for the meta-loss's Hessian, and Hv is what central differences of the gradient say."""

    def gradient(at: M) -> M:
        found: M = torch.func.grad(learner.meta_loss)(at, tasks)
        return found

    def product(direction: M) -> M:
        found: M = torch.func.jvp(gradient, (meta,), (direction,))[1]
        return found

    u, v = _directions(meta, 2)
    close(tree.dot(u, product(v)), tree.dot(v, product(u)), "The Hessian of the meta-loss is not symmetric.")
    expected = central_difference(gradient, meta, v)
    close(product(v), expected, "The Hessian is not the derivative of the gradient.", tolerance=1e-6)


def central_difference(function: Callable[[M], T], at: M, direction: M, *, step: float = 1e-5) -> T:
    r"""$(f(\theta + hd) - f(\theta - hd)) / 2h$, whose error is of the order of $h^2$."""
    above, below = function(tree.add_scaled(at, step, direction)), function(tree.add_scaled(at, -step, direction))
    return tree.scale(tree.sub(above, below), 0.5 / step)


def identical(first: Tree, second: Tree, message: str) -> None:
    """Bitwise the same, leaf by leaf."""
    assert_close(first, second, rtol=0, atol=0, equal_nan=True, msg=lambda detail: f"{message}\n{detail}")


def close(first: Tree, second: Tree, message: str, *, tolerance: float = TOLERANCE) -> None:
    """The same up to a tolerance relative to the whole tree, so that a leaf that is zero asks for no more digits."""
    one, other = (torch.cat([leaf.reshape(-1) for leaf in tree.leaves(side)]) for side in (first, second))
    scale = max(float(other.abs().max()), 1.0)
    assert_close(one, other, rtol=tolerance, atol=tolerance * scale, msg=lambda detail: f"{message}\n{detail}")


def _directions(meta: M, count: int) -> list[M]:
    generator = torch.Generator().manual_seed(2)

    def draw(leaf: Tensor) -> Tensor:
        return torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)

    return [tree.map(draw, meta) for _ in range(count)]


def _calls(learner: MetaLearner[M, P], tasks: Task) -> list[Callable[[M], Tree]]:
    support = tree.unstack(tasks.support)[0]
    x = tree.unstack(tasks.query)[0].x
    return [
        lambda meta: value_and_grad(learner.task_loss)(meta, tasks),
        lambda meta: learner.meta_loss(meta, tasks),
        lambda meta: learner.adapt(meta, support),
        lambda meta: learner.path(meta, support, 2),
        lambda meta: learner.predict(learner.adapt(meta, support), x),
    ]
