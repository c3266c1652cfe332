"""The bound that the exact prediction is for all others, as a test with a stated error level."""

import math
from typing import Any

import torch
from torch import Tensor

from metafunc.bayes.mixtures import log_density
from metafunc.data.sampling import generator_for
from metafunc.testing.numerics.report import Comparison, Report, summarise
from metafunc.testing.problems.cases import OptimumCase
from metafunc.types import M, MetaLearner, P, Task, masked_mean

ERROR_LEVEL = 1e-6
"""How probable it is at most that a right optimum is refused, by chance, on one draw of tasks."""
AT_A_TIME = 20
"""Tasks; an optimum may be a grid of a million numbers."""
BOUND = "the probability of a larger sum is at most one in a million, by Markov's inequality."


def none_is_better(case: OptimumCase[M, P], *, optimum: MetaLearner[Any, Any] | None = None) -> Report:
    r"""No learner's expected negative log-likelihood is below the exact prediction's.

    With q a learner's density of a query and p the exact one, $\mathbb E_p[q / p] = 1$. For the mean over the rows of a
    task of $\log q / p$, Jensen's inequality gives $\mathbb E \exp(\cdot) \le 1$, for the sum over independent tasks so
    does the product, and by Markov's inequality

    $$P\Big(\textstyle\sum_i \tfrac1{n_i} \sum_j \log \tfrac{q_{ij}}{p_{ij}} \ge \log \tfrac1\alpha\Big) \le \alpha,$$

    whatever the learner, the tasks and their number: no variance is estimated, and no distribution assumed.

    Args:
        case: what it is checked on.
        optimum: what is taken for the optimum; None: the case's.
    """
    tasks = case.family.test(generator_for(case.seed, "test", 0), case.num_tasks)
    generator = generator_for(case.seed, "prepare", 0)
    prepared = case.learner.prepare(case.meta, tasks, generator, step=None, num_steps=0)
    best = optimum or case.optimum
    known = best.init(generator)

    def of_task(prepared: Task, task: Task) -> Tensor:
        found = case.learner.predict(case.learner.adapt(case.meta, prepared.support), task.query.x)
        true = best.predict(best.adapt(known, task.support), task.query.x)
        return masked_mean(log_density(found, task.query.y) - log_density(true, task.query.y), task.query.mask)

    with torch.no_grad():
        advantage = torch.vmap(of_task, chunk_size=AT_A_TIME)(prepared, tasks).double().sum()
    claim = "The learner predicts better than what is taken for the optimum."
    comparison = Comparison(float(advantage.clamp(min=0)), math.log(1 / ERROR_LEVEL), "", claim)
    return summarise("none_is_better", [comparison], BOUND, str(case))
