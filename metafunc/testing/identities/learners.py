r"""Identities that every meta-learner must satisfy, whatever its algorithm."""

from collections.abc import Callable
from typing import Any

import torch

from metafunc import tree
from metafunc.execution import tracing
from metafunc.execution.gradient import Lower, value_and_grad
from metafunc.testing.identities.meta_gradient import MATCHES
from metafunc.testing.identities.purity import BITWISE, ORDER, TWICE, called_twice
from metafunc.testing.numerics.differences import richardson
from metafunc.testing.numerics.report import Comparison, Report, compare, identical, summarise
from metafunc.testing.numerics.rounding import DIFFERENCES, ROUNDING, bounded, by_autograd, count, direction, mean
from metafunc.testing.problems.cases import LearnerCase
from metafunc.testing.problems.small import duplicated, padded
from metafunc.types import M, P, Task, TaskLoss, Tree


def pure(case: LearnerCase[M, P]) -> Report:
    """Called twice, the answer is bitwise the same; arguments and the global generator are as they were."""
    learner, meta, tasks = case.learner, case.meta, case.prepared
    support, x = tree.at(case.tasks, 0).support, tree.at(case.tasks, 0).query.x

    def prepare(meta: M, tasks: Task) -> Task:
        return learner.prepare(meta, tasks, torch.Generator().manual_seed(case.seed), step=0, num_steps=100)

    comparisons = [
        *(_of_prepare(comparison) for comparison in called_twice(prepare, case.meta, case.tasks)),
        *called_twice(value_and_grad(learner.task_loss), meta, tasks),
        *called_twice(learner.meta_loss, meta, tasks),
        *called_twice(learner.adapt, meta, support),
        *called_twice(lambda meta, support: learner.path(meta, support, 2), meta, support),
        *called_twice(lambda meta, support: learner.predict(learner.adapt(meta, support), x), meta, support),
    ]
    return summarise("pure", comparisons, BITWISE, str(case))


def _of_prepare(comparison: Comparison) -> Comparison:
    claims = {
        "A second call gave another answer.": "`prepare` drew from something else than its generator.",
        "A call changed its arguments.": "`prepare` changed its arguments.",
        "A call drew from the global generator.": "`prepare` drew from the global generator.",
    }
    return Comparison(comparison.error, comparison.tolerance, comparison.leaf, claims[comparison.claim])


def independent_tasks(case: LearnerCase[M, P]) -> Report:
    """A loop over tasks, chunks of them, another order, every task twice, and `torch.func.grad` all agree with vmap.

    The loop is one of plain autograd, without `vmap`.
    """
    learner, meta, tasks = case.learner, case.meta, case.prepared
    whole = value_and_grad(learner.task_loss)
    expected, bound = bounded(whole, meta, tasks, passes=2 * case.num_steps + 2)
    each = [_alone(learner.task_loss, meta, tree.at(tasks, i)) for i in range(count(tasks))]
    order = [*range(1, count(tasks)), 0]
    comparisons = [
        compare(mean(each), expected, bound, "A loop over tasks differs from vmap."),
        compare(whole(meta, tree.map(lambda leaf: leaf[order], tasks)), expected, bound, ORDER),
        compare(whole(meta, duplicated(tasks)), expected, bound, TWICE),
        compare(_by_func(learner.meta_loss, meta, tasks), expected, bound, "torch.func.grad differs from autograd."),
    ]
    # Uneven chunks, where there are enough tasks for them.
    size = max(1, count(tasks) - 1)
    chunked = value_and_grad(learner.task_loss, chunk_size=size)(meta, tasks)
    comparisons.append(compare(chunked, expected, bound, f"Chunks of {size} differ from all tasks at once."))
    return summarise("independent_tasks", comparisons, MATCHES, str(case))


def _alone(task_loss: TaskLoss[M], meta: M, task: Task) -> tuple[torch.Tensor, M]:
    return task_loss(meta, task).detach(), by_autograd(task_loss, meta, task)


def _by_func(meta_loss: Callable[[Any, Task], torch.Tensor], meta: M, tasks: Task) -> tuple[torch.Tensor, M]:
    gradient, value = torch.func.grad_and_value(meta_loss)(meta, tasks)
    return value, gradient


def ignored_padding(case: LearnerCase[M, P]) -> Report:
    """Rows of garbage that are masked out change neither the loss, nor its gradient, nor adaptation, nor the joint.

    A learner may keep its support set, as a Gaussian process does. Then what it adapts to has rows of garbage too, and
    it is its predictions that must not change. A learner that draws noise may draw it for every row; then it must not
    matter which garbage there is.
    """
    learner, meta, passes = case.learner, case.meta, 2 * case.num_steps + 2
    # Not prepared: `prepare` may draw rows by number, and garbage would change which.
    whole, adapt = value_and_grad(learner.task_loss), torch.vmap(learner.adapt, in_dims=(None, 0))

    def predictions(meta: M, support: Tree) -> Tree:
        return torch.vmap(learner.predict)(adapt(meta, support), case.tasks.query.x)

    expected, bound = bounded(whole, meta, case.tasks, passes=passes)
    garbage = padded(case.tasks)
    sizes = [[leaf.shape for leaf in tree.leaves(adapt(meta, each.support))] for each in (case.tasks, garbage)]
    adapted = adapt if sizes[0] == sizes[1] else predictions
    alone, enough = bounded(adapted, meta, case.tasks.support, passes=passes)
    comparisons = [
        compare(whole(meta, garbage), expected, bound, "Padding enters the loss."),
        compare(adapted(meta, garbage.support), alone, enough, "Padding enters adaptation."),
    ]
    comparisons += _whatever_the_padding(case)
    if learner.joint is not None:
        joint = torch.vmap(learner.joint)
        known = adapt(meta, case.tasks.support)
        own, enough = bounded(joint, known, case.tasks.query, passes=passes)
        comparisons.append(compare(joint(known, garbage.query), own, enough, "Padding enters the joint."))
    return summarise("ignored_padding", comparisons, MATCHES, str(case))


def _whatever_the_padding(case: LearnerCase[M, P]) -> list[Comparison]:
    """The loss with training noise and the predictions with that of a meta-test, for two sorts of garbage."""
    learner, meta = case.learner, case.meta

    def prepared(garbage: float, step: int | None) -> Task:
        generator = torch.Generator().manual_seed(case.seed)
        tasks = padded(case.tasks, garbage=garbage)
        return learner.prepare(meta, tasks, generator, step=step, num_steps=100 if step == 0 else case.num_steps)

    def predictions(support: Tree) -> Tree:
        own = torch.vmap(learner.adapt, in_dims=(None, 0))(meta, support)
        return torch.vmap(learner.predict)(own, case.tasks.query.x)

    whole, passes = value_and_grad(learner.task_loss), 2 * case.num_steps + 2
    expected, bound = bounded(whole, meta, prepared(7.0, 0), passes=passes)
    alone, enough = bounded(predictions, prepared(7.0, None).support, passes=passes)
    return [
        compare(whole(meta, prepared(-3.0, 0)), expected, bound, "Padding enters a loss with noise."),
        compare(predictions(prepared(-3.0, None).support), alone, enough, "Padding enters adaptation with noise."),
    ]


def path_ends_in_adapt(case: LearnerCase[M, P]) -> Report:
    """A path has num_steps + 1 rows and ends in `adapt`; with inner steps it starts in parameters that are meta's."""
    learner, meta, support = case.learner, case.meta, tree.at(case.tasks, 0).support
    path = learner.path(meta, support, case.num_steps)
    wanted = case.num_steps + 1 if case.inner_steps else 2
    found = count(path)
    missing = f"A path of {case.num_steps} steps has {found} rows, not {wanted}."
    last = "The last row of the path is not what `adapt` returns."
    comparisons = [
        Comparison(float("inf") if found != wanted else 0.0, 0.0, "", missing),
        identical(tree.at(path, found - 1), learner.adapt(meta, support), last),
    ]
    if case.inner_steps:
        start = tree.at(learner.path(meta, support, 0), 0)
        claim = "A path of no steps is not the first row of a longer one."
        comparisons.append(identical(start, tree.at(path, 0), claim))
        # A learner that draws has its one undisturbed draw on an axis of particles.
        known = [*tree.leaves(meta), *(leaf[None] for leaf in tree.leaves(meta))]
        strange = [leaf for leaf in tree.leaves(start) if not any(torch.equal(leaf, other) for other in known)]
        claim = "No steps are not the identity: the first row holds what is not in the meta-parameters."
        comparisons.append(Comparison(float("inf") if strange else 0.0, 0.0, "", claim))
    return summarise("path_ends_in_adapt", comparisons, BITWISE, str(case))


def own_support(case: LearnerCase[M, P]) -> Report:
    """At meta-test each task is adapted on its own support set: predictions under vmap are those of the task alone."""
    learner, meta = case.learner, case.meta

    def predictions(meta: M, tasks: Task) -> Tree:
        def of_task(task: Task) -> Tree:
            return learner.predict(learner.adapt(meta, task.support), task.query.x)

        return torch.vmap(of_task)(tasks)

    found, bound = bounded(predictions, meta, case.tasks, passes=2 * case.num_steps + 2)
    tasks = [tree.at(case.tasks, i) for i in range(count(case.tasks))]
    alone = tree.stack([learner.predict(learner.adapt(meta, task.support), task.query.x) for task in tasks])
    claim = "A task's predictions are not those of the task adapted by itself."
    return summarise("own_support", [compare(found, alone, bound, claim)], ROUNDING, str(case))


def meta_derivative(case: LearnerCase[M, P], *, num_directions: int = 1, slack: float = 0.0) -> Report:
    r"""The meta-gradient along a random direction is that of differences of the learner's meta-loss.

    Args:
        case: what it is checked on.
        num_directions: random directions to look along.
        slack: how far off, relatively, a gradient may be that claims to be only approximate, such as the implicit
            gradient of a problem that is not solved to the end.
    """
    learner, meta, tasks = case.learner, case.meta, case.prepared
    whole = value_and_grad(learner.task_loss)
    (_, gradient), rounding = bounded(whole, meta, tasks, passes=2 * case.num_steps + 2)
    comparisons = []
    for seed in range(num_directions):
        along = direction(meta, seed)
        limit = richardson(lambda at: learner.meta_loss(at, tasks), meta, along)
        product = tree.dot(gradient, along)
        allowed = slack * max(float(product.abs()), float(limit.value.abs()), 1.0)
        bound = limit.error + rounding * float(tree.norm(along)) + allowed
        comparisons.append(compare(product, limit.value, bound, "The meta-gradient is not the derivative."))
    return summarise("meta_derivative", comparisons, DIFFERENCES, str(case))


def meta_hessian(case: LearnerCase[M, P]) -> Report:
    r"""The meta-loss's Hessian is symmetric, and is the derivative of the gradient, by differences.

    $u^\top H v = v^\top H u$, which is the derivative of $u^\top \nabla \mathcal L$ along v.
    """
    learner, meta, tasks = case.learner, case.meta, case.prepared

    def gradient(at: M) -> M:
        found: M = torch.func.grad(learner.meta_loss)(at, tasks)
        return found

    def product(at: M, along: M) -> M:
        found: M = torch.func.jvp(gradient, (at,), (along,))[1]
        return found

    u, v = direction(meta, 1), direction(meta, 2)
    along_v, rounding = bounded(lambda at: product(at, v), meta, passes=4 * case.num_steps + 4)
    bound = rounding * float(tree.norm(u))
    limit = richardson(lambda at: tree.dot(gradient(at), u), meta, v)
    symmetric = "The Hessian of the meta-loss is not symmetric."
    derived = "The Hessian is not the derivative of the gradient."
    comparisons = [
        compare(tree.dot(u, along_v), tree.dot(v, product(meta, u)), bound, symmetric),
        compare(tree.dot(u, along_v), limit.value, limit.error + bound, derived),
    ]
    return summarise("meta_hessian", comparisons, DIFFERENCES, str(case))


def compiled_step(
    case: LearnerCase[M, P], *, lower: Lower[M] = tracing.traced, compiled: Callable[..., Any] | None = None
) -> Report:
    """The whole step, value and meta-gradient, traced or compiled, is the eager one.

    Args:
        case: what it is checked on.
        lower: how it is executed; `tracing.traced` traces the operations without generating code.
        compiled: (meta, tasks) to the compiled (value, gradient); None: metafunc's `value_and_grad`, whole.
    """
    learner, meta, tasks = case.learner, case.meta, case.prepared
    eager = value_and_grad(learner.task_loss)
    step = compiled or value_and_grad(learner.task_loss, lower=lower)
    expected, bound = bounded(eager, meta, tasks, passes=2 * case.num_steps + 2)
    claim = "The compiled step differs from the eager one."
    return summarise("compiled_step", [compare(step(meta, tasks), expected, bound, claim)], MATCHES, str(case))
