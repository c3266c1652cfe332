r"""Meta-regularised MAML on activations: a noisy code of the inputs that may not hold the answer, and an adapted head.

Yin, Tucker, Zhou, Levine, Finn (2020), "Meta-Learning without Memorization". An encoder $\theta$, not adapted, turns an
input into a Gaussian over codes z, and every nat that a code holds of its input is penalised:

$$z \sim q_\theta(z \mid x) = \mathcal N\big(\mu(x), \mathrm{softplus}(s(x))^2\big), \qquad
\phi_i^{k+1} = \phi_i^k - \alpha \nabla_\phi L(\phi_i^k; z, y), \quad (x, y) \in D_i^{\mathrm{support}},$$

$$\min_{\theta, \phi^0} \tfrac1n \textstyle\sum_i \mathbb E_z\, L(\phi_i^K; z^*, y^*)
+ \beta\, \mathrm{KL}\big(q_\theta(z^* \mid x^*) \,\|\, \mathcal N(0, I)\big),
\quad (x^*, y^*) \in D_i^{\mathrm{query}},$$

with a draw of z for every row of support and query in training. At meta-test a code is its mean, as in the authors'
notebook. The divergence is a mean over rows and a sum over the code's numbers (the notebook's mean over the numbers of
a code of five makes its $\beta$ five times this one).
"""

from typing import NamedTuple

from torch import Generator, Tensor

from metafunc.bayes.bottleneck import bottleneck, code_noise, code_of, information
from metafunc.checks import at_least, not_negative
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import descend, masked, path, repeat
from metafunc.transforms.optim import sgd
from metafunc.types import Batch, Data, MetaLearner, Model, Params, Predictive, Scalar, Task


class MrMamlAParams(NamedTuple):
    """The two networks' parameters."""

    encoder: Params
    head: Params


@built
def mr_maml_a(
    encoder: Model,
    head: Model,
    likelihood: Likelihood,
    *,
    inner_lr: float = 0.01,
    num_steps: int = 1,
    kl_weight: float = 0.1,
) -> MetaLearner[MrMamlAParams, MrMamlAParams]:
    """MR-MAML on activations: a noisy code of the inputs that cannot hold the answer, and an adapted head.

    Args:
        encoder: the network from inputs to a code's means and raw scales, (n, 2 code).
        head: the network from codes (n, code) to outputs.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: step size of the inner gradient descent.
        num_steps: inner steps in training.
        kl_weight: the weight of the codes' divergence, per nat.

    Returns:
        The learner; meta-parameters and task parameters are both an `MrMamlAParams`.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, or `num_steps` or `kl_weight` is negative.

    Examples:
        >>> from metafunc import algorithms, likelihood, nn
        >>> learner = algorithms.mr_maml_a(nn.mlp((21,), 10), nn.mlp((5,), 1), likelihood.gaussian(), kl_weight=1.0)

    References:
        Yin, Tucker, Zhou, Levine, Finn (2020), section 4.1.
    """
    not_negative(inner_lr=inner_lr)
    at_least(0, num_steps=num_steps)
    at_least(0, kl_weight=kl_weight)

    def outputs(params: MrMamlAParams, x: Tensor, noise: Tensor | tuple[()] = ()) -> Tensor:
        code = bottleneck(encoder.apply(params.encoder, x))
        return head.apply(params.head, code_of(code, noise))

    def loss(params: MrMamlAParams, batch: Batch) -> Scalar:
        return likelihood.loss(outputs(params, batch.x, batch.extra), batch)

    def finish(params: MrMamlAParams, support: Data, /) -> MrMamlAParams:
        conditioned = encoder.finish(params.encoder, support)
        codes = bottleneck(encoder.apply(conditioned, support.x))
        return MrMamlAParams(conditioned, head.condition(params.head, code_of(codes, support.extra)))

    step = masked(descend(loss, sgd(inner_lr)), lambda name: name.startswith("head."))
    adapt = repeat(step, num_steps, finish=finish)

    def init(generator: Generator) -> MrMamlAParams:
        return MrMamlAParams(encoder.init(generator), head.init(generator))

    def task_loss(meta: MrMamlAParams, task: Task, /) -> Scalar:
        params = adapt(meta, task.support)
        codes = bottleneck(encoder.apply(params.encoder, task.query.x))
        return loss(params, task.query) + kl_weight * information(codes, task.query.mask)

    def predict(params: MrMamlAParams, x: Tensor) -> Predictive:
        return likelihood.predictive(outputs(params, x)[None])

    return MetaLearner(
        init=init,
        prepare=code_noise(lambda meta, x: encoder.apply(meta.encoder, x)),
        adapt=adapt,
        path=path(step, finish=finish),
        task_loss=task_loss,
        predict=predict,
        normalisation=encoder.normalisation,
    )
