r"""From scratch: no meta-learning at all. Every task is trained on by itself, from one random initialisation.

$$\theta_i = \text{K steps of gradient descent on } L(\cdot; D_i^{\mathrm{support}}) \text{ from a random } \theta.$$

The task loss is the query loss that this reaches; its gradient is zero, so that meta-training leaves $\theta$ alone.
"""

from metafunc import tree
from metafunc.checks import not_negative
from metafunc.nn.likelihood import Likelihood
from metafunc.transforms.inner import descend, path, repeat
from metafunc.transforms.objectives import query_loss
from metafunc.transforms.optim import sgd
from metafunc.types import Data, MetaLearner, Model, Params, Tree


def scratch(
    model: Model, likelihood: Likelihood, *, inner_lr: float = 0.01, num_steps: int = 10
) -> MetaLearner[Params, Params]:
    """From scratch: each task is trained on by itself from a random initialisation (the floor of every comparison).

    Args:
        model: the network.
        likelihood: the observation model, whose loss is trained on.
        inner_lr: step size of the gradient descent on a task.
        num_steps: steps of the gradient descent on a task.

    Returns:
        The learner; meta-parameters and task parameters are both the model's.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, or `num_steps` is negative.

    Example:
        >>> from metafunc import algorithms, likelihood, nn
        >>> learner = algorithms.scratch(nn.mlp((1,), 1), likelihood.gaussian(), num_steps=100)

    References:
        Finn, Abbeel, Levine (2017), section 5.
    """
    not_negative(inner_lr=inner_lr)
    loss = likelihood.of(model)
    step = descend(loss, sgd(inner_lr))
    adapt = repeat(step, num_steps, finish=model.finish)

    def unlearned(meta: Tree, support: Data, /) -> Tree:
        return adapt(tree.detach(meta), support)

    return MetaLearner(
        init=model.init,
        adapt=adapt,
        path=path(step, finish=model.finish),
        task_loss=query_loss(unlearned, loss),
        predict=likelihood.predict(model),
        normalisation=model.normalisation,
    )
