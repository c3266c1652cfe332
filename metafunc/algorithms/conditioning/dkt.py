r"""Deep kernel transfer: a Gaussian process on learned features, whose kernel all tasks share.

Patacchiola et al. (2020), "Bayesian Meta-Learning for the Few-Shot Setting via Deep Kernels". With features
$\phi(x)$ of a network, a kernel $k$, a constant mean $m$ and noise $\sigma$, a task's function is

$$f \sim \mathcal{GP}\big(m,\; k(\phi(x), \phi(x'))\big), \qquad
y = f(x) + \epsilon, \quad \epsilon \sim \mathcal N(0, \sigma^2).$$

There are no parameters of a task: everything is trained by the evidence of support and query together,
$\max \log p(y \mid X)$, and adaptation conditions on the support set, exactly. A path has two rows, prior and
posterior.

Classes are regressed on as Milios et al. (2018) do: a label is a Dirichlet observation with concentrations
$\alpha_c = .01 + [y = c]$, whose Gamma variables have log-normal approximations,

$$\tilde y_c \mid f \sim \mathcal N(f_c, \tilde\sigma_c^2), \qquad \tilde\sigma_c^2 = \log(1 + 1/\alpha_c), \qquad
\tilde y_c = \log \alpha_c - \tilde\sigma_c^2 / 2,$$

one process for each class, and $p(c \mid x) = \mathbb E\, \mathrm{softmax}(f(x))_c$, by quadrature.
"""

from collections.abc import Callable
from functools import partial
from math import log
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes import gaussian_process, kernels
from metafunc.bayes.cubature import sobol_normals
from metafunc.bayes.gaussian_process import Conditioned
from metafunc.bayes.kernels import Kernel
from metafunc.bayes.mixtures import independent
from metafunc.checks import above, at_least, look_up
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import conditioning_path
from metafunc.transforms.objectives import pool
from metafunc.types import (
    Batch,
    Categorical,
    MetaLearner,
    Model,
    Normal,
    Params,
    Predictive,
    Scalar,
    Task,
    Tree,
)

KernelName: TypeAlias = Literal["spectral", "rbf", "matern", "linear", "cosine"]

PLAIN: dict[str, Callable[[], Kernel]] = {
    "rbf": kernels.rbf,
    "matern": kernels.matern,
    "linear": kernels.linear,
    "cosine": kernels.cosine,
}
"""Those without settings of the builder's."""
CONCENTRATION = 0.01
"""What a class without a label counts, the paper's."""


class DktParams(NamedTuple):
    """What all tasks share: the features' network, the kernel's hyperparameters, the mean and the noise scale."""

    params: Params
    kernel: Tree
    mean: Float[Tensor, " outputs"]
    log_scale: Float[Tensor, ""]


class Process(NamedTuple):
    """What a task is: the shared part, the support set's features, and one conditioned process for each output."""

    shared: DktParams
    features: Float[Tensor, "n features"]
    found: Conditioned


@built
def dkt(
    model: Model,
    likelihood: Likelihood,
    *,
    kernel: KernelName | None = None,
    num_features: int = 40,
    num_components: int = 4,
    frequency: float = 1.0,
    noise_scale: float = 0.1,
    num_particles: int = 64,
) -> MetaLearner[DktParams, Process]:
    """Deep kernel transfer: an exact Gaussian process on features that all tasks share.

    Args:
        model: the network of the features; it puts out `num_features` numbers.
        likelihood: the observation model: Gaussian, whose noise is learned unless it has one, or categorical.
        kernel: the kernel on features; by default "spectral" for numbers, which extrapolates what repeats, and "linear"
            for classes, whose features may lie far apart and still have a gradient.
        num_features: how many numbers the network puts out.
        num_components: Gaussians in the spectral kernel's density.
        frequency: the standard deviation of the frequencies that the spectral kernel starts from, in periods per unit
            of a feature.
        noise_scale: the noise scale that is started from, in units of y; for regression.
        num_particles: points of the quadrature over the processes of all classes; for classification.

    Returns:
        The learner; meta-parameters are a `DktParams`, task parameters a `Process`.

    Raises:
        ValueError: if the likelihood's noise depends on the input, or a value is out of its range.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.dkt(nn.mlp((1,), 40), likelihood.gaussian())
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Patacchiola et al. (2020), section 3. Milios et al. (2018), "Dirichlet-based Gaussian Processes for Large-scale
        Calibrated Classification", section 4.
    """
    _check(likelihood)
    at_least(1, num_features=num_features, num_components=num_components, num_particles=num_particles)
    above(0, frequency=frequency, noise_scale=noise_scale)
    spectral: Callable[[], Kernel] = partial(kernels.spectral_mixture, num_components, frequency=frequency)
    classifies, learned = likelihood.kind == "classification", likelihood.with_scale is not None
    usual: KernelName = "linear" if classifies else "spectral"
    covariance = look_up({"spectral": spectral, **PLAIN}, usual if kernel is None else kernel, "kernel")()

    def init(generator: Generator) -> DktParams:
        params = model.init(generator)
        like = tree.leaves(params)[0]
        given = likelihood.predictive(like.new_zeros(1, 1, likelihood.num_targets))
        scale = given.scale if isinstance(given, Normal) and not learned else like.new_full((), noise_scale)
        # Classes have one mean: which of them is which is drawn with the task.
        mean = like.new_zeros(1 if classifies else likelihood.num_targets)
        hyperparameters = tree.map(lambda leaf: leaf.to(like), covariance.init(generator, num_features))
        return DktParams(params, hyperparameters, mean, scale.log())

    def noise_variance(shared: DktParams) -> Scalar:
        return (2 * (shared.log_scale if learned else shared.log_scale.detach())).exp()

    def observations(shared: DktParams, batch: Batch) -> tuple[Tensor, Tensor]:
        """Residuals and noise variances (n, outputs)."""
        if not classifies:
            return batch.y - shared.mean, noise_variance(shared).expand_as(batch.y)
        concentration = CONCENTRATION + likelihood.encode(batch.y).to(shared.mean.dtype)
        variance = torch.log1p(1 / concentration)
        return concentration.log() - variance / 2 - shared.mean, variance

    def condition(shared: DktParams, batch: Batch) -> tuple[Process, Tensor]:
        features = model.apply(shared.params, batch.x)
        gram = covariance.gram(shared.kernel, features, features)
        residuals, variances = observations(shared, batch)
        each = torch.vmap(gaussian_process.condition, in_dims=(None, 1, 1, None))
        return Process(shared, features, each(gram, residuals[..., None], variances, batch.mask)), residuals

    def adapt(meta: DktParams, support: Batch, /) -> Process:
        return condition(meta._replace(params=model.finish(meta.params, support)), support)[0]

    def task_loss(meta: DktParams, task: Task, /) -> Scalar:
        everything = pool(task)
        process, residuals = condition(meta, everything)
        evidence = torch.vmap(gaussian_process.log_evidence, in_dims=(0, 1))(process.found, residuals[..., None])
        return -evidence.sum() / process.found.present[0].sum().clamp(min=1)

    def latent(task_params: Process, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances of the functions (n, outputs)."""
        shared, found = task_params.shared, task_params.found
        features = model.apply(shared.params, x)
        cross = covariance.gram(shared.kernel, features, task_params.features)
        prior = covariance.variance(shared.kernel, features)
        mean = torch.vmap(gaussian_process.mean, in_dims=(0, None))(found, cross)[..., 0].mT
        return shared.mean + mean, torch.vmap(gaussian_process.variance, in_dims=(0, None, None))(
            found, cross, prior
        ).mT

    def of_classes(task_params: Process, x: Tensor) -> Categorical:
        mean, variance = latent(task_params, x)
        return Categorical(mean + variance.sqrt() * sobol_normals(mean, num_particles, mean.shape[1])[:, None])

    def predict(task_params: Process, x: Tensor) -> Predictive:
        if classifies:
            return of_classes(task_params, x)
        mean, variance = latent(task_params, x)
        return Normal(mean[None], (variance + noise_variance(task_params.shared)).sqrt()[None])

    def joint(task_params: Process, query: Batch, /) -> Scalar:
        if classifies:
            return independent(of_classes)(task_params, query)
        far = model.apply(task_params.shared.params, query.x)
        residual = query.y - latent(task_params, query.x)[0]
        # In double precision, for in single a hundred rows close to each other have a covariance that is indefinite.
        wide = tree.map(torch.Tensor.double, (task_params, far, residual))
        (shared, near, found), far, residual = wide
        cross, prior = covariance.gram(shared.kernel, far, near), covariance.gram(shared.kernel, far, far)
        each = torch.vmap(gaussian_process.log_joint, in_dims=(0, None, None, 1, None, None))
        outputs: Tensor = each(found, cross, prior, residual[..., None], noise_variance(shared), query.mask)
        return outputs.sum().to(query.y.dtype)

    return MetaLearner(
        init=init,
        adapt=adapt,
        path=conditioning_path(adapt),
        task_loss=task_loss,
        predict=predict,
        joint=joint,
        normalisation=model.normalisation,
        noise_leaf=("log_scale", log) if learned else None,
    )


def _check(likelihood: Likelihood) -> None:
    if likelihood.num_outputs != likelihood.num_targets:
        raise ValueError("dkt conditions in closed form: take likelihood.gaussian(...) or likelihood.categorical(...).")
