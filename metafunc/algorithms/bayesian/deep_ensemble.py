r"""Deep ensembles: members that differ in their random initialisation alone, averaged.

Lakshminarayanan, Pritzel, Blundell (2017), "Simple and Scalable Predictive Uncertainty Estimation using Deep
Ensembles". With members $\theta_1, \dots, \theta_M$ of any learner, trained independently of each other,

$$p(y \mid x, D) = \tfrac1M \textstyle\sum_m p\big(y \mid x, \mathrm{adapt}(\theta_m, D)\big).$$

`ensemble.lift` is the whole algorithm. In the table the member is `pretrain`: networks trained on all tasks' data and
fine-tuned on a new task, the ensemble that does not meta-learn.
"""

from metafunc.bayes.ensemble import lift
from metafunc.recipe import built
from metafunc.types import M, MetaLearner, P


@built
def deep_ensemble(learner: MetaLearner[M, P], *, num_particles: int = 5) -> MetaLearner[M, P]:
    """Deep ensemble: independent members that differ in their random initialisation (by name: of `pretrain`).

    Args:
        learner: what a member is.
        num_particles: members of the ensemble.

    Returns:
        The learner; its parameters have a leading axis of members.

    Raises:
        ValueError: if `num_particles` is below 1.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> member = algorithms.pretrain(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.02)
        >>> learner = algorithms.deep_ensemble(member, num_particles=5)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([5, 7, 1])

    References:
        Lakshminarayanan, Pritzel, Blundell (2017), algorithm 1 without adversarial examples.
    """
    return lift(learner, num_particles=num_particles)
