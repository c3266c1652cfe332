"""Meta-tests of the folds of a cross-validation as one: every task is tested once, by a learner that never saw it."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from metafunc.evaluation.meta_test import Evaluation
from metafunc.evaluation.metrics.table import METRICS
from metafunc.evaluation.noise_scale import IN_TASK_UNITS
from metafunc.evaluation.scoring import Origin


def pool_folds(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The meta-test on the tasks of all folds together.

    Args:
        evaluations: one of each fold, by learners that adapt by as many steps.

    Returns:
        Their scores side by side, with intervals over all tasks, whose numbers are those of one table. A noise scale
        that was fitted on validation tasks is the root of its mean square over folds; the probe is left out.

    Raises:
        ValueError: there is no fold, folds were not judged by the same metrics, or some have a finite number of tasks
            and others do not.

    Examples:
        >>> import metafunc
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> learner = algorithms.alpaca(nn.mlp((1,), 40), likelihood.gaussian())
        >>> meta = learner.init(data.generator_for(0, "init", 0))
        >>> tests = [metafunc.evaluate(learner, meta, data.sinusoid(), num_tasks=5, seed=seed) for seed in range(2)]
        >>> pool_folds(tests).num_tasks
        10
    """
    if not evaluations:
        raise ValueError("There are no folds to pool.")
    first = evaluations[0]
    for other in evaluations:
        if (*other.values, *other.counts) != (*first.values, *first.counts):
            raise ValueError(f"One fold was judged by {', '.join(other.values)}, and one by {', '.join(first.values)}.")
    values = {name: torch.cat([test.values[name] for test in evaluations], 1) for name in first.values}
    counts = {name: torch.cat([test.counts[name] for test in evaluations], 1) for name in first.counts}
    pools = {name: METRICS[name].pooled for name in counts}
    errors = {name: tuple(pool(counts[name].sum(1)).tolist()) for name, pool in pools.items() if pool is not None}
    groups = [test.origin.groups for test in evaluations]
    known = [each for each in groups if each is not None]
    if known and len(known) < len(groups):
        raise ValueError("Some folds are of a finite number of tasks, and others are not: they are not of one table.")
    origin = Origin(torch.cat(known), first.origin.of) if known else first.origin
    pooled = {**errors, **_noise_scale(evaluations)}
    by_target = [test.by_target for test in evaluations if test.by_target is not None]
    return replace(
        first,
        values=values,
        counts=counts,
        pooled=pooled,
        probe={},
        autoregressive=None,
        origin=origin,
        by_target=torch.cat(by_target, 1) if by_target else None,
    )


def _noise_scale(evaluations: Sequence[Evaluation]) -> dict[str, tuple[float | int, ...]]:
    if any("noise_scale" not in test.pooled for test in evaluations):
        return {}
    scales = torch.tensor([test.pooled["noise_scale"] for test in evaluations], dtype=torch.float64)
    left_out = torch.tensor([test.pooled["noise_tasks_left_out"] for test in evaluations]).sum(0)
    return {
        "noise_scale": tuple(scales.square().mean(0).sqrt().tolist()),
        "noise_tasks_left_out": tuple(left_out.tolist()),
        **{name: numbers for name, numbers in evaluations[0].pooled.items() if name == IN_TASK_UNITS},
    }
