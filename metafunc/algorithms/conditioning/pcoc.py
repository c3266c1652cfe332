r"""PCOC: classes are Gaussians in a learned feature space, whose means have a prior and a posterior.

Harrison, Sharma, Finn, Pavone (2020), "Continuous Meta-Learning without Tasks", section 4.2. With features
$\phi(x)$ and for every class c

$$\mu_c \sim \mathcal N(m, \Lambda^{-1}), \qquad \phi \mid c \sim \mathcal N(\mu_c, \Sigma), \qquad
p(c) \propto \alpha + N_c,$$

$\Lambda$ and $\Sigma$ diagonal, the posterior after $N_c$ rows and the predictive distribution are exact:

$$\Lambda_c = \Lambda + N_c \Sigma^{-1}, \qquad
m_c = \Lambda_c^{-1} \big(\Lambda m + \Sigma^{-1} \textstyle\sum_{i : y_i = c} \phi_i\big), \qquad
p(c \mid x, D) \propto (\alpha + N_c)\; \mathcal N\big(\phi(x);\, m_c,\, \Lambda_c^{-1} + \Sigma\big).$$

It is a prototypical network whose prototypes are shrunk towards m, and which knows how well it knows them. All classes
share the prior, because which of them is which is drawn with the task. Network and prior are trained by the
cross-entropy of the query set. A path has two rows, prior and posterior.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.algorithms.assembly import class_learner
from metafunc.checks import at_least
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.types import Batch, MetaLearner, Model, Params, log_normal


class PcocParams(NamedTuple):
    """What all tasks share: the network, the prior of a class's mean, the spread of a class, and its count."""

    params: Params
    mean: Float[Tensor, " features"]
    log_precision: Float[Tensor, " features"]
    log_variance: Float[Tensor, " features"]
    log_count: Float[Tensor, ""]


class Classes(NamedTuple):
    """What a task is: the shared part, and for every class its mean's distribution and the rows that it has."""

    shared: PcocParams
    mean: Float[Tensor, "classes features"]
    precision: Float[Tensor, "classes features"]
    counts: Float[Tensor, " classes"]


@built
def pcoc(model: Model, likelihood: Likelihood, *, num_features: int = 64) -> MetaLearner[PcocParams, Classes]:
    """PCOC: Gaussian classes in a learned feature space, with an exact posterior over their means.

    Args:
        model: the network of the features; it puts out `num_features` numbers.
        likelihood: the observation model, categorical.
        num_features: how many numbers the network puts out.

    Returns:
        The learner; meta-parameters are a `PcocParams`, task parameters a `Classes`.

    Raises:
        ValueError: if the likelihood is not categorical, or there are no features.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.pcoc(nn.conv4((1, 28, 28), 64), likelihood.categorical(5))
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = Batch(torch.zeros(10, 1, 28, 28), torch.arange(10) % 5)  # two rows of each class
        >>> params = learner.adapt(meta, support)
        >>> learner.predict(params, torch.zeros(7, 1, 28, 28)).logits.shape  # particles, rows, classes
        torch.Size([1, 7, 5])

    References:
        Harrison et al. (2020), section 4.2 and appendix B.
    """
    if likelihood.kind != "classification":
        raise ValueError(f"pcoc classifies and needs likelihood.categorical(...), not one of {likelihood.kind}.")
    at_least(1, num_features=num_features)

    def init(generator: Generator) -> PcocParams:
        params = model.init(generator)
        zeros = tree.leaves(params)[0].new_zeros(num_features)
        return PcocParams(params, zeros, zeros.clone(), zeros.clone(), zeros.new_zeros(()))

    def given(meta: PcocParams, support: Batch, members: Float[Tensor, "n classes"]) -> Classes:
        counts = members.sum(0)
        noise = (-meta.log_variance).exp()
        prior = meta.log_precision.exp()
        precision = prior + counts[:, None] * noise
        mean = (prior * meta.mean + noise * (members.mT @ model.apply(meta.params, support.x))) / precision
        return Classes(meta._replace(params=model.finish(meta.params, support)), mean, precision, counts)

    def outputs(task_params: Classes, x: Tensor) -> Float[Tensor, "n classes"]:
        shared = task_params.shared
        features = model.apply(shared.params, x)[:, None]
        variance = 1 / task_params.precision + shared.log_variance.exp()
        log_scale = variance.log() / 2
        densities = log_normal((features - task_params.mean) * (-log_scale).exp(), log_scale).sum(-1)
        found: Tensor = densities + (shared.log_count.exp() + task_params.counts).log()
        return found

    return class_learner(model, likelihood, init=init, given=given, outputs=outputs)
