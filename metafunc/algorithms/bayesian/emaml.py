r"""Ensemble MAML (EMAML): independent initialisations, each meta-trained by MAML, whose predictions are averaged.

The baseline of Yoon, Kim et al. (2018), "Bayesian Model-Agnostic Meta-Learning", section 5:

$$\theta_{i,m} = \text{K steps of gradient descent on } L(\cdot; D_i^{\mathrm{support}}) \text{ from } \theta_m, \qquad
\min_\Theta \tfrac1n \textstyle\sum_i \frac1M \sum_m L(\theta_{i,m}; D_i^{\mathrm{query}}), \qquad
p(y \mid x) = \frac1M \sum_m p(y \mid x, \theta_{i,m}).$$

Scores are those of the mixture, and not, as in the authors' printout, the mean of the members' scores, which is larger.
"""

from metafunc.bayes.ensemble import lift
from metafunc.recipe import built
from metafunc.types import M, MetaLearner, P


@built
def emaml(learner: MetaLearner[M, P], *, num_particles: int = 10) -> MetaLearner[M, P]:
    """EMAML: an ensemble of independent initialisations, each meta-trained by MAML.

    Args:
        learner: what a member is, MAML's by name.
        num_particles: members of the ensemble.

    Returns:
        The learner; meta-parameters and task parameters are the members' with a leading axis.

    Raises:
        ValueError: if `num_particles` is below 1.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> member = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.01)
        >>> learner = algorithms.emaml(member, num_particles=5)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([5, 7, 1])

    References:
        Yoon, Kim et al. (2018), section 5.
    """
    return lift(learner, num_particles=num_particles)
