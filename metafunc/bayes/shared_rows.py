r"""An empirical Gaussian process over rows that all tasks share, in closed form.

Where every task has a target at every row and these have next to no noise, the steps of EM of `bayes.empirical_gp` end
at once. Over the shared rows Z, with a share a of the kernel's own covariance,

$$\mu = \tfrac1n \textstyle\sum_i y_i, \qquad S = (1 - a)\, \tfrac1n \sum_i (y_i - \mu)(y_i - \mu)^\top +
a\, s^2 K_0, \qquad s^2 = \tfrac1{n |Z|} \sum_i \lVert y_i - \mu \rVert^2,$$

which has the empirical variance on the whole, and a full rank where tasks are fewer than rows. Matérn's kernel $K_0$
says that configurations with similar numbers have similar scores.

References:
    Lin, Ament et al. (2026), "Empirical Gaussian Processes". Ledoit, Wolf (2004), "A well-conditioned estimator for
    large-dimensional covariance matrices", for the linear shrinkage.
"""

from math import sqrt

import torch
from torch import Tensor

from metafunc.bayes import empirical_gp, kernels
from metafunc.bayes.gaussian_process_mixture import Processes, known, process_learner
from metafunc.bayes.kernels import Kernel
from metafunc.bayes.location_scale import InUnits, location_scale, ranges
from metafunc.checks import above, fraction
from metafunc.types import Batch, MetaLearner, Params, Tree


def shared_rows(
    training: Batch, *, lengthscale: float = 0.5, shrinkage: float = 0.1, noise_scale: float = 0.02
) -> MetaLearner[Params, Processes]:
    r"""The empirical process of tasks that have the same rows.

    Args:
        training: the rows of every training task, tasks first, in any order; of one target.
        lengthscale: the kernel's, in units of the inputs, times the root of their number.
        shrinkage: a, the kernel's share of the covariance.
        noise_scale: of an observation, in units of y.

    Returns:
        The learner, which predicts at these rows; at any other input the covariance with all of them is 0.

    Raises:
        ValueError: if tasks have different rows or several targets, or a number is out of range.

    Examples:
        >>> import torch
        >>> x = torch.tensor([[0.0], [1.0]]).expand(3, 2, 1)
        >>> y = torch.tensor([[1.0, -1.0], [2.0, -2.0], [3.0, -3.0]])[..., None]
        >>> learner = shared_rows(Batch(x, y), shrinkage=0.0)
        >>> task = learner.adapt({}, Batch(x[0, :1], torch.tensor([[4.0]])))  # the other is always the opposite
        >>> round(learner.predict(task, x[0, 1:]).loc.item(), 1)
        -4.0
    """
    above(0, lengthscale=lengthscale, noise_scale=noise_scale)
    fraction(shrinkage=shrinkage)
    if not same_rows(training):
        raise ValueError(
            f"shared_rows takes one target and the same rows in each of these {len(training.x)} tasks, none of them "
            "missing or there twice: with other rows take dkt or empirical_gp."
        )
    points, y = _in_order(training)
    mean = y.mean(0)
    apart = y - mean
    scale = float(apart.square().mean().sqrt())
    stationary = kernels.matern(lengthscale=lengthscale * sqrt(points.shape[1]), scale=scale or 1.0)
    root = empirical_gp.interpolation(points, stationary).root(points)
    covariance = (1 - shrinkage) * apart.mT @ apart / len(apart) + shrinkage * root @ root.mT

    def number(x: Tensor) -> Tensor:
        return (x.flatten(1)[:, None] == points.to(x)).all(-1).to(points)

    def gram(given: Tree, x: Tensor, z: Tensor) -> Tensor:
        return (number(x) @ covariance.to(x.device) @ number(z).mT).to(x)

    def at(x: Tensor) -> Tensor:
        return (number(x) @ mean.to(x.device)).to(x)

    kernel = Kernel(lambda generator, num_inputs: {"nothing": torch.zeros(0)}, gram)
    return process_learner(kernel, known(kernel, 1), noise_scale, num_rows=len(points), mean=at)


def with_ranges(training: Batch, *, num_rows: int = 64) -> MetaLearner[Params, InUnits]:
    """The empirical process of tasks that have the same rows, and each a level and a scale of its own.

    Args:
        training: the rows of every training task, as `shared_rows` takes them.
        num_rows: rows of a new task that count, at most.

    Raises:
        ValueError: as in `shared_rows`, or if all targets of a task are alike.
    """
    units = ranges(training)
    return location_scale(shared_rows(training._replace(y=units.standard(training.y))), units, num_rows=num_rows)


def same_rows(training: Batch) -> bool:
    """Whether tasks have one target, and all of them the same rows, each of them once."""
    complete = isinstance(training.mask, tuple) or bool((training.mask > 0).all())
    number = training.x.shape[1]
    inputs = torch.unique(training.x.flatten(0, 1).flatten(1), dim=0)
    each = all(len(torch.unique(x.flatten(1), dim=0)) == number for x in training.x)
    return complete and each and training.y.shape[-1] == 1 and len(inputs) == number


def _in_order(training: Batch) -> tuple[Tensor, Tensor]:
    """The rows that all tasks share, and the targets (tasks, rows) in the order of these rows."""
    tasks, number = training.x.shape[:2]
    points, place = torch.unique(training.x.flatten(0, 1).flatten(1), dim=0, return_inverse=True)
    y = training.y[..., 0].double()
    return points.double(), y.new_zeros(tasks, number).scatter(1, place.reshape(tasks, number), y)
