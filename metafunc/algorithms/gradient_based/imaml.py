r"""Implicit MAML (iMAML): the inner problem is solved, and the solution differentiated without its path.

Rajeswaran, Finn, Kakade, Levine (2019), "Meta-Learning with Implicit Gradients". A task's parameters minimise the
support loss near the meta-parameters,

$$\phi_i = \arg\min_\phi L(\phi; D_i^{\mathrm{support}}) + \tfrac\lambda2 \lVert \phi - \theta \rVert^2, \qquad
\frac{d\phi_i}{d\theta} = \big(I + \tfrac1\lambda \nabla^2 L(\phi_i; D_i^{\mathrm{support}})\big)^{-1},$$

by the implicit function theorem, so that memory does not grow with the inner steps. Here $\lambda$ = `strength`; the
solver is K steps of gradient descent. The value is that of the K-th iterate, the gradient that of the exact minimum:
they belong together as far as the solver has converged.
"""

import torch

from metafunc.checks import above, at_least, not_negative
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.implicit import implicit
from metafunc.transforms.inner import Step, descend, path, proximal, repeat
from metafunc.transforms.objectives import query_loss
from metafunc.transforms.optim import sgd
from metafunc.types import Data, MetaLearner, Model, Params, Tree


@built
def imaml(
    model: Model,
    likelihood: Likelihood,
    *,
    inner_lr: float = 0.1,
    num_steps: int = 16,
    strength: float = 2.0,
    cg_steps: int = 5,
    cg_damping: float = 0.0,
    dense_limit: int = 256,
) -> MetaLearner[Params, Params]:
    r"""Implicit MAML: solve each task near the initialisation, and differentiate the solution, not its path.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: step size of the inner gradient descent; below 2 over the sum of the largest curvature and
            `strength`.
        num_steps: inner steps in training; enough of them to converge.
        strength: weight of the pull towards the meta-parameters.
        cg_steps: steps of the conjugate gradients that apply the inverse.
        cg_damping: added to the Hessian inside the conjugate gradients, for losses that are far from convex.
        dense_limit: up to this number of parameters the inverse is applied by factorising the Hessian instead.

    Returns:
        The learner; meta-parameters and task parameters are both the model's.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, `num_steps`, `cg_damping` or `dense_limit` is negative,
            `strength` is not positive, or `cg_steps` is below 1.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.imaml(nn.mlp((1,), 1), likelihood.gaussian(), strength=2.0)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Rajeswaran, Finn, Kakade, Levine (2019), algorithms 1 and 2.
    """
    not_negative(inner_lr=inner_lr)
    at_least(0, num_steps=num_steps)
    above(0, strength=strength)
    loss = likelihood.of(model)
    optimiser = sgd(inner_lr)

    def towards(meta: Tree) -> Step[Tree]:
        return descend(proximal(loss, meta, strength=strength), optimiser)

    def solve(meta: Tree, support: Data, /) -> Tree:
        return repeat(towards(meta), num_steps)(meta, support)

    def stationarity(params: Tree, meta: Tree, support: Data) -> Tree:
        return torch.func.grad(proximal(loss, meta, strength=strength))(params, support)

    solution = implicit(solve, stationarity, dense_limit=dense_limit, num_steps=cg_steps, damping=cg_damping)

    def adapt(meta: Tree, support: Data, /) -> Tree:
        return model.finish(solution(meta, support), support)

    def rows(meta: Tree, support: Data, num_steps: int, /) -> Tree:
        return path(towards(meta), finish=model.finish)(meta, support, num_steps)

    return MetaLearner(
        init=model.init,
        adapt=adapt,
        path=rows,
        task_loss=query_loss(adapt, loss),
        predict=likelihood.predict(model),
        normalisation=model.normalisation,
    )
