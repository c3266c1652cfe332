r"""A stack: several trained learners as one, whose predictive distribution is a weighted mixture of theirs.

$$p(y \mid x, D) = \textstyle\sum_k w_k\, p_k(y \mid x, D), \qquad
\hat w = \arg\max_{w \in \Delta} \textstyle\sum_i \log \sum_k w_k\, p_k(y_i \mid x_i, D_i),$$

over rows that no member was trained on. The objective is concave in w, and each step of expectation maximisation,

$$w_k \leftarrow \textstyle\sum_i v_i\, \frac{w_k\, p_k(y_i)}{\sum_l w_l\, p_l(y_i)},$$

with rows' shares $v_i$ that add up to one, climbs and stays on the simplex.

References:
    Yao, Vehtari, Simpson, Gelman (2018), "Using Stacking to Average Bayesian Predictive Distributions".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes.mixtures import log_density, log_joint, log_weights
from metafunc.checks import above
from metafunc.transforms.objectives import query_loss
from metafunc.types import Batch, Data, MetaLearner, Normal, Normalisation, Scalar, Task, Tree, masked_mean

LEAST = -1e6
"""The log-density below which a row says no more against a member."""
CLIMBS, STILL = 1000, 1e-7
"""Steps at most, and the change of a weight below which no further one is taken."""

Metas: TypeAlias = tuple[Any, ...]
"""The meta-parameters of the members."""


@dataclass(frozen=True)
class Member:
    """One learner of a stack.

    Args:
        learner: a learner of regressions.
        weight: its share of the mixture.
        num_steps: its own steps of adaptation.
        noise_scales: the observations' standard deviation before adaptation and after it, for a learner without a
            noise model.
        temperature: what its scales are multiplied by, the noise scale among them.

    Raises:
        ValueError: the weight or the temperature is not above 0.
    """

    learner: MetaLearner[Any, Any]
    weight: float
    num_steps: int = 1
    noise_scales: tuple[float, float] | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        above(0, weight=self.weight, temperature=self.temperature)


class Adapted(NamedTuple):
    """A member's task: its parameters, and the noise scale where it has no noise model."""

    params: Tree
    noise_scale: Tree = ()


def stacking_weights(
    log_densities: Float[Tensor, "members n"], shares: Float[Tensor, " n"]
) -> Float[Tensor, " members"]:
    """The weights on the simplex under which the mixture gives held-out rows the greatest log-density.

    Args:
        log_densities: what each member gives each row.
        shares: how much each row counts, relative to the others.

    Returns:
        The weights, which add up to one.

    Examples:
        >>> import torch
        >>> stacking_weights(torch.tensor([[0.0, -9.0, 0.0], [-9.0, 0.0, -9.0]]), torch.ones(3)).round(decimals=2)
        tensor([0.6700, 0.3300], dtype=torch.float64)
    """
    rows = log_densities.double().nan_to_num(nan=LEAST).clamp(min=LEAST)
    share = shares.double() / shares.double().sum()
    weights = rows.new_full((len(rows),), 1 / len(rows))
    for _ in range(CLIMBS):
        last, weights = weights, torch.softmax(rows + weights.log()[:, None], 0) @ share
        if float((weights - last).abs().max()) < STILL:
            break
    return weights


def stacked(members: Sequence[Member]) -> MetaLearner[Metas, tuple[Adapted, ...]]:
    """The learner whose predictive distribution is the weighted mixture of its members'.

    Args:
        members: learners of the same tasks.

    Returns:
        The learner. Its meta-parameters are those of its members in a tuple; a path has two rows, before adaptation
        and after each member's own steps.

    Raises:
        ValueError: there is no member.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> alpaca = algorithms.alpaca(nn.mlp((1,), 40), likelihood.gaussian())
        >>> learner = stacked([Member(algorithms.ridge(likelihood.gaussian()), 0.75), Member(alpaca, 0.25)])
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> params = learner.adapt(meta, Batch(torch.zeros(2, 1), torch.ones(2, 1)))
        >>> learner.predict(params, torch.zeros(3, 1)).log_weight.exp().sum(0)
        tensor([1., 1., 1.])
    """
    if not members:
        raise ValueError("A stack needs at least one member.")
    of_all = math.log(sum(member.weight for member in members))
    shares = [math.log(member.weight) - of_all for member in members]

    def init(generator: Generator) -> Metas:
        return tuple(member.learner.init(generator) for member in members)

    def prepare(meta: Metas, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
        each = [
            member.learner.prepare(own, tasks, generator, step=step, num_steps=member.num_steps)
            for member, own in zip(members, meta, strict=True)
        ]
        return Task(*(_with_all([task[side] for task in each], tasks[side]) for side in range(2)))

    def adapt(meta: Metas, support: Data, /) -> tuple[Adapted, ...]:
        return tuple(
            Adapted(member.learner.adapt(own, _own(support, index)), _noise(member, own, 1))
            for index, (member, own) in enumerate(zip(members, meta, strict=True))
        )

    def path(meta: Metas, support: Data, num_steps: int, /) -> tuple[Adapted, ...]:
        before = tuple(
            Adapted(tree.at(member.learner.path(own, _own(support, index), 0), 0), _noise(member, own, 0))
            for index, (member, own) in enumerate(zip(members, meta, strict=True))
        )
        return tree.stack([before, adapt(meta, support)])

    def predict(params: tuple[Adapted, ...], x: Tensor) -> Normal:
        parts = [_predicted(member, own, x) for member, own in zip(members, params, strict=True)]
        weights = [
            log_weights(part).expand(part.loc.shape[:2]) + share for part, share in zip(parts, shares, strict=True)
        ]
        scales = torch.cat([part.scale.expand_as(part.loc) for part in parts])
        return Normal(torch.cat([part.loc for part in parts]), scales, torch.cat(weights))

    def joint(params: tuple[Adapted, ...], query: Batch, /) -> Scalar:
        each = [
            _joint(member, own, _own(query, index))
            for index, (member, own) in enumerate(zip(members, params, strict=True))
        ]
        return torch.logsumexp(torch.stack([log + share for log, share in zip(each, shares, strict=True)]), 0)

    def loss(params: tuple[Adapted, ...], query: Data, /) -> Scalar:
        return -masked_mean(log_density(predict(params, query.x), query.y), query.mask)

    return MetaLearner(
        init=init,
        prepare=prepare,
        adapt=adapt,
        path=path,
        task_loss=query_loss(adapt, loss),
        predict=predict,
        joint=joint,
        normalisation=_protocol(members),
        traceable=all(member.learner.traceable for member in members),
        footprint=lambda tasks: sum(_footprint(member, tasks) for member in members),
        standardises=all(member.learner.standardises for member in members),
    )


def _protocol(members: Sequence[Member]) -> Normalisation:
    """Transductive where one of them is, since what is predicted then depends on the query rows together."""
    found: set[Normalisation] = {member.learner.normalisation for member in members}
    return "transductive" if "transductive" in found else "support" if "support" in found else "none"


def _footprint(member: Member, tasks: Task) -> int:
    return 0 if member.learner.footprint is None else member.learner.footprint(tasks)


def _predicted(member: Member, own: Adapted, x: Tensor) -> Normal:
    found = member.learner.predict(own.params, x)
    if not isinstance(found, Normal):
        raise ValueError("A stack is of learners of regressions: one of its members predicts classes.")
    found = found.with_noise(own.noise_scale)
    if isinstance(found.scale, tuple):
        raise ValueError("A member of the stack has no noise model: give its noise_scales.")
    return found if member.temperature == 1 else found._replace(scale=member.temperature * found.scale)


def _joint(member: Member, own: Adapted, query: Batch) -> Scalar:
    """The log-probability of all rows together under one member; under one with a temperature row by row."""
    if member.learner.joint is not None and member.temperature == 1:
        return member.learner.joint(own.params, query)
    return log_joint(_predicted(member, own, query.x), query.y, query.mask)


def _noise(member: Member, own: Any, row: int) -> Tree:
    if member.noise_scales is None:
        return ()
    return tree.leaves(own)[0].new_tensor(member.noise_scales[row])


def _with_all(prepared: Sequence[Data], plain: Data) -> Data:
    """Rows with what each member attached to them, if any did."""
    extras = tuple(rows.extra for rows in prepared)
    return plain._replace(extra=extras) if tree.leaves(extras) else plain


def _own(rows: Data, index: int) -> Data:
    """Rows with what one member attached to them."""
    return rows._replace(extra=rows.extra[index]) if isinstance(rows.extra, tuple) and rows.extra else rows
