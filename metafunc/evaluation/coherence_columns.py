"""The gaps of a learner's coherence beside its scores: on the tasks of a meta-test, after the steps it is judged by."""

import math
from dataclasses import replace
from typing import Any

import torch

from metafunc.bayes.tempered import tempered
from metafunc.evaluation.coherence import coherence
from metafunc.evaluation.fitting import as_fitted
from metafunc.evaluation.meta_test import Evaluation
from metafunc.evaluation.metrics.table import METRICS
from metafunc.types import M, MetaLearner, TaskFamily


def with_coherence(
    test: Evaluation, learner: MetaLearner[M, Any], meta: M, family: TaskFamily, *, num_steps: int
) -> Evaluation:
    """A meta-test with the columns `chain_gap` and `martingale_gap`.

    Args:
        test: the meta-test; what it fitted on validation tasks is what the learner predicts with.
        learner: what was tested.
        meta: its meta-parameters.
        family: where the tasks came from.
        num_steps: after how many steps of adaptation the gaps are measured; at all others they are not a number.

    Returns:
        The meta-test, with one number more for each of its tasks and columns.

    Raises:
        ValueError: as `metafunc.evaluation.coherence.coherence`.
    """
    row = min(num_steps, next(iter(test.values.values())).shape[0] - 1)
    judged = as_fitted(learner, test.pooled, row)
    if judged is learner and "noise_scale" in test.pooled:
        judged = tempered(learner).with_values((float(test.pooled["noise_scale"][row]),))
    found = coherence(judged, meta, family, num_tasks=test.num_tasks, num_steps=row, seed=test.seed, split=test.split)
    like = next(iter(test.values.values()))
    columns = {}
    for name, metric in METRICS.items():
        if metric.asked:
            columns[name] = torch.full_like(like, math.nan)
            columns[name][row] = metric.of_task(found).to(like)
    return replace(test, values={**test.values, **columns})
