"""How far an algorithm of the table is from one exchangeable model, on a small network in double precision."""

from typing import NamedTuple

import torch
from torch import Generator

from metafunc import algorithms, tree
from metafunc.bayes.tempered import tempered
from metafunc.checks import look_up
from metafunc.evaluation.coherence import Gaps, gaps
from metafunc.testing.identities.coherence import jitter_of
from metafunc.testing.problems.cases import LearnerCase
from metafunc.testing.problems.small import build_small, network, random_tasks, small
from metafunc.types import Categorical, Kind

NUM_TASKS = 20


class Measured(NamedTuple):
    """The gaps of one kind of tasks.

    Args:
        kind: of the tasks.
        coherent: whether the row of the table claims that they are zero.
        allowed: what jitter may make of zero.
        gaps: of each task.
    """

    kind: Kind
    coherent: bool
    allowed: float
    gaps: Gaps


def measure(name: str) -> list[Measured]:
    """The gaps of a row of `metafunc.algorithms.ALGORITHMS`, for every kind of tasks that it takes.

    Raises:
        ValueError: there is no such row, or it acts in environments.

    Examples:
        >>> from metafunc.testing.diagnosis.coherence import measure
        >>> (found,) = measure("alpaca")
        >>> found.coherent, bool(found.gaps.chain.max() < 1e-12)
        (True, True)
    """
    row = look_up(algorithms.ALGORITHMS, name, "algorithm")
    if name not in algorithms.SUPERVISED:
        raise ValueError(f"{name} learns policies, which predict no targets: coherence is asked of predictions.")
    found = []
    for kind in row.kinds:
        learner = build_small(name, network, kind, 3, **small(row))
        meta = tree.map(torch.Tensor.double, learner.init(Generator().manual_seed(0)))
        tasks = random_tasks(kind, num_tasks=NUM_TASKS)
        adapted = learner.predict(learner.adapt(meta, tree.at(tasks, 0).support), tree.at(tasks, 0).query.x)
        if not isinstance(adapted, Categorical) and isinstance(adapted.scale, tuple):
            learner = tempered(learner)
        measured = gaps(learner, meta, tasks, Generator().manual_seed(0))
        claims = kind in row.coherent
        case = LearnerCase(learner, meta, tasks, coherent=claims, jitter=row.jitter if claims else 0.0)
        found.append(Measured(kind, claims, jitter_of(case).nats, measured))
    return found
