"""Inner steps that keep their inputs only, and are computed again where their derivative is asked for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from metafunc import tree
from metafunc.transforms.inner.step import Step
from metafunc.types import Adapt, Data, P


def rematerialised(step: Adapt[P, P]) -> Adapt[P, P]:
    r"""The same step, of which only $(\theta_k, D)$ is kept for the way back: one set of parameters per step.

    Value and derivatives are the step's own, to every order of reverse mode and under `vmap`; the meta-gradient takes
    one more computation of each step. `fit` runs such a step eagerly, since a traced graph would take the memory that
    is saved (a learner's `traceable=False` tells it beforehand). Forward mode (`torch.func.jvp`, and so
    `torch.func.hessian`) is not there: take `torch.func.jacrev(torch.func.grad(...))`. `torch.utils.checkpoint` fails
    under `torch.func`.

    Args:
        step: one update that carries no optimiser's state from step to step, such as one of plain gradient descent. It
            may not close over tensors that are differentiated, such as learned step sizes: their derivative would be
            lost. What it depends on are its two arguments.

    Returns:
        (params, support) to params. Give it to `repeat` or `path` afterwards: a finished loop of K steps saves nothing.
        Parts of a long loop may be rematerialised once more: of `repeat(rematerialised(repeat(rematerialised(step),
        10)), 10)`, which takes a hundred steps, twenty sets of parameters are kept.

    Raises:
        ValueError: where it runs, if the step's optimiser carries a state.

    Examples:
        >>> import torch
        >>> from metafunc import inner, optim
        >>> step = inner.descend(lambda params, _: params.square().sum(), optim.sgd(0.25))
        >>> adapt = inner.repeat(inner.rematerialised(step), 2)
        >>> torch.func.grad(lambda params: adapt(params, ()).sum())(torch.ones(1))
        tensor([0.2500])

    References:
        Chen, Xu, Zhang, Guestrin (2016), "Training Deep Nets with Sublinear Memory Cost".
    """

    def again(params: P, support: Data, /) -> P:
        if isinstance(step, Step) and tree.leaves(step.optimiser.init(params)):
            raise ValueError(
                "A rematerialised step would forget its optimiser's state; give one of plain gradient descent (sgd)."
            )
        nothing = torch.empty(0)
        structure = tree.map(lambda _: nothing, (params, support))

        def of_leaves(*leaves: Tensor) -> tuple[Tensor, ...]:
            return tuple(tree.leaves(step(*tree.unflatten(structure, list(leaves)))))

        given = tree.leaves((params, support))
        found: tuple[Tensor, ...] = _Recomputed.apply(of_leaves, *given)  # type: ignore[no-untyped-call]  # torch's
        return tree.unflatten(params, list(found))

    return again


class _Recomputed(torch.autograd.Function):
    """A function of tensors, of which the arguments alone are kept; it may not hold on to tensors itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(function: Callable[..., tuple[Tensor, ...]], *leaves: Tensor) -> tuple[Tensor, ...]:
        if get_proxy_mode() is not None:
            raise NotImplementedError(
                "A rematerialised step is not traced: the graph alone would take the memory that it saves."
            )
        return function(*leaves)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.function, *leaves = inputs
        ctx.save_for_backward(*leaves)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        saved = list(ctx.saved_tensors)
        smooth = [
            i
            for i, leaf in enumerate(saved)
            if (leaf.is_floating_point() or leaf.is_complex()) and ctx.needs_input_grad[i + 1]
        ]

        def of_smooth(*leaves: Tensor) -> tuple[Tensor, ...]:
            whole = list(saved)
            for i, leaf in zip(smooth, leaves, strict=True):
                whole[i] = leaf
            found: tuple[Tensor, ...] = ctx.function(*whole)
            return found

        pull = torch.func.vjp(of_smooth, *(saved[i] for i in smooth))[1]
        found = dict(zip(smooth, pull(cotangents), strict=True))
        return None, *(found.get(i) for i in range(len(saved)))
