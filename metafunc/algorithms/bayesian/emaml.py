r"""Ensemble MAML (EMAML): independent initialisations, each meta-trained by MAML, whose predictions are averaged.

The baseline of Yoon, Kim et al. (2018), "Bayesian Model-Agnostic Meta-Learning", section 5:

$$\theta_{i,m} = \text{K steps of gradient descent on } L(\cdot; D_i^{\mathrm{support}}) \text{ from } \theta_m, \qquad
\min_\Theta \tfrac1n \textstyle\sum_i \frac1M \sum_m L(\theta_{i,m}; D_i^{\mathrm{query}}), \qquad
p(y \mid x) = \frac1M \sum_m p(y \mid x, \theta_{i,m}).$$

Scores are those of the mixture, and not, as in the authors' printout, the mean of the members' scores, which is larger.
"""

from metafunc.bayes.ensemble import lift
from metafunc.checks import not_negative
from metafunc.nn.likelihood import Likelihood
from metafunc.transforms import low_rank
from metafunc.transforms.inner import descend, path, repeat
from metafunc.transforms.optim import sgd
from metafunc.types import MetaLearner, Model, Params


def emaml(
    model: Model, likelihood: Likelihood, *, num_particles: int = 10, inner_lr: float = 0.01, num_steps: int = 1
) -> MetaLearner[Params, Params]:
    """EMAML: an ensemble of independent initialisations, each meta-trained by MAML.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        num_particles: members of the ensemble.
        inner_lr: step size of the inner gradient descent.
        num_steps: inner steps in training.

    Returns:
        The learner; meta-parameters and task parameters are the model's with a leading axis of members.

    Raises:
        ValueError: if `num_particles` is below 1, `inner_lr` is negative or not finite, or `num_steps` is negative.

    Example:
        >>> from metafunc import algorithms, likelihood, nn
        >>> learner = algorithms.emaml(nn.mlp((1,), 1), likelihood.gaussian(), num_particles=5)

    References:
        Yoon, Kim et al. (2018), section 5.
    """
    not_negative(inner_lr=inner_lr)
    loss = likelihood.of(model)
    step = descend(loss, sgd(inner_lr))
    member = MetaLearner(
        init=model.init,
        adapt=repeat(step, num_steps, finish=model.finish),
        path=path(step, finish=model.finish),
        task_loss=low_rank.query_loss(loss, lr=inner_lr, num_steps=num_steps, finish=model.finish),
        predict=likelihood.predict(model),
        normalisation=model.normalisation,
    )
    return lift(member, num_particles=num_particles)
