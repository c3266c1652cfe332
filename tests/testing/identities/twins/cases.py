"""What the twins are twins of: one case of every kind, on which every identity holds."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch

from metafunc import algorithms, tree
from metafunc.bayes.gaussian import Gaussian
from metafunc.nn import likelihood
from metafunc.testing import (
    IDENTITIES,
    ConvexCase,
    EnsembleCase,
    GaussianCase,
    LearnerCase,
    LossCase,
    ModelCase,
    NetworkCase,
    OptimumCase,
    QuadraticCase,
    Report,
    TabularCase,
    network,
    random_tasks,
)
from metafunc.testing.problems import tabular
from metafunc.testing.problems.linear_gaussian import Lines
from metafunc.testing.problems.strategies import Normals, tree_loss
from metafunc.types import Batch, Task

normal = Normals(0)
TASKS = random_tasks("regression", num_outputs=1)
LOSS = LossCase(tree_loss, {"w": normal(2, 3), "b": normal(3)}, TASKS, inner_lr=0.3, num_steps=2)
MODEL = ModelCase(
    lambda params, x: torch.tanh(x @ params["w"]) @ params["v"],
    lambda outputs, batch: (outputs - batch.y).square().mean(),
    {"w": normal(2, 3), "v": normal(3, 1)},
    tree.at(TASKS, 0).support,
)
QUADRATIC = QuadraticCase(
    normal(3), Task(*(Batch(normal(2, 4, 3), normal(2, 4)) for _ in range(2))), inner_lr=0.1, num_steps=3, strength=1.0
)
CONVEX = ConvexCase(normal(2), torch.eye(2, dtype=torch.float64) + 0.2 * normal(2, 2), normal(2, 2))
ENSEMBLE = EnsembleCase(tree_loss, {"w": normal(4, 3)}, tree.at(TASKS, 0).support)
GAUSSIANS = GaussianCase(*(Gaussian({"w": normal(3)}, {"w": normal(3)}) for _ in range(2)))
MDP = tabular.random(torch.Generator().manual_seed(0), num_states=3, horizon=3)
TABULAR = TabularCase(MDP, normal(3, 2))


def network_case():
    model = network((2,), 1)
    params = model.init(torch.Generator().manual_seed(0))
    return NetworkCase(model, likelihood.gaussian(), normal.like(params), TASKS, inner_lr=0.3)


def learner_case():
    learner = algorithms.build("maml", network, (2,), "regression", 1, inner_lr=0.1, num_steps=2)
    return LearnerCase(learner, learner.init(torch.Generator().manual_seed(0)), TASKS, num_steps=2)


def optimum_case():
    family, other = Lines().family, Lines(noise=0.7).optimum
    return OptimumCase(family, family.optima["test"], other, other.init(torch.Generator()))


OPTIMUM = optimum_case()
NETWORK = network_case()
LEARNER = learner_case()
EVERY = (LOSS, MODEL, NETWORK, QUADRATIC, CONVEX, ENSEMBLE, GAUSSIANS, TABULAR, OPTIMUM, LEARNER)
CASES = {type(case): case for case in EVERY}


class Twin(NamedTuple):
    """A wrong implementation, and the identity that it must break."""

    identity: str
    report: Callable[[], Report]


def twin(identity, case, **wrong):
    """The wrong implementation is in the case, which may be a function that makes it, or stands beside it."""

    def report():
        return IDENTITIES[identity].check(case() if callable(case) else case, **wrong)

    return Twin(identity, report)


def of_gradient(identity, meta_gradient):
    """The wrong implementation is the meta-gradient of the case."""
    return twin(identity, replace(LOSS, meta_gradient=meta_gradient))
