r"""Empirical Gaussian processes: mean and covariance of functions are learned on a grid, without a parametric kernel.

Lin, Ament et al. (2026), "Empirical Gaussian Processes". The prior is that of `bayes.empirical_gp`: values on a grid of
inducing inputs with a free mean $\mu$ and covariance $S = L L^\top$, interpolated by a fixed kernel $k_0$. It is
trained by the evidence of support and query together, and an inverse-Wishart hyper-prior about $K_0$ that counts as c
tasks,

$$\min_{\mu, L, \sigma} \; \tfrac1n \textstyle\sum_i - \log p(y_i \mid \mu, L L^\top, \sigma) + \frac{c}{2n}
\big( \log\det S + \mathrm{tr}\, K_0 S^{-1} \big);$$

adaptation conditions on the support set, exactly. The same optimum is reached without gradients by EM,
`bayes.empirical_gp.em`: with `start` = "em" a training begins there, after 16 steps of it, and may end there.
"""

from math import log
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes import empirical_gp as process
from metafunc.bayes import gaussian_process, kernels
from metafunc.bayes.empirical_gp import Empirical
from metafunc.bayes.gaussian_process import Conditioned
from metafunc.checks import above, at_least, one_of
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import conditioning_path
from metafunc.transforms.objectives import pool
from metafunc.types import Batch, MetaLearner, Model, Normal, Predictive, Scalar, Task

KernelName: TypeAlias = Literal["matern", "rbf"]
Start: TypeAlias = Literal["kernel", "em"]
KERNELS = {"matern": kernels.matern, "rbf": kernels.rbf}


class Process(NamedTuple):
    """What a task is: the prior, the support set's inputs, and the conditioned process."""

    prior: Empirical
    x: Float[Tensor, "n inputs"]
    found: Conditioned


@built
def empirical_gp(
    inputs: Model,
    likelihood: Likelihood,
    *,
    num_inducing: int = 30,
    low: float = -5.0,
    high: float = 5.0,
    kernel: KernelName = "matern",
    lengthscale: float = 1.0,
    scale: float = 1.0,
    noise_scale: float = 0.1,
    prior_tasks: float = 1.0,
    num_train_tasks: int | None = None,
    start: Start = "kernel",
) -> MetaLearner[Empirical, Process]:
    """Empirical GP: a Gaussian process whose mean and covariance on a grid are learned freely, for few inputs.

    Args:
        inputs: inputs as rows, with the grid as its parameter "points"; `algorithms.networks.inducing_inputs` makes it.
        likelihood: the observation model, Gaussian without a noise scale of its own: it is learned.
        num_inducing: inducing inputs at most, on a grid with equally many along each input.
        low: where the grid begins, in units of the inputs.
        high: where it ends.
        kernel: the kernel that interpolates, and that the covariance starts from.
        lengthscale: its length scale, in units of the inputs.
        scale: its standard deviation, in units of y.
        noise_scale: the noise scale that is started from, in units of y.
        prior_tasks: how many tasks the kernel's own covariance counts for, c.
        num_train_tasks: how many tasks there are to train on, n, which is what these weigh against; None: as many
            as there are in a table that a configuration names, and 20 elsewhere.
        start: where a training begins: at the kernel's own covariance, or at what EM makes of training tasks.

    Returns:
        The learner; meta-parameters are an `Empirical`, task parameters a `Process`.

    Raises:
        ValueError: if the likelihood is not Gaussian or has a noise scale, or a value is out of its range.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, nn
        >>> learner = algorithms.build("empirical_gp", nn.mlp, (1,), "regression", 1, num_inducing=20)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Lin, Ament et al. (2026), section 3.
    """
    if likelihood.kind != "regression" or likelihood.with_scale is None:
        raise ValueError("empirical_gp learns its noise in closed form and needs likelihood.gaussian(...), no scale.")
    at_least(0, prior_tasks=prior_tasks)
    at_least(1, num_train_tasks=num_train_tasks)
    above(0, noise_scale=noise_scale)
    one_of(start, get_args(Start), "start")
    counted = 20 if num_train_tasks is None else num_train_tasks
    k0 = KERNELS[one_of(kernel, get_args(KernelName), "kernel")](lengthscale=lengthscale, scale=scale)
    field = process.interpolation(inputs.init(Generator())["points"], k0)

    def init(generator: Generator) -> Empirical:
        return process.start(field, likelihood.num_targets, noise_scale, inputs.init(generator)["points"])

    def begin(meta: Empirical, tasks: Task, /) -> Empirical:
        drawn = tasks.support.x.shape[0]  # Of `counted` tasks, some of them again.
        everything = torch.vmap(lambda task: rows(pool(task)))(tasks)
        return process.em(meta, everything, field, prior_tasks=prior_tasks * drawn / counted)

    def rows(batch: Batch) -> Batch:
        return batch._replace(x=inputs.apply({}, batch.x))

    def adapt(meta: Empirical, support: Batch, /) -> Process:
        own = rows(support)
        return Process(meta, own.x, process.condition(meta, own, field)[0])

    def task_loss(meta: Empirical, task: Task, /) -> Scalar:
        loss = -process.log_evidence(meta, rows(pool(task)), field)
        if prior_tasks == 0:
            return loss
        return loss - prior_tasks / counted * process.log_hyperprior(meta, field)

    def predict(task_params: Process, x: Tensor) -> Predictive:
        prior, support, found = task_params
        queries = inputs.apply({}, x)
        cross = field.covariance(prior, queries, support)
        own = field.variance(prior, queries)
        loc = field.weights(queries) @ prior.mean + gaussian_process.mean(found, cross)
        variance = gaussian_process.variance(found, cross, own) + (2 * prior.log_scale).exp()
        return Normal(loc[None], variance.sqrt()[None, :, None].expand(1, *loc.shape))

    def joint(task_params: Process, query: Batch, /) -> Scalar:
        # In double precision, for in single a hundred rows close to each other have a covariance that is indefinite.
        (prior, support, found), own = tree.map(Tensor.double, (task_params, rows(query)._replace(extra=())))
        cross, covariance = (field.covariance(prior, own.x, other) for other in (support, own.x))
        residual = own.y - field.weights(own.x) @ prior.mean - gaussian_process.mean(found, cross)
        noise = (2 * prior.log_scale).exp()
        return gaussian_process.log_joint(found, cross, covariance, residual, noise, own.mask).to(query.y.dtype)

    return MetaLearner(
        init=init,
        adapt=adapt,
        path=conditioning_path(adapt),
        task_loss=task_loss,
        predict=predict,
        joint=joint,
        noise_leaf=("log_scale", log),
        begin=begin if start == "em" else None,
    )
