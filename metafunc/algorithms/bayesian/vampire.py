r"""Variational agnostic modelling that performs inference for robust estimation (VAMPIRE).

Nguyen, Do, Carneiro (2020), "Uncertainty in Model-Agnostic Meta-Learning using Variational Inference". As in ABML, a
task's posterior q goes K steps down the free energy of the support set, from a learned Gaussian prior
$p_\theta = \mathcal N(\mu, \sigma^2)$,

$$\lambda_i^{k+1} = \lambda_i^k - \alpha \nabla_\lambda \big[ \mathbb E_{q_\lambda} L(\phi; D_i^{\mathrm{support}}) +
\beta\, \mathrm{KL}(q_\lambda \,\|\, p_\theta) \big], \quad \lambda_i^0 = \theta = (\mu, \log\sigma);$$

but the prior is a point estimate, for the predictions of the posterior alone, on data that it has not seen:

$$\min_\theta \tfrac1n \textstyle\sum_i \mathbb E_{q_i} L(\phi; D_i^{\mathrm{query}}).$$

L is a mean over rows. A task's inner steps share their draws of noise, so that they descend on one function.
"""

from torch import Generator

from metafunc.algorithms.assembly import Noise, noisy
from metafunc.bayes.gaussian import Gaussian, around
from metafunc.bayes.variational import Inference, mean_over, preparing_inference
from metafunc.checks import above, at_least, not_negative
from metafunc.nn.likelihood import Likelihood
from metafunc.nn.noise_scale import RAW, inverse_softplus
from metafunc.recipe import built
from metafunc.types import MetaLearner, Model, Params, Scalar, Task


@built
def vampire(
    model: Model,
    likelihood: Likelihood,
    *,
    inner_lr: float = 0.01,
    num_steps: int = 5,
    kl_weight: float = 0.1,
    scale: float = 0.05,
    num_samples: int = 5,
    num_particles: int = 10,
    noise: Noise = "none",
    noise_scale: float = 0.7,
) -> MetaLearner[Gaussian, Params]:
    """VAMPIRE: a Gaussian prior, trained for how its variational posteriors predict.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: step size of the inner gradient descent on means and log-scales.
        num_steps: inner steps in training.
        kl_weight: the weight of the divergence of posterior and prior in the inner loop.
        scale: the standard deviation that every weight of the prior starts from.
        num_samples: draws of an expectation in training and in the inner loop.
        num_particles: draws of a task's posterior at meta-test.
        noise: the noise scale in a regression's loss: none, one more parameter, drawn and adapted with the others, or
            the network's own at every input.
        noise_scale: where a learned one starts, in units of y.

    Returns:
        The learner; meta-parameters are a `Gaussian`, task parameters have a leading axis of particles.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, `num_steps` or `kl_weight` is negative, `scale` is not
            above 0, or `num_samples` or `num_particles` is below 1; or if `noise` does not fit the likelihood.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn, predict
        >>> learner = algorithms.vampire(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.001)
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> predict(learner, meta, support, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([10, 7, 1])

    References:
        Nguyen, Do, Carneiro (2020), algorithm 1.
    """
    not_negative(inner_lr=inner_lr)
    at_least(0, num_steps=num_steps)
    at_least(0, kl_weight=kl_weight)
    above(0, scale=scale)
    at_least(1, num_samples=num_samples)
    at_least(1, num_particles=num_particles)
    model, likelihood = noisy(model, likelihood, noise, noise_scale)
    loss = likelihood.of(model)
    inference = Inference(loss, inner_lr, kl_weight, num_steps, model.finish)

    def init(generator: Generator) -> Gaussian:
        return around(model.init(generator), scale)

    def task_loss(meta: Gaussian, task: Task, /) -> Scalar:
        return mean_over(lambda params: loss(params, task.query), inference.adapt(meta, task.support))

    return MetaLearner(
        init=init,
        prepare=preparing_inference(lambda meta: meta.mean, num_samples=num_samples, num_particles=num_particles),
        adapt=inference.adapt,
        path=inference.path,
        task_loss=task_loss,
        predict=likelihood.mixture(model),
        normalisation=model.normalisation,
        network_prefix="mean.",
        noise_leaf=("mean." + RAW, inverse_softplus) if noise == "learned" else None,
    )
