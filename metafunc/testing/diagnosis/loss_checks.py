"""What must hold for any loss that is to be meta-learned through, at the price of a few dozen gradients.

No check forms a matrix, so that a network of ten million parameters passes through all of them.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Generator

from metafunc import tree
from metafunc.execution.gradient import value_and_grad
from metafunc.testing.diagnosis.loss_problem import Probe, direction
from metafunc.testing.numerics import rounding
from metafunc.testing.numerics.differences import Difference, compare
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


def first_derivative(probe: Probe) -> Report:
    """The gradient along a random direction is what differences of the loss say."""
    along = direction(probe.params, Generator().manual_seed(1))
    claimed = tree.dot(probe.slope, along)
    scale = max(abs(float(claimed)), _typical(probe.slope, along))
    found = compare(lambda at: probe.plain(at, probe.support).detach(), probe.params, along, claimed, scale=scale)
    return _report(found, "The gradient is not the derivative of the loss.", "")


def second_derivative(probe: Probe) -> Report:
    """The Hessian times a random vector is what differences of the gradient say."""
    scale = max(rounding.magnitude(probe.bend), 1e-6 * rounding.magnitude(probe.slope)) or 1.0
    found = compare(probe.slope_at, probe.params, probe.along, probe.bend, scale=scale)
    return _report(found, "The second derivative is not the derivative of the gradient.", _worst(found.residual))


def meta_derivative(probe: Probe) -> Report:
    """The meta-gradient along a random direction is what differences of the meta-loss say."""
    along = direction(probe.params, Generator().manual_seed(3))
    claimed = tree.dot(probe.by_metafunc, along)
    scale = max(abs(float(claimed)), _typical(probe.by_metafunc, along))
    found = compare(probe.value_at, probe.params, along, claimed, scale=scale)
    return _report(found, "The meta-gradient is not the derivative of the meta-loss.", "")


def plain_loop(probe: Probe) -> Report:
    """The meta-gradient under vmap is that of a Python loop over tasks by `torch.autograd`."""
    found = _distance(probe.by_metafunc, probe.by_plain_loop, probe, "The meta-gradient is not that of a plain loop.")
    return summarise("", [found], ROUNDING)


def grad_of_vmap(probe: Probe) -> Report:
    """`torch.func.grad` of the mean, the mean of vmapped gradients, and one task at a time all agree."""
    routes = {"grad over vmap": torch.func.grad(expected(probe.task_loss))(probe.params, probe.tasks)}
    if tree.size(probe.params) <= LARGE:
        each = torch.vmap(torch.func.grad(probe.task_loss), in_dims=(None, 0))(probe.params, probe.tasks)
        routes["vmap over grad"] = tree.map(lambda leaf: leaf.mean(0), each)
        routes["chunks of one task"] = value_and_grad(probe.task_loss, chunk_size=1)(probe.params, probe.tasks)[1]
    reference = probe.by_metafunc
    found = [_distance(value, reference, probe, f"{name} gives another one.") for name, value in routes.items()]
    return summarise("", found, ROUNDING)


def symmetry(probe: Probe) -> Report:
    """The Hessian of the loss is symmetric: the order of two derivatives does not matter."""
    v = direction(probe.params, Generator().manual_seed(4))
    uhv = float(tree.dot(probe.along, probe.hvp(v, "reverse-over-reverse")))
    vhu = float(tree.dot(v, probe.product))
    scale = max(abs(uhv), _typical(probe.product, v))
    claim = "The Hessian of the loss is not symmetric."
    return Report("", abs(uhv - vhu) / scale, 10 * probe.rounding, ROUNDING, "", claim)


def modes(probe: Probe) -> Report:
    """The Hessian times a vector is the same by forward and by reverse mode."""
    claim = "Forward mode and reverse mode give different second derivatives."
    try:
        forward = probe.hvp(probe.along, "forward-over-reverse")
    except (RuntimeError, NotImplementedError) as error:
        if not any(word in str(error) for word in ("jvp", "forward AD", "forward mode")):
            raise
        return not_measured("An operation has no forward derivative, and none is needed.")
    return summarise("", [_distance(forward, probe.product, probe, claim, factor=10.0)], ROUNDING)


def pure(probe: Probe) -> Report:
    """Called twice, the answer is bitwise the same; arguments and the global generator are as they were."""
    before, dice = tree.map(torch.clone, (probe.params, probe.tasks)), torch.get_rng_state()
    calls: list[tuple[str, Callable[[], Tree]]] = [
        ("The loss", lambda: probe.loss(probe.params, probe.support)),
        ("The meta-gradient", lambda: value_and_grad(probe.task_loss)(probe.params, probe.tasks)[1]),
    ]
    firsts = (probe.loss(probe.params, probe.support), probe.by_metafunc)
    found = [
        identical(first, call(), f"{name} differs when it is computed a second time.")
        for first, (name, call) in zip(firsts, calls, strict=True)
    ]
    found.append(identical((probe.params, probe.tasks), before, "The arguments are changed."))
    found.append(identical(torch.get_rng_state(), dice, "The global random generator is used."))
    return summarise("", found, BITWISE)


CHECKS: Mapping[str, Callable[[Probe], Report]] = MappingProxyType(
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


def _distance(first: Tree, second: Tree, probe: Probe, claim: str, *, factor: float = 1.0) -> Comparison:
    """Two trees, relative to the second one's length."""
    residual = tree.sub(first, second)
    error = rounding.magnitude(residual) / (rounding.magnitude(second) or 1.0)
    return Comparison(error, factor * probe.rounding, _worst(residual), claim)


def _report(found: Difference, claim: str, leaf: str) -> Report:
    if math.isinf(found.tolerance):
        return not_measured("The loss has kinks or noise at every step size.")
    return Report("", found.error, found.tolerance, DIFFERENCES, leaf, claim)


def _worst(residual: Tree) -> str:
    sizes = dict(zip(tree.paths(residual), map(rounding.magnitude, tree.leaves(residual)), strict=True))
    return max(sizes, key=lambda name: sizes[name])


def _typical(slope: Tree, along: Tree) -> float:
    """How long the product of these lengths is when the directions are independent."""
    return rounding.magnitude(slope) * rounding.magnitude(along) / tree.size(along) ** 0.5 or 1.0
