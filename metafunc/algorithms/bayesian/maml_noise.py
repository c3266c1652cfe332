r"""MAML with noise: the initialisation is moved at random before it is adapted.

The baseline of Finn, Xu, Levine (2018), "Probabilistic Model-Agnostic Meta-Learning": a distribution over adapted
parameters that owes nothing to the data. With a fixed $\sigma$ (`noise_scale`) and $\epsilon \sim \mathcal N(0, I)$,

$$\theta_i^0 = \theta + \sigma \epsilon, \qquad
\theta_i^{k+1} = \theta_i^k - \alpha \nabla L(\theta_i^k; D_i^{\mathrm{support}}), \qquad
\min_\theta \tfrac1n \textstyle\sum_i \mathbb E_\epsilon\, L(\theta_i^K; D_i^{\mathrm{query}}).$$

The paper does not say where its noise enters; here it enters before the first step, as PLATIPUS's does, and not after
the last.
"""

from metafunc import tree
from metafunc.bayes.variational import adapt_each, draws_of, mean_over, path_each, preparing
from metafunc.checks import at_least, not_negative
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import descend
from metafunc.transforms.optim import sgd
from metafunc.types import Data, MetaLearner, Model, Params, Scalar, Task, Tree


@built
def maml_noise(
    model: Model,
    likelihood: Likelihood,
    *,
    inner_lr: float = 0.01,
    num_steps: int = 1,
    noise_scale: float = 0.1,
    num_particles: int = 10,
) -> MetaLearner[Params, Params]:
    """MAML with noise: the initialisation is moved at random before it is adapted.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: step size of the inner gradient descent.
        num_steps: inner steps in training.
        noise_scale: standard deviation of the noise on every parameter.
        num_particles: draws at meta-test; training takes one per task and step.

    Returns:
        The learner; meta-parameters are the model's, task parameters have a leading axis of particles.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, `num_steps` or `noise_scale` is negative, or
            `num_particles` is below 1.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn, predict
        >>> learner = algorithms.maml_noise(nn.mlp((1,), 1), likelihood.gaussian(), noise_scale=0.05)
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> predict(learner, meta, support, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([10, 7, 1])

    References:
        Finn, Xu, Levine (2018), section 5.
    """
    not_negative(inner_lr=inner_lr)
    at_least(0, num_steps=num_steps)
    at_least(0, noise_scale=noise_scale)
    at_least(1, num_particles=num_particles)
    loss = likelihood.of(model)
    step = descend(loss, sgd(inner_lr))
    inner_steps = num_steps

    def starts(meta: Tree, support: Data) -> Tree:
        return tree.map(lambda mean, noise: mean + noise_scale * noise, meta, draws_of(support, meta))

    def adapt(meta: Tree, support: Data, /) -> Tree:
        return adapt_each(step, starts(meta, support), support, inner_steps, finish=model.finish)

    def path(meta: Tree, support: Data, num_steps: int, /) -> Tree:
        return path_each(step, starts(meta, support), support, num_steps, finish=model.finish)

    def task_loss(meta: Tree, task: Task, /) -> Scalar:
        return mean_over(lambda params: loss(params, task.query), adapt(meta, task.support))

    return MetaLearner(
        init=model.init,
        prepare=preparing(lambda meta: meta, num_particles=num_particles),
        adapt=adapt,
        path=path,
        task_loss=task_loss,
        predict=likelihood.mixture(model),
        normalisation=model.normalisation,
    )
