r"""The optimum: the predictive distribution of one who knows how tasks are drawn, $p(y \mid x, D)$ by Bayes' theorem.

$$p(y \mid x, D) = \int p(y \mid x, \tau)\, p(D \mid \tau)\, p(\tau)\, d\tau \Big/
\int p(D \mid \tau)\, p(\tau)\, d\tau$$

with a task family's own $p(\tau)$ and noise. No learner's expected log-likelihood on such tasks is higher, so what
another one is below it is how much there is left to learn: its *gap*. A family that states its optima computes them in
closed form or by quadrature; this row has them where the others have a network. Nothing is trained.
"""

from collections.abc import Mapping
from typing import Any

from metafunc.checks import one_of
from metafunc.recipe import built
from metafunc.types import MetaLearner


@built
def exact(optima: Mapping[str, MetaLearner[Any, Any]], *, prior: str = "test") -> MetaLearner[Any, Any]:
    """The Bayes-optimal prediction of tasks whose distribution is known (the ceiling of every comparison).

    Args:
        optima: a family's `optima`, by the name of a split or variant.
        prior: the split or variant whose prior over tasks is taken: that of "train" of nme_sinusoid trusts the hint.

    Returns:
        The learner; it has no meta-parameters but a vector of no numbers.

    Raises:
        ValueError: there is no optimum, or none of that name.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, data
        >>> learner = algorithms.exact(data.sine_or_line().optima)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([64, 7, 1])

    References:
        Bernardo, Smith (1994), "Bayesian Theory", section 3.4: the logarithmic score is proper.
    """
    if not optima:
        raise ValueError(
            "exact needs tasks whose best prediction is known, and of these it is not: take sine_or_line, gp, circles, "
            "nme_sinusoid, trend or cauchy, sinusoid with noise above 0, or few_task_sinusoid of up to 35 support rows."
        )
    if prior == "test" and prior not in optima:
        raise ValueError(
            f"exact: of these test tasks the best prediction is not known, but of {' and '.join(optima)} tasks it is: "
            f"give prior={next(iter(optima))!r}."
        )
    one_of(prior, tuple(optima), "prior", "These are the splits and variants whose best prediction is known.")
    return optima[prior]
