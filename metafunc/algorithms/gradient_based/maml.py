r"""Model-agnostic meta-learning (MAML).

Finn, Abbeel, Levine (2017), "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks". The meta-parameters
$\theta$ (`meta`) are an initialisation; a task's parameters $\theta_i$ (`params`) are K steps of gradient descent away:

$$\theta_i^{k+1} = \theta_i^k - \alpha \nabla L(\theta_i^k; D_i^{\mathrm{support}}), \quad \theta_i^0 = \theta, \qquad
\min_\theta \tfrac1n \textstyle\sum_i L(\theta_i^K; D_i^{\mathrm{query}}),$$

with $\alpha$ = `inner_lr`, K = `num_steps`, and the exact derivative through all K steps. The loss is
computed without forming the adapted weights of large linear layers where the support set has few rows
(`transforms.low_rank`).
"""

from dataclasses import replace

from metafunc.algorithms.assembly import gradient_step, low_rank_loss, rematerialised_loss, step_learner
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.types import MetaLearner, Model, Params


@built
def maml(
    model: Model,
    likelihood: Likelihood,
    *,
    inner_lr: float = 0.01,
    num_steps: int = 1,
    rematerialise: bool = False,
) -> MetaLearner[Params, Params]:
    """MAML: an initialisation from which a few exact gradient steps solve a task.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: step size of the inner gradient descent.
        num_steps: inner steps in training.
        rematerialise: keep of an inner step its parameters only, and take it again on the way back: the same
            meta-gradient in less memory, for two to three times the time; such steps are neither traced nor compiled.

    Returns:
        The learner; meta-parameters and task parameters are both the model's.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, or `num_steps` is negative.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.01, num_steps=1)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Finn, Abbeel, Levine (2017), algorithm 2.
    """
    step = gradient_step(model, likelihood, inner_lr)
    learner = step_learner(model, likelihood, step, num_steps)
    if rematerialise:
        task_loss = rematerialised_loss(model, likelihood, step, num_steps)
        return replace(learner, task_loss=task_loss, traceable=False)
    return replace(learner, task_loss=low_rank_loss(model, likelihood, inner_lr, num_steps))
