"""Every identity on random problems, and every algorithm of the table under every identity that applies to it."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metafunc import tree
from metafunc.algorithms import SUPERVISED
from metafunc.execution import tracing
from metafunc.execution.gradient import value_and_grad
from metafunc.testing import IDENTITIES, LearnerCase, LossCase, applicable, network, random_tasks
from metafunc.testing.problems import strategies
from metafunc.testing.problems.small import build_small, small
from metafunc.testing.problems.strategies import Normals, tree_loss
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.objectives import query_loss
from metafunc.types import Batch, Task

PER_IDENTITY = 200
PER_CELL = {False: 20, True: 30}
"""Examples for each algorithm; more where only the exact ones take part, so that each identity still sees 200."""
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
EAGER = [identity for identity in IDENTITIES.values() if not identity.compiles]
ON_PROBLEMS = [identity for identity in EAGER if identity.needs is not LearnerCase]
CELLS = [(name, identity) for name, row in SUPERVISED.items() for identity in applicable(row)]


def examples(identity):
    """For each algorithm; two of them claim to condition one model."""
    return 100 if identity.coherent else PER_CELL[identity.exact]


def ask(identity, strategy, profile, num_examples):
    @settings(settings.get_profile(profile), max_examples=num_examples, database=None, suppress_health_check=SLOW)
    @given(strategy)
    def holds(case):
        identity(case).check()

    holds()


@pytest.mark.identities
@pytest.mark.parametrize("identity", ON_PROBLEMS, ids=str)
def test_holds_on_every_problem(identity):
    ask(identity, strategies.CASES[identity.needs](), "gate", PER_IDENTITY)


@pytest.mark.identities
@pytest.mark.parametrize(("name", "identity"), CELLS, ids=str)
def test_holds_of_every_algorithm(name, identity):
    ask(identity, strategies.learner_cases(name, coherent=identity.coherent), "gate", examples(identity))


@pytest.mark.nightly
@pytest.mark.parametrize("identity", ON_PROBLEMS, ids=str)
def test_holds_on_other_problems_every_night(identity):
    ask(identity, strategies.CASES[identity.needs](), "nightly", 1000)


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "identity"), CELLS, ids=str)
def test_holds_of_every_algorithm_every_night(name, identity):
    ask(identity, strategies.learner_cases(name, coherent=identity.coherent), "nightly", 200)


def test_no_identity_is_left_out():
    of_learners = [identity for _, identity in CELLS]
    assert {*ON_PROBLEMS, *of_learners} == set(EAGER)
    assert min(examples(each) * of_learners.count(each) for each in of_learners) >= PER_IDENTITY


def ask_compiled(profile, num_examples):
    """One trace for all examples: the shapes stay, the numbers change."""
    torch._dynamo.reset()
    shapes = {"w": torch.zeros(2, 2), "b": torch.zeros(2)}
    adapt = gradient_descent(tree_loss, lr=0.1, num_steps=2)
    step = value_and_grad(query_loss(adapt, tree_loss), lower=tracing.traced)

    @settings(settings.get_profile(profile), max_examples=num_examples, database=None)
    @given(strategies.normals())
    def holds(normal):
        tasks = Task(*(Batch(normal(2, 3, 2), normal(2, 3, 1)) for _ in range(2)))
        case = LossCase(tree_loss, normal.like(shapes), tasks, inner_lr=0.1, num_steps=2)
        IDENTITIES["eager_is_compiled"].check(case, compiled=step).check()

    holds()


def ask_compiled_step(name, kind, profile, num_examples):
    torch._dynamo.reset()
    row = SUPERVISED[name]
    learner = build_small(name, network, kind, 2, **small(row))
    step = value_and_grad(learner.task_loss, lower=tracing.traced)
    start = learner.init(torch.Generator().manual_seed(0))

    @settings(settings.get_profile(profile), max_examples=num_examples, database=None)
    @given(st.integers(0, 2**16))
    def holds(seed):
        meta = tree.add_scaled(start, 0.1, Normals(seed).like(start))
        tasks = random_tasks(kind, num_tasks=2, num_outputs=2, seed=seed)
        case = LearnerCase(learner, meta, tasks, 2, row.exact, row.inner_steps, seed)
        IDENTITIES["compiled_step"].check(case, compiled=step).check()

    holds()


@pytest.mark.compiled
def test_compiled_is_eager_at_many_points():
    ask_compiled("gate", PER_IDENTITY)


@pytest.mark.compiled
@pytest.mark.parametrize("name", SUPERVISED)
def test_the_compiled_step_is_eager_at_many_points(name):
    ask_compiled_step(name, SUPERVISED[name].kinds[-1], "gate", PER_CELL[False])


@pytest.mark.nightly
def test_compiled_is_eager_at_other_points_every_night():
    ask_compiled("nightly", 1000)


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, row in SUPERVISED.items() for kind in row.kinds])
def test_the_compiled_step_is_eager_at_other_points_every_night(name, kind):
    ask_compiled_step(name, kind, "nightly", 200)
