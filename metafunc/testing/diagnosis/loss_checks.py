"""What must hold for any loss that is to be meta-learned through, at the cost of a few dozen gradients.

No check forms a matrix, so that a network of ten million parameters passes through all of them.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Generator

from metafunc import tree
from metafunc.execution.gradient import value_and_grad
from metafunc.testing.diagnosis.loss_problem import LossProblem, direction
from metafunc.testing.numerics import rounding
from metafunc.testing.numerics.differences import Difference, check_derivative
from metafunc.testing.numerics.report import Comparison, Report, identical, not_measured, summarise
from metafunc.transforms.objectives import expected
from metafunc.types import Tree

ROUNDING = (
    "Rounding: 8 sqrt(n) eps for n parameters, times the conditioning: how far the meta-gradient moves, relatively, "
    "when the parameters are moved by rounding errors."
)
DIFFERENCES = (
    "Ten times the differences' own error: the distance between two step sizes, plus rounding divided by the step."
)
LARGE = 1_000_000
"""Parameters up to which all routes to a meta-gradient are compared; a larger network is asked for those that torch has
got wrong."""
BITWISE = "Bitwise: nothing has changed that could round differently."


def first_derivative(problem: LossProblem) -> Report:
    """The gradient along a random direction is that of differences of the loss."""
    along = direction(problem.params, Generator().manual_seed(1))
    claimed = tree.dot(problem.gradient, along)
    scale = max(abs(float(claimed)), _typical(problem.gradient, along))
    found = check_derivative(
        lambda at: problem.plain(at, problem.support).detach(),
        problem.params,
        along,
        claimed,
        scale=scale,
        precision=problem.precision,
    )
    return _report(found, problem, "The gradient is not the derivative of the loss.", "")


def second_derivative(problem: LossProblem) -> Report:
    """The Hessian times a random vector is that of differences of the gradient."""
    scale = max(rounding.magnitude(problem.hessian_along), 1e-6 * rounding.magnitude(problem.gradient)) or 1.0
    found = check_derivative(
        problem.gradient_at,
        problem.params,
        problem.along,
        problem.hessian_along,
        scale=scale,
        precision=problem.precision,
    )
    claim = "The second derivative is not the derivative of the gradient."
    return _report(found, problem, claim, _worst(found.residual))


def meta_derivative(problem: LossProblem) -> Report:
    """The meta-gradient along a random direction is that of differences of the meta-loss."""
    along = direction(problem.params, Generator().manual_seed(3))
    claimed = tree.dot(problem.by_metafunc, along)
    scale = max(abs(float(claimed)), _typical(problem.by_metafunc, along))
    found = check_derivative(problem.value_at, problem.params, along, claimed, scale=scale, precision=problem.precision)
    return _report(found, problem, "The meta-gradient is not the derivative of the meta-loss.", "")


def plain_loop(problem: LossProblem) -> Report:
    """The meta-gradient under vmap is that of a Python loop over tasks by `torch.autograd`."""
    found = _distance(
        problem.by_metafunc, problem.by_plain_loop, problem, "The meta-gradient is not that of a plain loop."
    )
    return summarise("", [found], _why(problem))


def grad_of_vmap(problem: LossProblem) -> Report:
    """`torch.func.grad` of the mean, the mean of vmapped gradients, and one task at a time all agree."""
    routes = {"grad over vmap": torch.func.grad(expected(problem.task_loss))(problem.params, problem.tasks)}
    if tree.size(problem.params) <= LARGE:
        each = torch.vmap(torch.func.grad(problem.task_loss), in_dims=(None, 0))(problem.params, problem.tasks)
        routes["vmap over grad"] = tree.map(lambda leaf: leaf.mean(0), each)
        routes["chunks of one task"] = value_and_grad(problem.task_loss, chunk_size=1)(problem.params, problem.tasks)[1]
    reference = problem.by_metafunc
    found = [_distance(value, reference, problem, f"{name} gives another one.") for name, value in routes.items()]
    return summarise("", found, _why(problem))


def symmetry(problem: LossProblem) -> Report:
    """The Hessian of the loss is symmetric: the order of two derivatives does not matter."""
    v = direction(problem.params, Generator().manual_seed(4))
    uhv = float(tree.dot(problem.along, problem.hvp(v, "reverse-over-reverse")))
    vhu = float(tree.dot(v, problem.product))
    scale = max(abs(uhv), _typical(problem.product, v))
    claim = "The Hessian of the loss is not symmetric."
    return Report("", abs(uhv - vhu) / scale, 10 * problem.rounding, _why(problem), "", claim)


def modes(problem: LossProblem) -> Report:
    """The Hessian times a vector is the same by forward and by reverse mode."""
    claim = "Forward mode and reverse mode give different second derivatives."
    try:
        forward = problem.hvp(problem.along, "forward-over-reverse")
    except (RuntimeError, NotImplementedError) as error:
        if not any(word in str(error) for word in ("jvp", "forward AD", "forward mode")):
            raise
        return not_measured("An operation has no forward derivative, and none is needed.")
    return summarise("", [_distance(forward, problem.product, problem, claim, factor=10.0)], _why(problem))


def pure(problem: LossProblem) -> Report:
    """Called twice, the answer is bitwise the same; arguments and the global generator are as they were."""
    before, generator = tree.map(torch.clone, (problem.params, problem.tasks)), torch.get_rng_state()
    calls: list[tuple[str, Callable[[], Tree]]] = [
        ("The loss", lambda: problem.loss(problem.params, problem.support)),
        ("The meta-gradient", lambda: value_and_grad(problem.task_loss)(problem.params, problem.tasks)[1]),
    ]
    firsts = (problem.loss(problem.params, problem.support), problem.by_metafunc)
    found = [
        identical(first, call(), f"{name} differs when it is computed a second time.")
        for first, (name, call) in zip(firsts, calls, strict=True)
    ]
    found.append(identical((problem.params, problem.tasks), before, "The arguments are changed."))
    found.append(identical(torch.get_rng_state(), generator, "The global random generator is used."))
    return summarise("", found, BITWISE)


CHECKS: Mapping[str, Callable[[LossProblem], Report]] = MappingProxyType(
    {
        "pure_loss": pure,
        "gradient": first_derivative,
        "second_derivative": second_derivative,
        "hessian_symmetry": symmetry,
        "hvp_modes": modes,
        "autograd_loop": plain_loop,
        "batching": grad_of_vmap,
        "finite_differences": meta_derivative,
    }
)
"""By name, in the order in which a failure tells most about its cause."""


def _distance(first: Tree, second: Tree, problem: LossProblem, claim: str, *, factor: float = 1.0) -> Comparison:
    """Two trees, relative to the second one's length."""
    residual = tree.sub(first, second)
    error = rounding.magnitude(residual) / (rounding.magnitude(second) or 1.0)
    return Comparison(error, factor * problem.rounding, _worst(residual), claim)


def _why(problem: LossProblem) -> str:
    return f"{ROUNDING} {problem.rounds_to}" if problem.rounds else ROUNDING


def _report(found: Difference, problem: LossProblem, claim: str, leaf: str) -> Report:
    if math.isinf(found.tolerance):
        return not_measured(problem.rounds_to or "The loss has kinks or noise at every step size.")
    return Report("", found.error, found.tolerance, DIFFERENCES, leaf, claim)


def _worst(residual: Tree) -> str:
    sizes = dict(zip(tree.paths(residual), map(rounding.magnitude, tree.leaves(residual)), strict=True))
    return max(sizes, key=lambda name: sizes[name])


def _typical(gradient: Tree, along: Tree) -> float:
    """How long the product of these lengths is when the directions are independent."""
    return rounding.magnitude(gradient) * rounding.magnitude(along) / tree.size(along) ** 0.5 or 1.0
