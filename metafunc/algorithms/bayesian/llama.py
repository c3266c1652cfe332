r"""Lightweight Laplace approximation for meta-adaptation (LLAMA): MAML that also looks at the width of the optimum.

Grant, Finn, Levine, Darrell, Griffiths (2018), "Recasting Gradient-Based Meta-Learning as Hierarchical Bayes". K
gradient steps from $\theta$ end near the mode $\hat\phi_i$ of a posterior whose prior is centred at $\theta$; Laplace's
approximation of the marginal likelihood adds the curvature there:

$$\min_\theta \tfrac1n \textstyle\sum_i L(\hat\phi_i; D_i^{\mathrm{query}}) + \tfrac\eta2 \log\det \hat H_i, \qquad
\hat H_i = I + v\, G_i(\hat\phi_i), \quad v = \alpha K,$$

with $\eta$ = `curvature_weight` and the Gauss-Newton matrix G of the loss on the support set, which is the Fisher
matrix of its likelihood. Early stopping after K steps of $\alpha$ acts as a Gaussian prior of variance $\alpha K$
around $\theta$, to first order, and that prior is the one taken here; a constant factor of $\hat H$ is left out. The
paper approximates the matrix by K-FAC; here the determinant is exact (`metafunc.bayes.laplace`). The paper does not
say which rows the curvature is of; those are taken whose mode $\hat\phi$ is. Predictions are the mode's, as in the
paper's tables.
"""

from dataclasses import replace

from metafunc.algorithms.assembly import gradient_step, step_learner
from metafunc.bayes import laplace
from metafunc.checks import at_least
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import repeat
from metafunc.types import MetaLearner, Model, Params, Scalar, Task, Tree


@built
def llama(
    model: Model,
    likelihood: Likelihood,
    *,
    inner_lr: float = 0.01,
    num_steps: int = 1,
    curvature_weight: float = 1e-6,
) -> MetaLearner[Params, Params]:
    """LLAMA: MAML whose meta-loss counts the curvature at the adapted parameters, by Laplace's approximation.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: step size of the inner gradient descent.
        num_steps: inner steps in training.
        curvature_weight: the weight of half the log-determinant, the paper's.

    Returns:
        The learner; meta-parameters and task parameters are both the model's.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, or `num_steps` or `curvature_weight` is negative; and in
            training, if support outputs times parameters are too many for a dense Jacobian.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.llama(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.01, num_steps=5)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Grant, Finn, Levine, Darrell, Griffiths (2018), section 4 and subroutine 4.
    """
    at_least(0, curvature_weight=curvature_weight)
    loss = likelihood.of(model)
    step = gradient_step(model, likelihood, inner_lr)
    mode = repeat(step, num_steps)

    def task_loss(meta: Tree, task: Task, /) -> Scalar:
        params, support = mode(meta, task.support), task.support
        volume = laplace.log_det(
            lambda point: model.apply(model.finish(point, support), support.x),
            lambda outputs: likelihood.loss(outputs, support),
            params,
            variance=inner_lr * num_steps,
        )
        return loss(model.finish(params, support), task.query) + 0.5 * curvature_weight * volume

    return replace(step_learner(model, likelihood, step, num_steps), task_loss=task_loss)
