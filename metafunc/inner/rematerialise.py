"""Inner steps that keep their inputs only, and are computed again where their derivative is asked for."""

from typing import Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.inner.step import Step
from metafunc.types import Adapt, Data, P


def rematerialised(step: Adapt[P, P]) -> Adapt[P, P]:
    r"""The same step, of which only $(\theta_k, D)$ is kept for the way back: one set of parameters a step.

    Value and derivatives are the step's own, to every order of reverse mode and under `vmap`; the meta-gradient takes
    one more computation of each step. Forward mode (`torch.func.jvp`, and so `torch.func.hessian`) is not there: take
    `torch.func.jacrev(torch.func.grad(...))`. `torch.utils.checkpoint` fails under `torch.func`.

    Args:
        step: one update that carries no optimiser's state from step to step, such as one of plain gradient descent. It
            may not close over tensors that are differentiated, such as learned step sizes: their derivative would be
            lost. What it depends on are its two arguments.

    Returns:
        (params, support) to params. Give it to `repeat` or `path` afterwards: a finished loop of K steps saves nothing.

    Raises:
        ValueError: where it runs, if the step's optimiser carries a state.

    Example:
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
        given = tree.leaves((params, support))

        def flat(*leaves: Tensor) -> tuple[Tensor, ...]:
            return tuple(tree.leaves(step(*tree.unflatten((params, support), list(leaves)))))

        return tree.unflatten(params, list(_recomputed(flat).apply(*given)))

    return again


def _recomputed(function: Any) -> Any:
    """A custom function of torch's for one function of tensors."""

    class Recomputed(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*leaves: Tensor) -> tuple[Tensor, ...]:
            found: tuple[Tensor, ...] = function(*leaves)
            return found

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
            saved = list(ctx.saved_tensors)
            smooth = [i for i, leaf in enumerate(saved) if leaf.is_floating_point() and ctx.needs_input_grad[i]]

            def of_smooth(*leaves: Tensor) -> tuple[Tensor, ...]:
                whole = list(saved)
                for i, leaf in zip(smooth, leaves, strict=True):
                    whole[i] = leaf
                found: tuple[Tensor, ...] = function(*whole)
                return found

            pull = torch.func.vjp(of_smooth, *(saved[i] for i in smooth))[1]
            found = dict(zip(smooth, pull(cotangents), strict=True))
            return tuple(found.get(i) for i in range(len(saved)))

    return Recomputed
