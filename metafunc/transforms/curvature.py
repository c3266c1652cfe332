r"""Curvature without matrices: products with second derivatives, and what can be solved or measured with them.

Everything acts on any scalar function of a tree of tensors, the inner loss as well as the meta-objective; bind the data
first, as in `hvp(lambda params: loss(params, support), params, vector)`. Loops have a fixed length and no branch
depends on a value, so all of it runs under `vmap`, `grad` and `torch.compile`.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.checks import at_least, one_of
from metafunc.types import P, Scalar, Tree

Mode: TypeAlias = Literal["forward-over-reverse", "reverse-over-reverse"]
MODES = get_args(Mode)


def hvp(function: Callable[[P], Scalar], params: P, vector: P, *, mode: Mode = "forward-over-reverse") -> P:
    r"""The Hessian of a scalar function times a vector, $\nabla^2 f(\theta)\, v$, for the cost of a few gradients.

    Args:
        function: the scalar function $f$ of a tree.
        params: where the Hessian is taken, $\theta$.
        vector: $v$, a tree like `params`.
        mode: "forward-over-reverse" differentiates the gradient along $v$ and keeps no second graph;
            "reverse-over-reverse" differentiates $v^\top \nabla f$, for operations without a forward derivative and for
            a product that is both vmapped and compiled, which torch 2.13 does not do in forward mode.

    Returns:
        The product, a tree like `params`.

    Raises:
        ValueError: if `mode` is neither of the two.

    Examples:
        >>> import torch
        >>> hvp(lambda x: (x**3).sum(), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]))
        tensor([ 6., 12.])

    References:
        Pearlmutter, "Fast Exact Multiplication by the Hessian", Neural Computation 1994.
    """
    one_of(mode, MODES, "mode")
    gradient = torch.func.grad(function)
    if mode == "forward-over-reverse":
        # Forward mode refuses a tangent whose elements share memory, such as an expanded one.
        vector = tree.map(torch.Tensor.contiguous, vector)
        product: P = torch.func.jvp(gradient, (tree.map(torch.Tensor.contiguous, params),), (vector,))[1]
        return product
    return torch.func.vjp(gradient, params)[1](vector)[0]  # type: ignore[no-any-return]  # a pull-back is untyped


def ggn_vp(output: Callable[[P], Tree], loss: Callable[[Tree], Scalar], params: P, vector: P) -> P:
    r"""The generalised Gauss-Newton matrix times a vector, $J^\top \, \nabla^2_z \ell(z) \, J v$ with $z = f(\theta)$.

    It is the Hessian of $\ell \circ f$ without the curvature of $f$, and positive semi-definite whenever $\ell$ is
    convex. For the negative log-likelihood of an exponential family in its natural parameters it is the Fisher matrix.

    Args:
        output: $f$, from parameters to a model's outputs.
        loss: $\ell$, from outputs to a scalar.
        params: where the matrix is taken, $\theta$.
        vector: $v$, a tree like `params`.

    Returns:
        The product, a tree like `params`.

    Examples:
        >>> import torch
        >>> x = torch.tensor([1.0, 2.0])
        >>> ggn_vp(lambda w: (w * x).exp(), lambda z: z.square().sum() / 2, torch.tensor(0.0), torch.tensor(1.0))
        tensor(5.)

    References:
        Schraudolph, "Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent", Neural Computation 2002.
    """
    outputs, pull_back = torch.func.vjp(output, params)[:2]
    # The pull-back is linear, so pulling *it* back is J v: reverse mode throughout, which also compiles under vmap.
    push = torch.func.vjp(lambda cotangent: pull_back(cotangent)[0], tree.zeros_like(outputs))[1]
    bent = hvp(loss, outputs, push(vector)[0], mode="reverse-over-reverse")
    return pull_back(bent)[0]  # type: ignore[no-any-return]  # a pull-back is untyped


def hessian(
    function: Callable[[P], Scalar], params: P, *, dense_limit: int = 4096, mode: Mode = "reverse-over-reverse"
) -> Float[Tensor, "size size"]:
    r"""The dense Hessian $\nabla^2 f(\theta)$ over the parameters as one vector, in the order of `tree.ravel`.

    Args:
        function: the scalar function $f$ of a tree.
        params: where the Hessian is taken, $\theta$.
        dense_limit: the largest number of parameters for which the matrix is formed. At the default it takes 64 MiB in
            single precision.
        mode: how `hvp` forms each column.

    Returns:
        The symmetric matrix (size, size).

    Raises:
        ValueError: if there are more than `dense_limit` parameters.

    Examples:
        >>> import torch
        >>> hessian(lambda p: p["a"] * p["b"].square().sum(), {"a": torch.tensor(1.0), "b": torch.tensor([2.0])})
        tensor([[0., 4.],
                [4., 2.]])
    """
    flat, unravel = tree.ravel(params)
    size = flat.numel()
    if size > dense_limit:
        gib = size**2 * flat.element_size() / 2**30
        raise ValueError(
            f"the dense Hessian of {size} parameters would take {gib:.3g} GiB, and dense_limit = {dense_limit} forbids "
            "it; use hvp for products, conjugate_gradient for solves and top_eigenvalues for the spectrum, or raise "
            "dense_limit"
        )
    basis = torch.eye(size, dtype=flat.dtype, device=flat.device)
    columns: Tensor = torch.vmap(lambda v: hvp(lambda x: function(unravel(x)), flat, v, mode=mode))(basis)
    return columns


def conjugate_gradient(
    matvec: Callable[[P], P], target: P, *, num_steps: int, damping: float = 0.0, tolerance: float = 0.0
) -> P:
    r"""Solve $(A + \lambda I)\, x = b$ for a positive definite $A$ that is known only by its products.

    $$x_{k+1} = x_k + \alpha_k p_k, \quad r_{k+1} = r_k - \alpha_k A p_k, \quad
    \alpha_k = \frac{r_k^\top r_k}{p_k^\top A p_k}, \quad
    p_{k+1} = r_{k+1} + \frac{r_{k+1}^\top r_{k+1}}{r_k^\top r_k} p_k$$

    The number of steps is fixed. A solve that has converged, or meets a direction that is not of positive curvature,
    stays where it is (chosen by `where`, not by a branch), so a zero residual yields no NaN.

    Args:
        matvec: $v \mapsto A v$ on trees.
        target: the right-hand side $b$.
        num_steps: products to spend; in exact arithmetic the number of distinct eigenvalues suffices.
        damping: $\lambda$, added to the diagonal.
        tolerance: stay once $\|r\| \le$ `tolerance` $\|b\|$.

    Returns:
        The solution $x$, a tree like `target`.

    Raises:
        ValueError: if `num_steps` is not positive, or `damping` or `tolerance` is negative.

    Examples:
        >>> import torch
        >>> diagonal = torch.tensor([1.0, 2.0])
        >>> conjugate_gradient(lambda v: diagonal * v, torch.tensor([1.0, 1.0]), num_steps=2)
        tensor([1.0000, 0.5000])

    References:
        Hestenes and Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", 1952.
    """
    at_least(1, num_steps=num_steps)
    at_least(0, damping=damping, tolerance=tolerance)
    solution, residual, direction = tree.zeros_like(target), target, target
    square = tree.dot(residual, residual)
    enough = tolerance**2 * square
    for _ in range(num_steps):
        product = tree.add_scaled(matvec(direction), damping, direction)
        curvature = tree.dot(direction, product)
        active = (square > enough) & (curvature > 0)
        step = torch.where(active, square / torch.where(active, curvature, 1.0), 0.0)
        solution = tree.add_scaled(solution, step, direction)
        residual = tree.add_scaled(residual, -step, product)
        new_square = tree.dot(residual, residual)
        turn = torch.where(active, new_square / torch.where(active, square, 1.0), 0.0)
        direction = tree.map(lambda r, p, t=turn, a=active: torch.where(a, r + t * p, p), residual, direction)
        square = new_square
    return solution


def top_eigenvalues(matvec: Callable[[P], P], start: P, *, num_steps: int = 20) -> Float[Tensor, " num_eigenvalues"]:
    r"""The largest eigenvalues of a symmetric matrix that is known only by its products.

    Block Lanczos: the Rayleigh-Ritz values of $Q^\top A Q$, with $Q$ an orthonormal basis of the Krylov space of the
    starting block $V$, $[V, AV, A^2V, \dots]$. Every value is a lower bound of the true one. A repeated eigenvalue is
    found as often as it occurs.

    Args:
        matvec: $v \mapsto A v$ on trees, such as `lambda v: hvp(f, params, v)`; negate it for the smallest eigenvalues.
        start: the block $V$: a tree like the parameters with a leading axis of as many random vectors as eigenvalues
            are wanted, such as `gaussian.standard_noise(params, generator, num_draws=3)`.
        num_steps: how often the block is multiplied. The basis never exceeds the number of parameters.

    Returns:
        The eigenvalues in descending order (num_eigenvalues,).

    Raises:
        ValueError: if `num_steps` is not positive or there are more starting vectors than parameters.

    Examples:
        >>> import torch
        >>> diagonal = torch.tensor([3.0, -5.0, 1.0])
        >>> top_eigenvalues(lambda v: diagonal * v, torch.tensor([[1.0, 1.0, 1.0]]), num_steps=3)
        tensor([3.0000])

    References:
        Golub and Underwood, "The Block Lanczos Method for Computing Eigenvalues", 1977.
    """
    first = tree.at(start, 0)
    _, unravel = tree.ravel(first)
    block = tree.rows(start).mT
    size, width = block.shape
    at_least(1, num_steps=num_steps)
    if width > size:
        raise ValueError(f"{width} starting vectors for {size} parameters: there must be at most as many vectors.")
    apply = torch.vmap(lambda v: tree.ravel(tree.aligned(first, matvec(unravel(v))))[0], in_dims=1, out_dims=1)
    # Householder's QR completes a rank-deficient block by directions orthogonal to the whole basis, so that an
    # exhausted Krylov space restarts by itself.
    basis = torch.linalg.qr(block)[0]
    images = apply(basis)
    for _ in range(min(num_steps, -(-size // width)) - 1):
        block = torch.linalg.qr(torch.cat([basis, images[:, -width:]], dim=1))[0][:, basis.shape[1] :]
        basis, images = torch.cat([basis, block], dim=1), torch.cat([images, apply(block)], dim=1)
    projected = basis.mT @ images
    eigenvalues: Tensor = torch.linalg.eigvalsh((projected + projected.mT) / 2)
    return eigenvalues.flip(0)[:width]
