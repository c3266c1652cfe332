r"""Identities of implicit derivatives, on inner problems that are solved in closed form.

Ridge regression with $A = X^\top X / n$, $b = X^\top y / n$: the minimum of
$\frac1{2n}\lVert Xw - y \rVert^2 + \frac\lambda2 \lVert w - \theta \rVert^2$ is
$w = (A + \lambda I)^{-1} (b + \lambda \theta)$, and $dw/d\theta = \lambda (A + \lambda I)^{-1}$.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.testing.identities.quadratic import normal_equations
from metafunc.testing.numerics.report import Report, compare, summarise
from metafunc.testing.numerics.rounding import ROUNDING, bounded, count, rounding_bound
from metafunc.testing.problems.cases import ConvexCase, QuadraticCase
from metafunc.transforms.implicit import implicit
from metafunc.transforms.inner import gradient_descent, proximal
from metafunc.transforms.objectives import expected_query_loss
from metafunc.types import Adapt, Batch, Data, Task

Implicit = Callable[[Adapt[Any, Any], Callable[[Any, Any, Data], Any]], Adapt[Any, Any]]
"""(solver, stationarity) to a solver with the implicit derivative."""
SOLVED = f"{ROUNDING} Times the condition number of the matrix that is solved with."


def _implicit(solve: Adapt[Any, Any], stationarity: Callable[[Any, Any, Data], Any]) -> Adapt[Any, Any]:
    return implicit(solve, stationarity)


def _solution(case: QuadraticCase, meta: Tensor, support: Batch) -> tuple[Tensor, Tensor]:
    """The matrix $A + \\lambda I$ and the ridge solution."""
    hessian, linear = normal_equations(support)
    matrix = hessian + case.strength * torch.eye(len(case.params)).to(hessian)
    return matrix, torch.linalg.solve(matrix, linear + case.strength * meta)


def _adapt(case: QuadraticCase, make_implicit: Implicit) -> Adapt[Tensor, Tensor]:
    def stationarity(params: Tensor, meta: Tensor, support: Data) -> Tensor:
        found: Tensor = torch.func.grad(proximal(case.loss, meta, strength=case.strength))(params, support)
        return found

    return make_implicit(lambda meta, support: _solution(case, meta, support)[1], stationarity)


def _by_hand(case: QuadraticCase, task: Task) -> Tensor:
    matrix, solution = _solution(case, case.params, task.support)
    hessian, linear = normal_equations(task.query)
    closed: Tensor = case.strength * torch.linalg.solve(matrix, hessian @ solution - linear)
    return closed


def ridge(case: QuadraticCase, *, make_implicit: Implicit = _implicit) -> Report:
    r"""The implicit gradient of ridge regression is its closed form.

    $\lambda (A + \lambda I)^{-1} \nabla L(w; D^q)$.
    """
    adapt = _adapt(case, make_implicit)

    def gradient(params: Tensor, tasks: Task) -> Tensor:
        found: Tensor = torch.func.grad(expected_query_loss(adapt, case.loss))(params, tasks)
        return found

    tasks = [tree.at(case.tasks, i) for i in range(count(case.tasks))]
    condition = max(float(torch.linalg.cond(_solution(case, case.params, task.support)[0])) for task in tasks)
    found, rounding = bounded(gradient, case.params, case.tasks, passes=6)
    claim = "The implicit gradient of ridge regression is not its closed form."
    expected = torch.stack([_by_hand(case, task) for task in tasks]).mean(0)
    return summarise("ridge", [compare(found, expected, rounding * condition, claim)], SOLVED, str(case))


def unrolled_limit(case: QuadraticCase, *, make_implicit: Implicit = _implicit) -> Report:
    r"""The implicit gradient is the limit of the unrolled one.

    With $R = I - \eta (A + \lambda I)$ the K-th iterate is $w + R^K (\theta - w)$. Let $\rho = \lVert R \rVert$, < 1
    for $\eta$ = 2 over the sum of the extreme eigenvalues: the two gradients differ by at most
    $\rho^K (\lVert g \rVert + 2 \lVert A^q \rVert \lVert \theta - w \rVert)$. K makes $\rho^K$ about $10^{-6}$.
    """
    task = tree.at(case.tasks, 0)
    matrix, solution = _solution(case, case.params, task.support)
    spectrum = torch.linalg.eigvalsh(matrix)
    least, largest = float(spectrum[0]), float(spectrum[-1])
    # Not below 1/10: a single eigenvalue is met in one step, but by chance and not to the last bit.
    contraction = max((largest - least) / (largest + least), 0.1)
    num_steps = math.ceil(math.log(1e-6) / math.log(contraction))

    def unrolled(meta: Tensor, support: Data, /) -> Tensor:
        step_size = 2 / (largest + least)
        loss = proximal(case.loss, meta, strength=case.strength)
        return gradient_descent(loss, lr=step_size, num_steps=num_steps)(meta, support)

    def gradient(adapt: Adapt[Tensor, Tensor]) -> Tensor:
        found: Tensor = torch.func.grad(lambda meta: case.loss(adapt(meta, task.support), task.query))(case.params)
        return found

    hessian, linear = normal_equations(task.query)
    length = float((hessian @ solution - linear).norm())
    apart = length + 2 * float(torch.linalg.matrix_norm(hessian, 2)) * float((case.params - solution).norm())
    rounding = rounding_bound(lambda meta: case.strength * torch.linalg.solve(matrix, meta), case.params, passes=4)
    bound = contraction**num_steps * apart + rounding
    claim = "The implicit gradient is not the limit of the unrolled one."
    comparison = compare(gradient(_adapt(case, make_implicit)), gradient(unrolled), bound, claim)
    why = "rho^K (|g| + 2 |A| |w0 - w|): what K proximal steps leave of the difference, by the affine iteration."
    return summarise("unrolled_limit", [comparison], why, str(case))


def implicit_convex(case: ConvexCase, *, make_implicit: Implicit = _implicit) -> Report:
    r"""The implicit gradient, and its derivative, of a Poisson regression that is solved in closed form.

    With counts $e^{B\theta}$ and a square design $w = X^{-1} B \theta$. The loss is not quadratic, its Hessian
    $X^\top \mathrm{diag}(e^{Xw}) X$ moves with the solution, and the derivative is $X^{-1} B$ all the same; also
    the second derivative of a function of w follows.

    The weights $e^{Xw}$ and $e^{B\theta}$ cancel in that derivative, so no measured conditioning sees them; in
    floating-point numbers they cancel up to the error of an exponential, which is that of its exponent: a relative one
    of $\epsilon \lvert B\theta \rvert$ in each weight.
    """

    def solve(meta: Tensor, support: Data, /) -> Tensor:
        found: Tensor = torch.linalg.solve(case.design, case.rates @ meta)
        return found

    def stationarity(params: Tensor, meta: Tensor, support: Data) -> Tensor:
        return case.design.mT @ (torch.exp(case.design @ params) - torch.exp(case.rates @ meta))

    adapt = make_implicit(solve, stationarity)

    def outer(meta: Tensor) -> Tensor:
        energy: Tensor = adapt(meta, ()).square().sum() / 2
        return energy

    jacobian = torch.linalg.solve(case.design, case.rates)
    weights = torch.exp(case.rates @ case.params)
    matrix = case.design.mT @ (weights[:, None] * case.design)
    condition = float(torch.linalg.cond(matrix)) * float(torch.linalg.cond(case.design))
    gradient, first = bounded(torch.func.grad(outer), case.params, passes=6)
    hessian, second = bounded(torch.func.hessian(outer), case.params, passes=12)
    exponent = 1 + float((case.rates @ case.params).abs().max())
    one, two = (bound * condition * exponent for bound in (first, second))
    comparisons = [
        compare(gradient, jacobian.mT @ jacobian @ case.params, one, "The implicit gradient is not its closed form."),
        compare(hessian, jacobian.mT @ jacobian, two, "The implicit Hessian is not its closed form."),
    ]
    why = f"{SOLVED} And times 1 + the largest exponent, whose rounding is the weights' relative one."
    return summarise("implicit_convex", comparisons, why, str(case))
