r"""Is it Bayesian? What the predictions of one exchangeable model satisfy, and how far a learner's are from it.

A learner that conditions one model on a support set D predicts, for rows a and b and whatever is drawn for them,

$$\log p(y_a \mid D) + \log p(y_b \mid D, a) = \log p(y_b \mid D) + \log p(y_a \mid D, b) \qquad \text{(chain rule)},$$
$$\mathbb E_{y' \sim p(\cdot \mid x_a, D)}\; p(y_b \mid D \cup (x_a, y')) = p(y_b \mid D) \qquad \text{(martingale)},$$

and neither the order of D nor rows that a mask leaves out matter. Support sets grow by masked rows, so that what
`prepare` draws for a task is the same with and without them.

The expectation is a sum over classes, or for each particle's Gaussian a rule that is exact to the third degree, in one
dimension to the thirteenth. Gaussians are compared by their first two moments: the divergence is that of the Gaussians
with the moments of both sides, which is zero for every exact posterior of a Gaussian model.

References:
    Falck, Wang, Holmes (2024), "Is In-Context Learning in Large Language Models Bayesian? A Martingale Perspective".
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes.cubature import gauss_hermite, spherical
from metafunc.bayes.mixtures import log_weights
from metafunc.checks import at_least
from metafunc.data.sampling import generator_for
from metafunc.evaluation import metrics
from metafunc.evaluation.metrics.scores import class_log_probs, required_scale
from metafunc.evaluation.scoring import BLOCK, chunks, fitting, sampler_of
from metafunc.types import Batch, Categorical, M, MetaLearner, Normal, P, Predictive, Task, TaskFamily

NODES = 7
"""Points of the expectation over one target."""
AT_ONCE = 16
"""Possible labels that are adapted to at the same time."""
Predict: TypeAlias = Callable[[Batch], Predictive]


class Sides(NamedTuple):
    """Two numbers, or distributions by their numbers, that one exchangeable model makes equal."""

    left: Tensor
    right: Tensor


class Gaps(NamedTuple):
    """How far a learner is from one exchangeable model: for one task, or for each of stacked ones.

    Args:
        permutation: by how many nats log-probabilities change when the support rows are reversed.
        padding: by how many nats they change when masked rows are left out.
        chain: the difference between the two sides of the chain rule, in nats.
        shift: how far the expected prediction's mean is from the prediction's, in its standard deviations; of classes,
            the total variation between the two.
        martingale: the divergence of the expected prediction from the prediction, in nats.
    """

    permutation: Tensor
    padding: Tensor
    chain: Tensor
    shift: Tensor
    martingale: Tensor


def grown(task: Task, first: Tensor, second: Tensor) -> Batch:
    """A task's support set with two of its query rows at the end, which its mask leaves out."""
    support, query = task.support, task.query
    present = support.x.new_ones(support.x.shape[0]) if isinstance(support.mask, tuple) else support.mask
    rows = torch.stack([first, second])
    mask = torch.cat([present, present.new_zeros(2)])
    return Batch(torch.cat([support.x, query.x[rows]]), torch.cat([support.y, query.y[rows]]), mask)


def chain_sides(predict: Predict, support: Batch) -> Sides:
    """Both sides of the chain rule for the last two rows of a grown support set."""
    neither, with_first, with_second = (predict(seen(support, *which)) for which in ((0, 0), (1, 0), (0, 1)))
    y = support.y[-2:]
    return Sides(
        log_prob(neither, y, 0) + log_prob(with_first, y, 1), log_prob(neither, y, 1) + log_prob(with_second, y, 0)
    )


def martingale_sides(predict: Predict, support: Batch) -> Sides:
    """The prediction at the last row, and its expectation over a label of the row before.

    They are probabilities (classes,), or means and variances (2, outputs).
    """
    before = predict(seen(support, 0, 0))
    labels, weights = labels_of(before)

    def after(label: Tensor) -> Tensor:
        y = torch.cat([support.y[:-2], label[None], support.y[-1:]])
        return described(predict(seen(support._replace(y=y), 1, 0)))

    found = torch.vmap(after, chunk_size=AT_ONCE)(labels)
    if isinstance(before, Categorical):
        return Sides(described(before), weights @ found)
    mean = weights @ found[:, 0]
    # About their mean: the difference of two squares would leave few digits of a small variance.
    variance = weights @ (found[:, 1] + (found[:, 0] - mean).square())
    return Sides(described(before), torch.stack([mean, variance]))


def labels_of(predictive: Predictive) -> tuple[Tensor, Tensor]:
    """Labels of the first of two rows, as they are predicted, and their weights."""
    if isinstance(predictive, Categorical):
        return torch.arange(predictive.logits.shape[-1], device=predictive.logits.device), described(predictive, 0)
    loc, scale, log_weight, _ = _each(predictive)
    outputs = loc.shape[-1]
    rule = gauss_hermite(loc, NODES) if outputs == 1 else spherical(loc, outputs)
    labels = loc[:, 0, None] + scale[:, 0, None] * rule.nodes
    return labels.flatten(0, 1), (log_weight[:, 0, None].exp() * rule.weights).flatten()


def described(predictive: Predictive, row: int = 1) -> Tensor:
    """The mixture's probabilities (classes,) of one of two rows, or its means and variances (2, outputs)."""
    if isinstance(predictive, Categorical):
        return class_log_probs(predictive)[row].exp()
    mixed = metrics.mixture(_each(predictive))
    assert isinstance(mixed, Normal)
    return torch.stack([mixed.loc[0, row], mixed.scale[0, row].square()])


def log_prob(predictive: Predictive, y: Tensor, row: int) -> Float[Tensor, ""]:
    """The log-probability of one of two rows under the mixture of particles."""
    each = _each(predictive) if isinstance(predictive, Normal) else predictive
    return -metrics.nll(tree.map(lambda leaf: leaf[:, row : row + 1], each), y[row : row + 1])


def seen(support: Batch, first: int, second: int) -> Batch:
    """A grown support set in which its last two rows count, or do not."""
    return support._replace(mask=torch.cat([support.mask[:-2], torch.tensor([first, second]).to(support.mask)]))


def pair_gaps(learner: MetaLearner[M, P], meta: M, support: Batch, num_steps: int | None = None) -> Gaps:
    """The gaps of one task, for the last two rows of its grown support set.

    Args:
        learner: as in `gaps`.
        meta: its meta-parameters.
        support: what `grown` returns, prepared.
        num_steps: as in `gaps`.
    """
    x, y = support.x[-2:], support.y[-2:]

    def predict(rows: Batch) -> Predictive:
        if num_steps is None:
            return learner.predict(learner.adapt(meta, rows), x)
        return learner.predict(tree.at(learner.path(meta, rows, num_steps), -1), x)

    def changed(rows: Batch) -> Tensor:
        other = predict(rows)
        return torch.stack([(log_prob(known, y, row) - log_prob(other, y, row)).abs() for row in (0, 1)]).mean()

    known = predict(seen(support, 0, 0))
    chain, martingale = chain_sides(predict, support), martingale_sides(predict, support)
    return Gaps(
        permutation=changed(reversed_rows(support)),
        padding=changed(support._replace(x=support.x[:-2], y=support.y[:-2], mask=support.mask[:-2])),
        chain=(chain.left - chain.right).abs(),
        shift=_shift(martingale, known),
        martingale=_divergence(martingale, known),
    )


def reversed_rows(support: Batch) -> Batch:
    """A grown support set whose rows, but for the last two, are in the opposite order."""
    x, y, mask = (torch.cat([leaf[:-2].flip(0), leaf[-2:]]) for leaf in support[:3])
    return support._replace(x=x, y=y, mask=mask)


def gaps(
    learner: MetaLearner[M, P],
    meta: M,
    tasks: Task,
    generator: Generator,
    *,
    num_steps: int | None = None,
    num_pairs: int = 2,
) -> Gaps:
    """The gaps of stacked tasks, each the mean over some pairs of query rows.

    Args:
        learner: the learner; its predictions of a regression have a scale.
        meta: its meta-parameters.
        tasks: stacked tasks, not prepared.
        generator: what `prepare` draws from.
        num_steps: steps of adaptation; None: as many as the learner was built with.
        num_pairs: pairs of a task: its i-th row, and the i-th after the middle.

    Raises:
        ValueError: there are fewer than two query rows, or the network normalises by statistics of the support set,
            which rows would enter that its mask leaves out.
    """
    pairs = grown_pairs(learner, tasks, num_pairs)
    prepared = learner.prepare(meta, pairs, generator, step=None, num_steps=0).support
    size = max(1, fitting(learner, meta, pairs, num_steps or 0) // AT_ONCE)

    def of_pair(support: Batch) -> Gaps:
        return pair_gaps(learner, meta, support, num_steps)

    with torch.no_grad():
        found = [torch.vmap(of_pair)(some.support) for some in chunks(Task(prepared, prepared), size)]
    whole: Gaps = tree.map(lambda *parts: torch.cat(parts), found[0], *found[1:])
    return tree.map(lambda leaf: leaf.reshape(-1, num_pairs).mean(1).cpu(), whole)


def grown_pairs(learner: MetaLearner[M, P], tasks: Task, num_pairs: int) -> Task:
    """Grown support sets, (tasks x pairs) first, with the pairs as query sets; where few rows count some come again."""
    at_least(1, num_pairs=num_pairs)
    num_queries = tasks.query.x.shape[1]
    if num_queries < 2 * num_pairs:
        raise ValueError(f"num_pairs = {num_pairs} needs {2 * num_pairs} query rows, and a task has {num_queries}.")
    if learner.normalisation != "none":
        raise ValueError(
            f"Coherence grows the support set by rows that a mask leaves out, and this network normalises by "
            f'{learner.normalisation} statistics, which they would enter: take a model with normalisation="none".'
        )

    def of_task(task: Task) -> Batch:
        query = task.query
        present = query.x.new_ones(num_queries) if isinstance(query.mask, tuple) else query.mask
        order = torch.argsort(present, descending=True, stable=True)
        count = (present > 0).sum().clamp(min=1)
        number = torch.arange(num_pairs, device=order.device)
        return torch.vmap(lambda a, b: grown(task, a, b))(order[number % count], order[(count // 2 + number) % count])

    support = tree.map(lambda leaf: leaf.flatten(0, 1), torch.vmap(of_task)(tasks))
    return Task(support, tree.map(lambda leaf: leaf[:, -2:], support)._replace(mask=()))


def coherence(
    learner: MetaLearner[M, P],
    meta: M,
    family: TaskFamily,
    *,
    num_tasks: int = 100,
    num_steps: int | None = None,
    num_pairs: int = 2,
    seed: int = 0,
    split: str = "test",
) -> Gaps:
    """How far a trained learner is from one exchangeable model, on new tasks: those of `metafunc.evaluate`.

    Args:
        learner: the learner. Of a regression it states a scale: `metafunc.tempered(learner).with_values((scale,))` does
            for one that has none.
        meta: its meta-parameters.
        family: where the tasks come from.
        num_tasks: how many.
        num_steps: as in `gaps`.
        num_pairs: as in `gaps`.
        seed: what the tasks are drawn with.
        split: as in `metafunc.evaluate`.

    Raises:
        ValueError: the family is one of control, its predictions have no scale, or as in `gaps`.

    Examples:
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> learner = algorithms.alpaca(nn.mlp((1,), 40), likelihood.gaussian())
        >>> meta = learner.init(data.generator_for(0, "init", 0))
        >>> bool(coherence(learner, meta, data.sinusoid(), num_tasks=10).chain.max() < 1e-3)
        True
    """
    at_least(1, num_tasks=num_tasks)
    if family.kind == "control":
        raise ValueError(f"{family.name} is for control, and policies predict no targets.")
    sampler = sampler_of(family, split)
    found = []
    for done in range(0, num_tasks, BLOCK):
        tasks = sampler(generator_for(seed, split, done // BLOCK), min(BLOCK, num_tasks - done))
        generator = generator_for(seed, f"coherence-{split}", done // BLOCK)
        found.append(gaps(learner, meta, tasks, generator, num_steps=num_steps, num_pairs=num_pairs))
    return tree.map(lambda *parts: torch.cat(parts), found[0], *found[1:])


def _each(predictive: Normal) -> Normal:
    """The same with a scale for each number, and with a weight for each particle of each row."""
    loc = predictive.loc
    scale = required_scale(predictive, "coherence").expand_as(loc)
    return Normal(loc, scale, log_weights(predictive).expand(loc.shape[:2]))


def _shift(sides: Sides, predictive: Predictive) -> Tensor:
    if isinstance(predictive, Categorical):
        return 0.5 * (sides.left - sides.right).abs().sum()
    return ((sides.left[0] - sides.right[0]) / sides.left[1].sqrt()).abs().mean()


def _divergence(sides: Sides, predictive: Predictive) -> Tensor:
    r"""$\mathrm{KL}(\text{prediction} \Vert \text{its expectation})$."""
    if isinstance(predictive, Categorical):
        return torch.where(sides.left > 0, sides.left * (sides.left / sides.right).log(), 0.0).sum()
    ratio = sides.left[1] / sides.right[1]
    return 0.5 * (ratio - 1 - ratio.log() + (sides.left[0] - sides.right[0]).square() / sides.right[1]).sum()
