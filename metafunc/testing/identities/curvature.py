r"""Identities of second derivatives: of the loss on a support set, and of a model's generalised Gauss-Newton matrix."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.testing.numerics.differences import richardson
from metafunc.testing.numerics.report import Comparison, Report, compare, summarise
from metafunc.testing.numerics.rounding import (
    DIFFERENCES,
    ROUNDING,
    bounded,
    direction,
    epsilon,
    hessian_product,
    roundings,
)
from metafunc.testing.problems.cases import LossCase, ModelCase
from metafunc.transforms import curvature
from metafunc.types import P, Scalar

DENSE_LIMIT = 256
"""Up to this number of parameters whole matrices are compared; above, products with random vectors."""

Hvp = Callable[[Callable[[Any], Tensor], Any, Any], Any]
"""(scalar function, params, vector) to the Hessian times the vector."""


def _support_loss(case: LossCase[P]) -> Callable[[P], Scalar]:
    support = tree.at(case.tasks, 0).support
    return lambda params: case.loss(params, support)


def hessian_symmetry(case: LossCase[P], *, hvp: Hvp = curvature.hvp) -> Report:
    r"""The Hessian of the loss is symmetric: the order of two derivatives does not matter.

    $u^\top (H v) = v^\top (H u)$.
    """
    loss = _support_loss(case)
    u, v = direction(case.params, 1), direction(case.params, 2)
    along_v, rounding = bounded(lambda params: hvp(loss, params, v), case.params, passes=4)
    both, bound = (tree.dot(u, along_v), tree.dot(v, hvp(loss, case.params, u))), rounding * float(tree.norm(u))
    return summarise(
        "hessian_symmetry", [compare(*both, bound, "The Hessian of the loss is not symmetric.")], ROUNDING, str(case)
    )


def hvp_modes(case: LossCase[P], *, hvp: Hvp | None = None) -> Report:
    r"""The Hessian times a vector is the same by forward and reverse mode, in every order of the two.

    The other side is the Hessian of plain autograd: up to `DENSE_LIMIT` parameters the dense matrix, column by column
    of which all products are taken under `vmap`; above, its product with a random vector.
    """
    loss = _support_loss(case)
    flat, unravel = tree.ravel(case.params)
    dense = len(flat) <= DENSE_LIMIT
    vectors = torch.eye(len(flat)).to(flat) if dense else tree.ravel(direction(case.params, 1))[0][None]

    def of_vector(vector: Tensor) -> Tensor:
        return loss(unravel(vector))

    exact, bound = bounded(lambda at: torch.stack([hessian_product(of_vector, at, v) for v in vectors]), flat, passes=4)
    modes = {"the given": hvp} if hvp else _MODES
    found = {name: torch.vmap(lambda v, mode=mode: mode(of_vector, flat, v))(vectors) for name, mode in modes.items()}
    comparisons = [compare(value, exact, bound, f"In {name} mode, H v is wrong.") for name, value in found.items()]
    if not hvp:
        u = tree.ravel(direction(case.params, 2))[0]
        forward = torch.vmap(lambda v: _forward_over_forward(of_vector, flat, u, v))(vectors)
        claim = "In forward-over-forward mode, u'H v is wrong."
        comparisons.append(compare(forward, exact @ u, bound * float(u.norm()), claim))
    return summarise("hvp_modes", comparisons, ROUNDING, str(case))


def _reverse_over_forward(function: Callable[[P], Tensor], params: P, vector: P) -> P:
    found: P = torch.func.grad(lambda at: torch.func.jvp(function, (at,), (vector,))[1])(params)
    return found


def _forward_over_forward(function: Callable[[Tensor], Tensor], at: Tensor, u: Tensor, v: Tensor) -> Tensor:
    def along_u(at: Tensor) -> Tensor:
        found: Tensor = torch.func.jvp(function, (at,), (u,))[1]
        return found

    second: Tensor = torch.func.jvp(along_u, (at,), (v,))[1]
    return second


_MODES: dict[str, Hvp] = {
    "forward-over-reverse": lambda f, x, v: curvature.hvp(f, x, v, mode="forward-over-reverse"),
    "reverse-over-reverse": lambda f, x, v: curvature.hvp(f, x, v, mode="reverse-over-reverse"),
    "reverse-over-forward": _reverse_over_forward,
}


def derivatives(case: LossCase[P]) -> Report:
    r"""The gradient is the derivative of the loss, and the Hessian that of the gradient, by difference quotients.

    Finds an operation whose backward, or whose backward's backward, was written by hand and is wrong.
    """
    loss = _support_loss(case)
    along, across = direction(case.params, 1), direction(case.params, 2)
    first = richardson(loss, case.params, along)
    second = richardson(lambda at: tree.dot(torch.func.grad(loss)(at), across), case.params, along)
    length = float(tree.norm(along))
    found, slack = bounded(torch.func.grad(loss), case.params, passes=2)
    product, second_slack = bounded(lambda params: hessian_product(loss, params, along), case.params, passes=4)
    comparisons = [
        compare(
            tree.dot(found, along),
            first.value,
            first.error + slack * length,
            "The gradient is not the loss's derivative.",
        ),
        compare(
            tree.dot(product, across),
            second.value,
            second.error + second_slack * length,
            "The Hessian is not the gradient's derivative.",
        ),
    ]
    return summarise("derivatives", comparisons, DIFFERENCES, str(case))


GgnVp = Callable[[Callable[[Any], Tensor], Callable[[Tensor], Tensor], Any, Any], Any]
"""(outputs of params, loss of outputs, params, vector) to the Gauss-Newton matrix times the vector."""


def ggn_linear(case: ModelCase[P], *, ggn_vp: GgnVp = curvature.ggn_vp) -> Report:
    r"""For a model that is linear in its parameters the generalised Gauss-Newton matrix is the Hessian.

    Taken of the model's tangent $z(\theta + d) = f(\theta) + J d$, under the squared error and under the case's own
    loss.

    Where a loss is flat its curvature is a small difference of larger numbers: that of the cross-entropy is
    $\mathrm{diag}(p) - p p^\top$ per row, of probabilities that are rounded by up to $\epsilon$ whatever is left
    of them. So the product is also off by $8 \sqrt n\,\epsilon$ of what it would be with curvature 1, which is the
    product under the squared error, a mean over the outputs of all rows, times the outputs of one.
    """

    def tangent(params: P) -> Tensor:
        def apply(at: P) -> Tensor:
            return case.apply(at, case.batch.x)

        change: Tensor = torch.func.jvp(apply, (case.params,), (tree.sub(params, case.params),))[1]
        return apply(case.params) + change

    def square(outputs: Tensor) -> Tensor:
        return 0.5 * (outputs - 1.0).square().mean()

    v = direction(case.params, 1)
    unit = float(tree.norm(ggn_vp(tangent, square, case.params, v))) * tangent(case.params).shape[-1]
    flat = roundings(case.params, passes=4) * epsilon(case.params) * unit
    comparisons = []
    for name, loss in (("the squared error", square), ("its loss", lambda z: case.loss(z, case.batch))):

        def product(params: P, loss: Callable[[Tensor], Tensor] = loss) -> P:
            found: P = ggn_vp(tangent, loss, params, v)
            return found

        def composed(params: P, loss: Callable[[Tensor], Tensor] = loss) -> Tensor:
            return loss(tangent(params))

        found, bound = bounded(product, case.params, passes=4)
        exact = curvature.hvp(composed, case.params, v)
        claim = f"The Gauss-Newton matrix of a linear model under {name} is not the Hessian."
        comparisons.append(compare(found, exact, bound + flat, claim))
    why = f"{ROUNDING} Plus 8 sqrt(n) eps of the product with curvature 1: what rounding leaves where a loss is flat."
    return summarise("ggn_linear", comparisons, why, str(case))


def ggn_positive(case: ModelCase[P], *, ggn_vp: GgnVp = curvature.ggn_vp) -> Report:
    r"""The Gauss-Newton matrix of a convex loss is symmetric and positive semi-definite, whatever the model.

    Up to `DENSE_LIMIT` parameters the error is how far below zero its least eigenvalue lies; above, the least
    $v^\top G v$ of a few random v. Its rounding is also that of the same matrix with curvature 1, as in `ggn_linear`.
    """
    flat, unravel = tree.ravel(case.params)
    dense = len(flat) <= DENSE_LIMIT
    few = [tree.ravel(direction(case.params, seed))[0] for seed in range(4)]
    vectors = torch.eye(len(flat)).to(flat) if dense else torch.stack(few)

    def outputs(at: Tensor) -> Tensor:
        return case.apply(unravel(at), case.batch.x)

    def matrix_under(loss: Callable[[Tensor], Scalar]) -> Tensor:
        found: Tensor = torch.vmap(lambda v: ggn_vp(outputs, loss, flat, v))(vectors) @ vectors.mT
        return found

    matrix = matrix_under(lambda z: case.loss(z, case.batch))
    unit = float(matrix_under(lambda z: 0.5 * z.square().mean()).norm()) * outputs(flat).shape[-1]
    scale = float(matrix.norm()) + unit
    bound = roundings(flat, case.batch, passes=4) * epsilon(flat) * scale
    least = float(torch.linalg.eigvalsh((matrix + matrix.mT) / 2)[0] if dense else matrix.diagonal().min())
    comparisons = [
        Comparison(max(0.0, -least), bound, "", "The Gauss-Newton matrix has a negative eigenvalue."),
        compare(matrix, matrix.mT, bound, "The Gauss-Newton matrix is not symmetric."),
    ]
    why = (
        "8 sqrt(n) eps (|G| + |G with curvature 1|): by Weyl's inequality an eigenvalue moves no further than the "
        "matrix's rounding errors."
    )
    return summarise("ggn_positive", comparisons, why, str(case))
