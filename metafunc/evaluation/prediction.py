"""A trained learner put to use: adapt it to a new task and predict, with the spread of every prediction."""

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import at_least, in_place
from metafunc.data.sampling import generator_for
from metafunc.types import Batch, Categorical, M, MetaLearner, Normal, P, Predictive, Task

BLOCK = 1024
"""Query rows that are predicted at a time, unless the network normalises over all of them together."""


def predict(
    learner: MetaLearner[M, P],
    meta: M,
    support: Batch,
    x: Tensor,
    *,
    num_steps: int | None = None,
    noise_scale: float | None = None,
    seed: int = 0,
) -> Predictive:
    """Adapt a trained learner to one new task, and predict at new inputs.

    Args:
        learner: what was trained.
        meta: its meta-parameters.
        support: the examples of the task, one axis of rows.
        x: the inputs to predict at (n, ...).
        num_steps: steps of adaptation; None: as many as the learner was built with. A learner without inner steps
            takes its one step for any number above 0.
        noise_scale: the observations' standard deviation, in the predictions' `unit`, if there is no noise model.
        seed: of the noise that some learners draw.

    Returns:
        The distribution of the observations, particles first; `metafunc.evaluation.metrics.mixture` makes one of them.

    Raises:
        TypeError: arguments have changed places.
        ValueError: `num_steps` is negative, or the rows of `x` are not shaped like those of the support set.

    Examples:
        >>> import torch, metafunc
        >>> from metafunc import algorithms, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = metafunc.Batch(torch.zeros(5, 1), torch.ones(5, 1))
        >>> metafunc.predict(learner, meta, support, torch.zeros(3, 1), num_steps=2).loc.shape
        torch.Size([1, 3, 1])
    """
    order = "predict(learner, meta, support, x)"
    in_place(order, learner=(learner, MetaLearner), meta=(meta, object), support=(support, Batch), x=(x, object))
    if x.shape[1:] != support.x.shape[1:]:
        given, needed = tuple(x.shape[1:]), tuple(support.x.shape[1:])
        raise ValueError(f"A row of x has the shape {given}, one of the support set {needed}: they have to agree.")
    query = Batch(x, support.y.new_zeros(len(x), *support.y.shape[1:]))
    tasks = tree.map(lambda leaf: leaf[None], Task(support, query))
    with torch.no_grad():
        prepared = learner.prepare(meta, tasks, generator_for(seed, "predict", 0), step=None, num_steps=0)
        examples = tree.at(prepared.support, 0)
        if num_steps is None:
            params = learner.adapt(meta, examples)
        else:
            at_least(0, num_steps=num_steps)
            params = tree.at(learner.path(meta, examples, num_steps), -1)
        blocks = [x] if learner.normalisation == "transductive" else torch.split(x, BLOCK)
        return _joined([_in_full(learner.predict(params, block).with_noise(noise_scale)) for block in blocks])


def _in_full(predicted: Predictive) -> Predictive:
    """The same with a number for each row."""
    if isinstance(predicted, Categorical):
        return predicted
    loc, scale, weight, unit = predicted
    return Normal(
        loc,
        scale if isinstance(scale, tuple) else scale.expand_as(loc),
        weight if isinstance(weight, tuple) else weight.expand(loc.shape[:2]),
        unit if isinstance(unit, tuple) else unit.expand_as(loc),
    )


def _joined(blocks: list[Predictive]) -> Predictive:
    return tree.map(lambda *leaves: torch.cat(leaves, 1), blocks[0], *blocks[1:])
