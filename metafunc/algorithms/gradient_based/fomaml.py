r"""First-order MAML (FOMAML): MAML without the second derivative.

Finn, Abbeel, Levine (2017), "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", section 5.2. The inner
loop is MAML's, but each step has the identity for a derivative, so that the meta-gradient is the query gradient at the
adapted parameters:

$$\theta \leftarrow \theta - \beta\, \tfrac1n \textstyle\sum_i \nabla L(\theta_i^K; D_i^{\mathrm{query}}).$$

The task loss has MAML's value; its gradient is the update, which is not the derivative of that value.
"""

from metafunc.algorithms.assembly import gradient_step, step_learner
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import first_order
from metafunc.types import MetaLearner, Model, Params


@built
def fomaml(
    model: Model, likelihood: Likelihood, *, inner_lr: float = 0.01, num_steps: int = 1
) -> MetaLearner[Params, Params]:
    """FOMAML: MAML with the second derivative left out.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: step size of the inner gradient descent.
        num_steps: inner steps in training.

    Returns:
        The learner; meta-parameters and task parameters are both the model's.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, or `num_steps` is negative.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.fomaml(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.01)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Finn, Abbeel, Levine (2017), section 5.2.
    """
    return step_learner(model, likelihood, first_order(gradient_step(model, likelihood, inner_lr)), num_steps)
