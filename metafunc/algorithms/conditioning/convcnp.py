r"""Convolutional conditional neural processes: a task is a function on a grid, and what holds here holds when shifted.

Gordon et al. (2020), "Convolutional Conditional Neural Processes". The support set is laid onto a grid as a density and
averages of its targets (`nn.set_convolution`), a convolutional network T acts there, and its features are read off at
the query's places by a network g,

$$h = \mathrm{onto}(D^{\mathrm{support}}), \qquad p(y_* \mid x_*, D) = p\big(y_* \mid g(\mathrm{off}(T(h), x_*))\big),
\qquad \max \textstyle\sum_* \log p(y_* \mid x_*, D^{\mathrm{support}}).$$

The grid lies where support and query are, in whole steps of its own: shifted by such steps, tasks have the same
predictions, also where no input was in training. With two inputs grid and convolutions have two dimensions. Adaptation
keeps the support rows, because it does not know the query's; a path has two rows, before any of them and after all.
"""

from dataclasses import replace
from math import log
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.algorithms.assembly import context_learner
from metafunc.checks import fraction
from metafunc.nn.likelihood import Likelihood
from metafunc.nn.mixture import Head, with_head
from metafunc.nn.set_convolution import REACH, Grid, off, onto, weights
from metafunc.recipe import built
from metafunc.types import Batch, MetaLearner, Model, Params, Scalar, Task


class ConvCnpParams(NamedTuple):
    """The parameters of the networks on the grid and off it, and the logs of both length scales, in units of x."""

    grid: Params
    decoder: Params
    log_scales: Float[Tensor, "2"]


class Rows(NamedTuple):
    """What a task is: the parameters, and the support set's inputs, encoded targets and mask."""

    params: ConvCnpParams
    x: Float[Tensor, "n d"]
    y: Float[Tensor, "n targets"]
    mask: Float[Tensor, " n"]


@built
def convcnp(
    grid_network: Model,
    decoder: Model,
    likelihood: Likelihood,
    *,
    points_per_unit: int = 32,
    span: float = 11.0,
    channels: int = 32,
    num_layers: int = 6,
    head: Head = "gaussian",
    num_components: int = 5,
    num_bins: int = 100,
    bin_range: float = 3.0,
    noise_floor: float = 0.01,
) -> MetaLearner[ConvCnpParams, Rows]:
    """Convolutional conditional neural process: support rows become a function on a grid, and convolutions act there.

    Args:
        grid_network: the network from a density and averages, (1, 1 + targets, height, width), to `channels` features.
        decoder: the network from features (n, channels) to what the head takes.
        likelihood: the observation model; `heteroscedastic` is the paper's.
        points_per_unit: points of the grid in a unit of x; the authors have 64 for one input.
        span: how far apart the inputs of a task, support and query together, may be, in units of x. The grid reaches
            from the smallest of them that far; what lies beyond is not seen, and predicted without any feature. Where
            the grid ends has a small influence near its ends, and so has, through it, the smallest query input.
        channels: features at a point of the grid.
        num_layers: convolutions on the grid; each sees twice as far as the one before.
        head: "gaussian" keeps the likelihood, "mixture" predicts a mixture of Gaussians, "bins" weights of bins on a
            fixed grid, for one output.
        num_components: Gaussians of a mixture.
        num_bins: bins.
        bin_range: the bins lie between minus this and this, in units of y.
        noise_floor: the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is
            higher; bins have the width that they have.

    Returns:
        The learner, for one input or two; meta-parameters are a `ConvCnpParams`, task parameters `Rows`.

    Raises:
        ValueError: if a number is out of its range, or the head does not fit.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> from metafunc.nn.set_convolution import grid_network
        >>> networks = grid_network(2, 32), nn.mlp((32,), 2)
        >>> learner = algorithms.convcnp(*networks, likelihood.heteroscedastic(floor=0.01), span=4.0)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Gordon et al. (2020), section 4.
    """
    fraction(noise_floor=noise_floor)
    grid = Grid(points_per_unit, span)
    observed = with_head(
        likelihood, head, num_components=num_components, num_bins=num_bins, bin_range=bin_range
    ).at_least(noise_floor)

    def init(generator: Generator) -> ConvCnpParams:
        params = decoder.init(generator)
        scales = torch.full((2,), log(REACH / points_per_unit), device=generator.device)
        return ConvCnpParams(*tree.like(params, (grid_network.init(generator), params, scales)))

    def features(task: Rows, x: Float[Tensor, "m d"], counts: Float[Tensor, " m"]) -> Float[Tensor, "m channels"]:
        axes = grid.axes(torch.cat([task.x, x]), torch.cat([task.mask, counts]))
        onto_scale, off_scale = task.params.log_scales.exp()
        laid = onto(weights(axes, task.x, onto_scale), task.y, task.mask)
        found = grid_network.apply(task.params.grid, laid[None])[0]
        return off(weights(axes, x, off_scale), found, off_scale * points_per_unit)

    def given(meta: ConvCnpParams, support: Batch) -> Rows:
        found = Rows(meta, support.x.flatten(1), support.y, support.mask)
        if decoder.normalisation != "support":
            return found
        own = decoder.condition(meta.decoder, features(found, found.x, found.mask))
        return found._replace(params=meta._replace(decoder=own))

    def outputs(task: Rows, x: Tensor, mask: Tensor | None = None) -> Tensor:
        counts = x.new_ones(x.shape[0]) if mask is None else mask.to(x)
        return decoder.apply(task.params.decoder, features(task, x.flatten(1), counts))

    learner = context_learner(decoder, observed, init=init, given=given, outputs=outputs)

    def task_loss(meta: ConvCnpParams, task: Task, /) -> Scalar:
        query = task.query
        mask = None if isinstance(query.mask, tuple) else query.mask
        return observed.loss(outputs(learner.adapt(meta, task.support), query.x, mask), query)

    return replace(learner, task_loss=task_loss)
