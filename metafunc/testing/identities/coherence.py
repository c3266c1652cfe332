r"""Identities of learners that condition one exchangeable model: what they predict now agrees with what they will.

The formulas are those of `metafunc.evaluation.coherence`, which measures the gaps of all other learners. A learner that
adds jitter to its variances predicts labels with a noise variance that is too small by $\epsilon$ = jitter times the
prior variance; with V the smallest variance it predicts, that moves a variance by $\epsilon / V$ relatively, and a log
density at z standard deviations by $\tfrac12 (1 + z^2)\, \epsilon / V$ to first order. Twice that is allowed.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from metafunc import tree
from metafunc.evaluation import coherence
from metafunc.testing.numerics.report import Report, compare, summarise
from metafunc.testing.numerics.rounding import ROUNDING, bounded
from metafunc.testing.problems.cases import LearnerCase
from metafunc.types import Batch, M, P, Predictive, Task, Tree

COHERENT = ROUNDING + " A learner that adds jitter is allowed twice what it moves to first order."


def permuted_support(case: LearnerCase[M, P]) -> Report:
    """Predictions do not depend on the order of the support rows."""
    learner, meta = case.learner, case.meta

    # Not prepared, as for `ignored_padding`: what a learner draws by a row's number goes with the number.
    def predictions(meta: M, tasks: Task) -> Tree:
        def of_task(task: Task) -> Tree:
            return learner.predict(learner.adapt(meta, task.support), task.query.x)

        return torch.vmap(of_task)(tasks)

    expected, bound = bounded(predictions, meta, case.tasks, passes=2 * case.num_steps + 2)
    reversed_support = tree.map(lambda leaf: leaf.flip(1), case.tasks.support)
    found = predictions(meta, case.tasks._replace(support=reversed_support))
    claim = "Predictions depend on the order of the support rows."
    return summarise("permuted_support", [compare(found, expected, bound, claim)], ROUNDING, str(case))


def chain_rule(case: LearnerCase[M, P]) -> Report:
    """Two labels have one joint probability, whichever of them is predicted first."""

    def sides(meta: M, pairs: Batch) -> coherence.Sides:
        return torch.vmap(lambda pair: coherence.chain_sides(_predict(case, meta, pair), pair))(pairs)

    both, bound = bounded(sides, case.meta, _pairs(case), passes=6 * case.num_steps + 6)
    claim = "log p(a) + log p(b given a) is not log p(b) + log p(a given b)."
    bound += jitter_of(case).nats
    return summarise("chain_rule", [compare(both.left, both.right, bound, claim)], COHERENT, str(case))


def martingale(case: LearnerCase[M, P]) -> Report:
    """A prediction is its own expectation over a label drawn from the learner: probabilities, or two moments."""

    def sides(meta: M, pairs: Batch) -> coherence.Sides:
        return torch.vmap(lambda pair: coherence.martingale_sides(_predict(case, meta, pair), pair))(pairs)

    both, bound = bounded(sides, case.meta, _pairs(case), passes=6 * case.num_steps + 6)
    claim = "The expectation over a label that is drawn from the prediction is another prediction."
    bound += jitter_of(case).variance
    return summarise("martingale", [compare(both.left, both.right, bound, claim)], COHERENT, str(case))


class Moved(NamedTuple):
    """How far jitter may move a sum of two log densities, and a variance."""

    nats: float
    variance: float


def jitter_of(case: LearnerCase[Any, Any]) -> Moved:
    """What jitter may make of the two sides of the chain rule, and of the martingale's."""
    if not case.jitter:
        return Moved(0.0, 0.0)

    def of_pair(pair: Batch) -> tuple[Tensor, Tensor]:
        predict, y = _predict(case, case.meta, pair), pair.y[-2:]
        states = [predict(coherence.seen(pair, *which)) for which in ((0, 0), (1, 0), (0, 1))]
        prior = predict(pair._replace(mask=torch.zeros_like(pair.mask)))
        found = [coherence.described(state, row) for state in (*states, prior) for row in (0, 1)]
        squares = [(y[row] - mean).square() / variance for row in (0, 1) for mean, variance in found]
        return torch.stack([variance for _, variance in found]), torch.stack(squares)

    variances, squares = torch.vmap(of_pair)(_pairs(case))
    relative = case.jitter * float(variances[:, -2:].max() / variances.min())
    outputs = case.tasks.query.y.shape[-1]
    return Moved(2 * outputs * float(1 + squares.max()) * relative, 2 * relative * float(variances.max()))


def _predict(case: LearnerCase[M, P], meta: M, pair: Batch) -> coherence.Predict:
    """What the learner predicts for a pair of rows, given a support set."""

    def predict(rows: Batch) -> Predictive:
        return case.learner.predict(case.learner.adapt(meta, rows), pair.x[-2:])

    return predict


def _pairs(case: LearnerCase[Any, Any]) -> Batch:
    """Each task's support set, grown by its first query row and its middle one."""
    support: Batch = coherence.grown_pairs(case.learner, case.tasks, 1).support
    return support
