r"""Temperature scaling: one number that makes a trained learner as sure as it should be.

Classes: $p_T(c \mid x) \propto p(c \mid x)^{1/T}$, of the particles' mixture. Regression: every scale is multiplied by
T; where a learner has no noise model T is the noise scale itself, in its unit. T is fitted on validation tasks.
"""

from torch import Tensor

from metafunc.bayes.post_hoc import Octaves, PostHoc, post_hoc
from metafunc.bayes.stein import log_mean_exp
from metafunc.recipe import built
from metafunc.types import Categorical, M, MetaLearner, Normal, P, Predictive, Tree

TEMPERATURE = "temperature"


@built
def tempered(learner: MetaLearner[M, P]) -> PostHoc[M, P]:
    r"""A learner whose predictions are sharpened or flattened by one temperature.

    Args:
        learner: any learner of classes or of a regression; one that has scalars already keeps them, and all are fitted
            together. On `laplace` of a regression it adds nothing: its two scalars span every common factor of scales.

    Returns:
        The learner, with the scalar `temperature`; `metafunc.evaluate` fits it on validation tasks.

    Examples:
        >>> import torch, metafunc
        >>> from metafunc import algorithms, likelihood, nn
        >>> learner = metafunc.tempered(algorithms.maml(nn.mlp((1,), 2), likelihood.categorical(2)))
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> colder = learner.with_values((0.5,))
        >>> x = torch.ones(1, 1)
        >>> probs, sharper = (each.predict(meta, x).logits.softmax(-1) for each in (learner, colder))
        >>> bool(sharper.max() > probs.max())
        True

    References:
        Guo, Pleiss, Sun, Weinberger (2017), "On Calibration of Modern Neural Networks".
    """
    inner = learner if isinstance(learner, PostHoc) else None

    def statistics(params: P, x: Tensor) -> Tree:
        return learner.predict(params, x) if inner is None else inner.statistics(params, x)

    def predictive(found: Tree, values: Tensor) -> Predictive:
        return at_temperature(found if inner is None else inner.predictive(found, values[:-1]), values[-1])

    return post_hoc(
        learner,
        adapt=learner.adapt,
        path=learner.path,
        statistics=statistics,
        predictive=predictive,
        ranges={**(inner.ranges if inner else {}), TEMPERATURE: Octaves(-20, 20)},
    )


def at_temperature(predictive: Predictive, temperature: Tensor) -> Predictive:
    """Predictions at another temperature; of classes, the particles' mixture as one particle."""
    if isinstance(predictive, Normal):
        found = predictive.with_noise(predictive.loc.new_ones(()))
        return found._replace(scale=found.scale * temperature)
    mixed: Tensor = log_mean_exp(predictive.logits.log_softmax(-1))
    return Categorical(mixed[None] / temperature)
