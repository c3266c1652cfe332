"""The whole table of algorithms through the public conformance kit."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from metafunc import nn, tree
from metafunc.algorithms import SUPERVISED
from metafunc.algorithms.networks import no_network
from metafunc.bayes.by_evidence import PAIRED
from metafunc.evaluation import metrics
from metafunc.execution import tracing
from metafunc.execution.gradient import value_and_grad
from metafunc.testing import IdentityError, LearnerCase, check_learner, network, random_tasks
from metafunc.testing.identities import learners
from metafunc.testing.problems.small import NUM_NODES, build_small
from metafunc.types import Categorical, Model, Normal

NUM_STEPS = 2
OWN = {
    "reptile": {"inner_lr": 0.05, "batch_size": 3},
    "abml": {"num_samples": 1},
    "vampire": {"num_samples": 1},
    "bmaml": {"inner_lr": 0.01, "num_particles": 3, "noise_scale": 1.0},
    "alpaca": {"noise_scale": 1.0},
    "mixed": {"features": "spline", "num_knots": 5, "noise_scale": 1.0},
    "versa": {"num_particles": 3},
    "np": {"width": 4, "num_latents": 2, "num_particles": 3},
    "anp": {"width": 4, "num_latents": 2, "num_particles": 3, "num_heads": 2, "num_hidden": 5},
    "convcnp": {"channels": 3, "num_layers": 2, "points_per_unit": 2, "span": 8.0},
    "tnp": {"width": 4, "num_heads": 2, "num_layers": 2, "num_hidden": 5},
    "pacoh": {"inner_lr": 0.01, "num_priors": 3, "num_samples": 2, "noise_scale": 1.0},
    "emaml": {"num_particles": 3},
    "deep_ensemble": {"num_particles": 3},
}
"""What else an algorithm is set to here; a row that is not named keeps its defaults."""
IN_TRAINING = {"pacoh": 3 * 2, "exact": NUM_NODES, "ridge": PAIRED, "gp_support": PAIRED} | dict.fromkeys(
    ("maml_noise", "platipus", "abml", "vampire", "mr_maml_w", "mr_cnp_w"), 1
)
"""Particles where their number in training is not `num_particles`: PACOH draws its samples from each prior, and
those on the support set have a grid's."""
CASES = [(name, kind) for name, row in SUPERVISED.items() for kind in row.kinds]
close = partial(assert_close, rtol=1e-10, atol=1e-10)
identical = partial(assert_close, rtol=0, atol=0)
every_row = pytest.mark.parametrize(("name", "kind"), CASES)


def hyperparameters(name):
    """Those of a loop, where a row has them, and its own."""
    steps = {"inner_lr": 0.1, "num_steps": NUM_STEPS}
    return {key: value for key, value in steps.items() if key in SUPERVISED[name].hyperparameters} | OWN.get(name, {})


def particles(name):
    """How many particles a prediction in training may have."""
    if name in IN_TRAINING or "num_particles" in OWN.get(name, {}):
        return {IN_TRAINING.get(name) or OWN[name]["num_particles"]}
    argument = SUPERVISED[name].hyperparameters.get("num_particles")
    return {1} if argument is None else {1, argument.default}


def build(name, kind, factory=network):
    return build_small(name, factory, kind, 3, **hyperparameters(name))


def start(name, kind, factory=network):
    """A learner, its first meta-parameters, and prepared tasks."""
    learner = build(name, kind, factory)
    generator = torch.Generator().manual_seed(0)
    meta = learner.init(generator)
    return learner, meta, learner.prepare(meta, random_tasks(kind), generator, step=0, num_steps=100)


def case(name, kind, factory=network):
    learner = build(name, kind, factory)
    return LearnerCase(learner, learner.init(torch.Generator().manual_seed(0)), random_tasks(kind), NUM_STEPS)


@every_row
def test_conforms(name, kind):
    row = SUPERVISED[name]
    check_learner(
        build(name, kind), random_tasks(kind), num_steps=NUM_STEPS, exact=row.exact, inner_steps=row.inner_steps
    )


@pytest.mark.parametrize(
    "name", [name for name, row in SUPERVISED.items() if not row.exact and row.networks is not no_network]
)
def test_a_row_that_stops_gradients_is_not_the_derivative_of_its_value(name):
    with pytest.raises(IdentityError, match="not the derivative"):
        learners.meta_derivative(case(name, "regression")).check()


@every_row
def test_predictions_are_particles_of_the_kind(name, kind):
    learner, meta, tasks = start(name, kind)
    task = tree.unstack(tasks)[0]
    prediction = learner.predict(learner.adapt(meta, task.support), task.query.x)
    assert isinstance(prediction, Normal if kind == "regression" else Categorical)
    shape = tree.leaves(prediction)[0].shape
    assert shape[0] in particles(name)
    assert shape[1:] == (task.query.x.shape[0], 3)


def adapted_error(learner, meta, tasks):
    """The query error of the predictions after adaptation: comparable whatever a learner trains on."""

    def error(meta, task):
        prediction = learner.predict(learner.adapt(meta, task.support), task.query.x)
        judge = metrics.mse if isinstance(prediction, Normal) else metrics.nll
        return judge(prediction, task.query.y)

    return torch.vmap(error, in_dims=(None, 0))(meta, tasks).mean().item()


def of_one_function(tasks):
    """The same inputs, with targets that are one function of them in every task: a mean that can be learned."""
    return tasks._replace(
        **{
            name: part._replace(y=torch.stack([part.x.sum(-1), part.x[..., 0], part.x[..., -1]], -1).tanh())
            for name, part in tasks._asdict().items()
        }
    )


def trained(learner, meta, tasks, num_steps=25):
    step = value_and_grad(learner.task_loss)
    leaves = [leaf.clone().requires_grad_() for leaf in tree.leaves(meta)]
    optimiser = torch.optim.Adam(leaves, lr=0.02)
    for _ in range(num_steps):
        gradient = step(tree.unflatten(meta, [leaf.detach() for leaf in leaves]), tasks)[1]
        for leaf, derivative in zip(leaves, tree.leaves(gradient), strict=True):
            leaf.grad = derivative
        optimiser.step()
    return tree.unflatten(meta, [leaf.detach() for leaf in leaves])


@every_row
def test_a_few_outer_steps_lower_the_error_after_adaptation(name, kind):
    learner, meta, _ = start(name, kind)
    tasks = random_tasks(kind)  # Not prepared: Reptile takes all rows rather than one draw of minibatches forever.
    if kind == "regression":
        tasks = of_one_function(tasks)  # Of targets that are noise a learner may learn how much of it there is, alone.
    after = trained(learner, meta, tasks)
    if SUPERVISED[name].trains:
        left = 0.6 if kind == "regression" else 0.99
        assert adapted_error(learner, after, tasks) < left * adapted_error(learner, meta, tasks)
    else:
        assert all(torch.equal(x, y) for x, y in zip(tree.leaves(after), tree.leaves(meta), strict=True))


def nested(input_shape, num_outputs):
    """The same network, with its parameters in a dict of dicts."""
    flat = network(input_shape, num_outputs)

    def deepen(params):
        layers = {}
        for name, leaf in params.items():
            layer, leaf_name = name.split(".")
            layers.setdefault(layer, {})[leaf_name] = leaf
        return layers

    def flatten(params):
        return {f"{layer}.{name}": leaf for layer, leaves in params.items() for name, leaf in leaves.items()}

    return Model(lambda generator: deepen(flat.init(generator)), lambda params, x: flat.apply(flatten(params), x))


@every_row
def test_nested_parameters_give_what_flat_ones_give(name, kind):
    learner, meta, tasks = start(name, kind)
    deep_learner, deep_meta, deep_tasks = start(name, kind, nested)
    assert len(tree.paths(deep_meta)) == len(tree.paths(meta))
    value, gradient = value_and_grad(learner.task_loss)(meta, tasks)
    deep_value, deep_gradient = value_and_grad(deep_learner.task_loss)(deep_meta, deep_tasks)
    flat, deep = (dict(zip(tree.paths(side), tree.leaves(side), strict=True)) for side in (gradient, deep_gradient))
    close(deep_value, value)
    close(deep, {path: flat[path] for path in deep})


def normalised(input_shape, num_outputs):
    """A network that normalises by the support set's statistics."""
    model = nn.mlp(input_shape, num_outputs, hidden=(4, 3), activation="tanh", normalisation="support")
    return replace(model, init=lambda generator: tree.map(torch.Tensor.double, model.init(generator)))


@every_row
def test_with_support_statistics_query_rows_do_not_see_each_other(name, kind):
    learner, meta, tasks = start(name, kind, normalised)
    task = tree.unstack(tasks)[0]
    adapted = learner.adapt(meta, task.support)
    together = tree.leaves(learner.predict(adapted, task.query.x))[0]
    alone = [tree.leaves(learner.predict(adapted, row[None]))[0] for row in task.query.x]
    close(together, torch.cat(alone, dim=1))
    last = tree.unstack(learner.path(meta, task.support, NUM_STEPS))[-1]
    identical(last, adapted)
    if SUPERVISED[name].exact:
        learners.meta_derivative(case(name, kind, normalised)).check()


@pytest.mark.compiled
@pytest.mark.parametrize("name", SUPERVISED)
def test_the_compiled_step_is_the_eager_one(name):
    torch._dynamo.reset()
    learners.compiled_step(case(name, SUPERVISED[name].kinds[0])).check()


@pytest.mark.compiled
def test_inductor_compiles_maml():
    torch._dynamo.reset()
    learners.compiled_step(case("maml", "regression"), lower=tracing.compiled).check()


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in SUPERVISED if name != "maml"])
def test_inductor_compiles_every_other_row(name):
    torch._dynamo.reset()
    learners.compiled_step(case(name, SUPERVISED[name].kinds[0]), lower=tracing.compiled).check()
