r"""Gradients of a solved problem by the implicit function theorem, without going back through the solver.

An inner problem is solved where $F(w, \theta) = 0$, such as a vanishing gradient. However the solution was found,

$$\frac{dw}{d\theta} = -H^{-1} \frac{\partial F}{\partial \theta}, \qquad H = \frac{\partial F}{\partial w},$$

so an outer derivative costs one linear solve with $H$ (here of the *cotangent*) and no memory of the inner steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import at_least
from metafunc.transforms.curvature import conjugate_gradient
from metafunc.types import Adapt, Data, M, P


def implicit(
    solve: Adapt[M, P],
    stationarity: Callable[[P, M, Data], P],
    *,
    dense_limit: int = 256,
    num_steps: int = 20,
    damping: float = 0.0,
    tolerance: float = 0.0,
) -> Adapt[M, P]:
    r"""The same solver with the derivative of an exact solution, $dw/d\theta = -H^{-1}\, \partial F / \partial \theta$.

    The value is what `solve` returns, bit for bit, and the solver itself is never differentiated. Derivatives are taken
    with respect to the meta-parameters and to the floating-point part of the support set, and are as exact as the
    solution is stationary. In eager mode they may be taken to any order and in either direction. Inside `torch.compile`
    only the dense solve is available, and only first derivatives are right.

    Up to `dense_limit` task parameters $H$ is formed and factorised, which asks only that it be invertible. Above, the
    system is solved by conjugate gradients, which ask that it be symmetric and positive definite, as the Hessian of a
    loss at a minimum is; a proximal term $\frac\lambda2 \|w - \theta\|^2$ makes it so for large enough $\lambda$.

    Args:
        solve: (meta, support) to the solution $w$.
        stationarity: (params, meta, support) to $F$, a tree like the params that vanishes at the solution: the gradient
            of the inner objective with respect to the params. It must use meta and support through its arguments only.
        dense_limit: the largest number of task parameters for which $H$ is formed.
        num_steps: steps of conjugate gradients.
        damping: $\delta \ge 0$, solves with $H + \delta I$ above the limit.
        tolerance: relative residual at which conjugate gradients stay where they are.

    Returns:
        (meta, support) to the solution, with the implicit derivative.

    Raises:
        ValueError: if `dense_limit` is negative, `num_steps` not positive, or `damping` or `tolerance` negative.
        RuntimeError: inside `torch.compile`, above `dense_limit`.

    Examples:
        >>> import torch
        >>> # argmin over w of (w - y)² / 2 + (w - m)² / 2 is (m + y) / 2.
        >>> adapt = implicit(lambda m, y: (m + y) / 2, lambda w, m, y: (w - y) + (w - m))
        >>> torch.func.grad(lambda m: adapt(m, torch.tensor([3.0])).sum())(torch.tensor([1.0]))
        tensor([0.5000])

    References:
        Rajeswaran, Finn, Kakade, Levine (2019), "Meta-Learning with Implicit Gradients";
        Blondel et al. (2022), "Efficient and Modular Implicit Differentiation".
    """
    at_least(1, num_steps=num_steps)
    at_least(0, dense_limit=dense_limit, damping=damping, tolerance=tolerance)

    def by_conjugate_gradient(matvec: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
        return conjugate_gradient(matvec, target, num_steps=num_steps, damping=damping, tolerance=tolerance)

    def adapt(meta: M, support: Data, /) -> P:
        solution = tree.detach(solve(tree.detach(meta), tree.detach(support)))
        flat, unravel = tree.ravel(solution)
        given = (meta, support)

        def residual(w: Tensor, leaves: list[Tensor]) -> Tensor:
            vanishing = stationarity(unravel(w), *tree.unflatten(given, leaves))
            return tree.ravel(tree.aligned(solution, vanishing))[0]

        dense = flat.numel() <= dense_limit
        if torch.compiler.is_compiling():
            if not dense:
                raise RuntimeError(
                    f"torch.compile cannot trace the matrix-free solve of {flat.numel()} parameters; raise "
                    f"dense_limit = {dense_limit} to that number, or do not compile"
                )
            return unravel(_newton(residual, flat, tree.leaves(given)))
        linear_solve = None if dense else by_conjugate_gradient
        return unravel(_Root.apply(_Problem(residual, linear_solve), flat, *tree.leaves(given)))  # type: ignore[no-untyped-call]  # torch leaves it unannotated

    return adapt


@dataclass(frozen=True)
class _Problem:
    residual: Callable[[Tensor, list[Tensor]], Tensor]
    matrix_free: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor] | None

    def solve(self, w: Tensor, leaves: list[Tensor], target: Tensor, *, transposed: bool) -> Tensor:
        """The solution of H x = target, or of the transposed system."""
        if self.matrix_free:
            pull_back = torch.func.vjp(lambda w: self.residual(w, leaves), w)[1]
            return self.matrix_free(lambda v: pull_back(v)[0], target)
        matrix = torch.func.jacrev(self.residual)(w, leaves)
        solved: Tensor = torch.linalg.solve(matrix.mT if transposed else matrix, target)
        return solved

    def as_function_of(self, chosen: list[int], w: Tensor, leaves: list[Tensor]) -> Callable[..., Tensor]:
        """The residual as a function of some of the leaves, the others held."""

        def function(*values: Tensor) -> Tensor:
            replaced = dict(zip(chosen, values, strict=True))
            return self.residual(w, [replaced.get(i, leaf) for i, leaf in enumerate(leaves)])

        return function


class _Root(torch.autograd.Function):
    """The identity on a solution, with the derivative of the problem that it solves.

    What is saved is the *output*, which itself depends on the leaves by this very rule: that makes the derivatives of
    the derivatives right as well.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(problem: _Problem, solution: Tensor, *leaves: Tensor) -> Tensor:
        return solution.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.problem, _, *leaves = inputs
        ctx.save_for_backward(output, *leaves)
        ctx.save_for_forward(output, *leaves)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        w, *leaves = ctx.saved_tensors
        solved = ctx.problem.solve(w, leaves, cotangent, transposed=True)
        chosen = _floating(leaves)
        function = ctx.problem.as_function_of(chosen, w, leaves)
        gradients = torch.func.vjp(function, *(leaves[i] for i in chosen))[1](-solved)
        by_leaf = dict(zip(chosen, gradients, strict=True))
        return None, None, *(by_leaf.get(i) for i in range(len(leaves)))

    @staticmethod
    def jvp(ctx: Any, _: None, __: Tensor, *tangents: Tensor | None) -> Tensor:
        w, *leaves = ctx.saved_tensors
        chosen = _floating(leaves)
        filled = tuple(torch.zeros_like(leaves[i]) if (t := tangents[i]) is None else t for i in chosen)
        function = ctx.problem.as_function_of(chosen, w, leaves)
        change = torch.func.jvp(function, tuple(leaves[i] for i in chosen), filled)[1]
        solved: Tensor = ctx.problem.solve(w, leaves, change, transposed=False)
        return -solved


def _newton(residual: Callable[[Tensor, list[Tensor]], Tensor], solution: Tensor, leaves: list[Tensor]) -> Tensor:
    """A Newton step whose value is taken away again: its first derivative is the implicit one, in plain operations."""
    matrix = torch.func.jacrev(residual)(solution, [leaf.detach() for leaf in leaves])
    step = torch.linalg.solve(matrix, residual(solution, leaves))
    shifted: Tensor = solution - (step - step.detach())
    return shifted


def _floating(leaves: list[Tensor]) -> list[int]:
    return [i for i, leaf in enumerate(leaves) if leaf.is_floating_point()]
