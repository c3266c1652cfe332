"""The log-density that a learner gives each held-out row: what temperatures and the weights of a stack are found by."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.bayes.mixtures import log_density
from metafunc.bayes.tempered import at_temperature
from metafunc.evaluation.scoring import Draws, predicted
from metafunc.types import M, P, Task

ONE = torch.ones(1)
"""A temperature that changes nothing."""


class RowDensities(NamedTuple):
    """Log-densities of the query rows of some episodes.

    Args:
        values: in nats, by temperature and row.
        shares: how much each row counts: the rows of an episode count as one together, and padding does not.
    """

    values: Float[Tensor, "temperatures rows"]
    shares: Float[Tensor, " rows"]


def row_densities(
    draws: Draws[M, P], num_steps: int, noise: Tensor | tuple[()] = (), temperatures: Tensor = ONE
) -> RowDensities:
    """The log-density of each query row after some steps of adaptation.

    Args:
        draws: the learner, and the tasks that it was not trained on.
        num_steps: steps of adaptation.
        noise: the noise scale of every number of steps, for a learner without a noise model.
        temperatures: what scales are multiplied by, each in its turn.

    Examples:
        >>> import torch
        >>> from metafunc import algorithms, data, likelihood
        >>> learner = algorithms.ridge(likelihood.gaussian())
        >>> meta = learner.init(torch.Generator())
        >>> row_densities(Draws(learner, meta, data.sinusoid().test, 0, "test", 3), 1).shares.sum().round()
        tensor(3.)
    """

    def of_task(task: Task) -> tuple[Tensor, Tensor]:
        params = tree.at(draws.learner.path(draws.meta, task.support, num_steps), -1)
        found = predicted(draws.learner, params, task.query.x, noise, num_steps)

        def at(temperature: Tensor) -> Tensor:
            return log_density(at_temperature(found, temperature), task.query.y)

        values = torch.vmap(at)(temperatures.to(found[0]))
        mask = torch.ones_like(values[0]) if isinstance(task.query.mask, tuple) else task.query.mask.to(values)
        return values, mask / mask.sum().clamp(min=1)

    with torch.no_grad():
        parts = [torch.vmap(of_task)(tasks) for tasks in draws.chunks(num_steps)]
    values, shares = (torch.cat(part) for part in zip(*parts, strict=True))
    kept = shares.flatten() > 0
    return RowDensities(values.transpose(0, 1).flatten(1)[:, kept], shares.flatten()[kept])
