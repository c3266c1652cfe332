r"""A stack of cross-validated candidates, whose weights are found on other rows than it is judged on.

The weights of the stack that is tested on fold j are found on the rows of the other folds,

$$\hat w^{(j)} = \arg\max_{w \in \Delta} \textstyle\sum_{i \notin j} \log \sum_k w_k\, p_k^{(-i)}(y_i),$$

where $p_k^{(-i)}$ was trained without the fold of row i. A row has no direct say in the weights it is judged under;
it has an indirect one, as that of a few weights by the learners of the other folds, which were trained on it too. The
weights of the stack that is kept are found on all rows. Each member is at the temperature that the same rows ask for,
see `training.spread`. A member with a share below one in a hundred is left out.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metafunc.algorithms.stacking import stacked, stacking_weights
from metafunc.evaluation.folds import pool_folds
from metafunc.evaluation.meta_test import Evaluation, evaluate
from metafunc.training.build import Learner
from metafunc.training.candidates import Candidate, Stack, Tested, episodes_of, place_of_temperature
from metafunc.training.spread import TEMPERATURES

LEAST_SHARE = 0.01


def stack_of_tested(tested: Sequence[Tested], *, seed: int) -> Tested:
    """The stack of candidates that were tested on the same folds.

    Args:
        tested: the candidates, none of which diverges.
        seed: of the episodes, that of the candidates' own.

    Returns:
        What the stack is worth on tasks that neither its members nor its weights were found on.
    """
    numbers = range(len(tested[0].parts))
    tests = [_on_fold(tested, left_out, seed) for left_out in numbers]
    weights = _weights(tested, [*numbers], [place_of_temperature(one.parts) for one in tested])
    kept = [(one, float(weight)) for one, weight in zip(tested, weights, strict=True) if weight > 0]
    candidates = [one.candidate for one, _ in kept if isinstance(one.candidate, Candidate)]
    noise, temperatures = [one.noise_scales for one, _ in kept], [one.temperature for one, _ in kept]
    weights_kept, own = [weight for _, weight in kept], tested[0].in_task_units
    stack = Stack(candidates, weights_kept, noise, temperatures, in_task_units=own)
    seconds, parameters = sum(one.seconds for one, _ in kept), sum(one.parameters for one, _ in kept)
    return Tested(stack, pool_folds(tests), 1, seconds, parameters)


def on_fold(tested: Sequence[Tested], left_out: int) -> tuple[Learner, Any]:
    """The stack whose weights are found on all folds but one, of members that were trained on these, and its meta."""
    places = [place_of_temperature(one.parts, left_out) for one in tested]
    weights = _weights(tested, [number for number in range(len(tested[0].parts)) if number != left_out], places)
    each = [(one.parts[left_out], float(TEMPERATURES[place])) for one, place in zip(tested, places, strict=True)]
    kept = [(part, float(weight), t) for (part, t), weight in zip(each, weights, strict=True) if weight > 0]
    return stacked([part.member(weight, t) for part, weight, t in kept]), tuple(part.meta for part, _, _ in kept)


def _on_fold(tested: Sequence[Tested], left_out: int, seed: int) -> Evaluation:
    learner, meta = on_fold(tested, left_out)
    family = tested[0].parts[left_out].family
    return evaluate(learner, meta, family, num_tasks=episodes_of(family), num_steps=1, seed=seed)


def _weights(tested: Sequence[Tested], numbers: Sequence[int], places: Sequence[int]) -> Tensor:
    """The weights by the rows of some folds, each candidate at its temperature; 0 for those that are left out."""
    shares = torch.cat([tested[0].parts[number].densities.shares for number in numbers])
    each = [
        torch.cat([one.parts[number].densities.values[place] for number in numbers])
        for one, place in zip(tested, places, strict=True)
    ]
    weights = stacking_weights(torch.stack(each), shares)
    kept = weights * (weights >= LEAST_SHARE)
    return kept / kept.sum()
