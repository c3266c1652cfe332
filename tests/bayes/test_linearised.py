"""Linearised Laplace: the exact posterior of a linear model, two routes to one matrix, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from torch import Generator

import metafunc
from metafunc import algorithms, nn, testing, tree
from metafunc.bayes import linear_regression, linearised
from metafunc.bayes.linear_regression import MatrixNormal
from metafunc.evaluation import scoring
from metafunc.nn import likelihood
from metafunc.types import Batch, MetaLearner

PRECISION, NOISE = 0.7, 0.4
GAUSSIAN, CLASSES = likelihood.gaussian(3), likelihood.categorical(3)
MODEL = testing.network((2,), 3)


def fixed(params: object) -> MetaLearner:
    """A learner that adapts to given parameters, whatever it sees."""
    learner = algorithms.scratch(MODEL, GAUSSIAN, num_steps=1)
    return metafunc.types.MetaLearner(
        init=learner.init,
        adapt=lambda meta, support: params,
        path=learner.path,
        task_loss=learner.task_loss,
        predict=learner.predict,
    )


def case(observed, layers="last", seed=0):
    kind = observed.kind
    task = tree.at(testing.random_tasks(kind, seed=seed), 0)
    learner = algorithms.maml(MODEL, observed, inner_lr=0.1, num_steps=2)
    meta = learner.init(Generator().manual_seed(seed))
    return metafunc.laplace(learner, MODEL, observed, layers=layers), meta, task


def test_the_last_layer_of_a_gaussian_model_is_bayesian_linear_regression() -> None:
    task = tree.at(testing.random_tasks("regression"), 0)
    params = MODEL.init(Generator().manual_seed(0))
    features = nn.mlp((2,), None, hidden=(4, 3), activation="tanh")
    body = {name: leaf for name, leaf in params.items() if not name.startswith("head.")}

    def rows(x: torch.Tensor) -> torch.Tensor:
        found = features.apply(body, x)
        return torch.cat([found, found.new_ones(len(x), 1)], 1)

    prior = MatrixNormal(
        torch.cat([params["head.weight"].mT, params["head.bias"][None]]).double(),
        PRECISION * NOISE**2 * torch.eye(4, dtype=torch.float64),
    )
    exact = linear_regression.condition(prior, rows(task.support.x), task.support.y)
    at_mode = {**params, "head.weight": exact.mean[:-1].mT, "head.bias": exact.mean[-1]}
    learner = metafunc.laplace(fixed(at_mode), MODEL, GAUSSIAN).with_values((PRECISION, NOISE))
    found = learner.predict(learner.adapt(params, task.support), task.query.x)
    spread = NOISE * (1 + linear_regression.variance(exact, rows(task.query.x))).sqrt()
    torch.testing.assert_close(found.loc[0], rows(task.query.x) @ exact.mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.scale[0], spread[:, None].expand(-1, 3), rtol=0, atol=1e-12)
    # The wrong twin: without the noise of the observation.
    assert (found.scale[0] - (spread.square() - NOISE**2).sqrt()[:, None]).abs().min() > 1e-3


def by_parameters(mode: linearised.Mode, x: torch.Tensor, observed: likelihood.Likelihood, layers: str) -> torch.Tensor:
    """The covariance by the matrix over parameters, Jacobians by finite loops of plain autograd."""
    names = [name for name in mode.params if layers == "all" or name.startswith("head.")]

    def jacobian(rows: torch.Tensor) -> torch.Tensor:
        leaves = {name: leaf.detach().clone().requires_grad_(name in names) for name, leaf in mode.params.items()}
        outputs = MODEL.apply(leaves, rows).flatten()
        each = [torch.autograd.grad(o, [leaves[n] for n in names], retain_graph=True) for o in outputs]
        return torch.stack([torch.cat([part.flatten() for part in parts]) for parts in each])

    at_support, at_query = jacobian(mode.support.x), jacobian(x)
    outputs = MODEL.apply(mode.params, mode.support.x)
    present = torch.ones(len(outputs)) if isinstance(mode.support.mask, tuple) else mode.support.mask
    if observed.kind == "regression":
        blocks = [torch.eye(3, dtype=torch.float64) / NOISE**2 for _ in outputs]
    else:
        blocks = [torch.diag(p) - torch.outer(p, p) for p in outputs.softmax(-1)]
    curvature = torch.block_diag(*(count * block for count, block in zip(present, blocks, strict=True)))
    size = at_support.shape[1]
    inverse = torch.linalg.inv(
        at_support.mT @ curvature @ at_support + PRECISION * torch.eye(size, dtype=torch.float64)
    )
    whole = at_query @ inverse @ at_query.mT
    return torch.stack([whole[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] for i in range(len(x))])


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("observed", [GAUSSIAN, CLASSES], ids=["regression", "classification"])
@pytest.mark.parametrize("padded", [False, True])
def test_solves_over_outputs_are_the_matrix_over_parameters(observed, layers, padded) -> None:
    learner, meta, task = case(observed, layers)
    if padded:
        task = tree.at(testing.padded(tree.map(lambda leaf: leaf[None], task)), 0)
    mode = learner.adapt(meta, task.support)
    linear = learner.statistics(mode, task.query.x)
    roots = linearised.roots_of_classes(linear.support_outputs)
    root = roots if observed.kind == "classification" else torch.eye(3).expand_as(roots).double() / NOISE
    found = linearised.variance(linear, root, torch.tensor(PRECISION, dtype=torch.float64))
    expected = by_parameters(mode, task.query.x, observed, layers)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    # The wrong twin: a support set that says nothing.
    assert (linear.own / PRECISION - expected).abs().max() > 1e-2


@pytest.mark.parametrize("observed", [GAUSSIAN, CLASSES], ids=["regression", "classification"])
def test_padding_and_other_tasks_change_nothing(observed) -> None:
    learner, meta, _ = case(observed)
    tasks = testing.random_tasks(observed.kind)

    def predictions(tasks: metafunc.Task) -> object:
        return torch.vmap(lambda task: learner.predict(learner.adapt(meta, task.support), task.query.x))(tasks)

    whole, garbage = predictions(tasks), predictions(testing.padded(tasks)._replace(query=tasks.query))
    alone = learner.predict(learner.adapt(meta, tree.at(tasks.support, 1)), tree.at(tasks.query, 1).x)
    for one, other, single in zip(tree.leaves(whole), tree.leaves(garbage), tree.leaves(alone), strict=True):
        assert one.dtype == torch.float64
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
        torch.testing.assert_close(one[1], single, rtol=0, atol=1e-10)


@pytest.mark.parametrize("observed", [GAUSSIAN, CLASSES], ids=["regression", "classification"])
def test_predictions_are_differentiable_twice(observed) -> None:
    learner, meta, task = case(observed)
    flat, unravel = tree.ravel(meta)

    def loss(vector: torch.Tensor) -> torch.Tensor:
        found = learner.predict(learner.adapt(unravel(vector), task.support), task.query.x)
        return metafunc.metrics.nll(found, task.query.y)

    along = torch.linspace(-1, 1, len(flat), dtype=torch.float64)
    gradient = torch.func.grad(loss)
    step = 1e-5
    difference = (loss(flat + step * along) - loss(flat - step * along)) / (2 * step)
    assert abs(float(gradient(flat) @ along - difference)) < 1e-6
    bent = torch.func.jvp(gradient, (flat,), (along,))[1]
    difference = (gradient(flat + step * along) - gradient(flat - step * along)) / (2 * step)
    torch.testing.assert_close(bent, difference, rtol=0, atol=1e-4)


def test_before_any_label_it_has_the_prior_and_more_rows_leave_less() -> None:
    learner, meta, task = case(GAUSSIAN)
    learner = learner.with_values((PRECISION, NOISE))
    path = learner.path(meta, task.support, 2)
    before, after = (learner.predict(tree.at(path, i), task.query.x).scale for i in (0, 2))
    linear = learner.statistics(tree.at(path, 0), task.query.x)
    prior = (linear.own.diagonal(dim1=1, dim2=2) / PRECISION + NOISE**2).sqrt()
    torch.testing.assert_close(before[0], prior, rtol=0, atol=1e-12)
    assert (after < before).all()
    torch.testing.assert_close(tree.at(path, 2), learner.adapt(meta, task.support)._replace(
        support=tree.at(path, 2).support))  # fmt: skip


def test_what_cannot_be_linearised_is_refused() -> None:
    model, observed = nn.mlp((1,), 2), likelihood.heteroscedastic()
    with pytest.raises(ValueError, match="gaussian"):
        metafunc.laplace(algorithms.maml(model, observed), model, observed)
    model, observed = nn.mlp((1,), 1), likelihood.gaussian()
    ensemble = metafunc.laplace(metafunc.lift(algorithms.maml(model, observed), num_particles=2), model, observed)
    meta = ensemble.init(Generator().manual_seed(0))
    support = Batch(torch.zeros(3, 1), torch.zeros(3, 1))
    for refused in (lambda: ensemble.adapt(meta, support), lambda: ensemble.path(meta, support, 1)):
        with pytest.raises(ValueError, match=r"layer1.weight should have the shape \(40, 1\), .* has \(2, 40, 1\)"):
            refused()
    small = metafunc.laplace(algorithms.maml(model, observed), model, observed, layers="all", dense_limit=10)
    meta = small.init(Generator().manual_seed(0))
    with pytest.raises(ValueError, match="dense_limit = 10"):
        small.predict(small.adapt(meta, support), support.x)
    with pytest.raises(ValueError, match="prior_precision must be above 0"):
        small.with_values((0.0, 1.0))
    with pytest.raises(ValueError, match="give one for each"):
        small.with_values((1.0,))


def test_statistics_add_to_what_a_task_takes_in_memory_already() -> None:
    learner, meta, _ = case(CLASSES)
    tasks = testing.random_tasks("classification", num_shots=4, num_queries=5)
    # Twelve support rows and twice the fifteen queries, of three classes, by twelve parameters of the last layer.
    assert learner.footprint is not None
    assert learner.footprint(tasks) == (12 + 2 * 15) * 3 * 12
    own = replace(algorithms.maml(MODEL, CLASSES), footprint=lambda tasks: 1000)
    both = metafunc.laplace(own, MODEL, CLASSES)
    assert both.footprint is not None
    assert both.footprint(tasks) == learner.footprint(tasks) + 1000
    assert metafunc.tempered(both).footprint(tasks) == both.footprint(tasks)
    assert metafunc.tempered(algorithms.maml(MODEL, CLASSES)).footprint is None
    # As many tasks at a time as the numbers of one go into the budget.
    heavy = replace(own, footprint=lambda tasks: scoring.BUDGET // 3)
    assert scoring.fitting(heavy, meta, tasks, 0) == 2
    assert scoring.fitting(algorithms.maml(MODEL, CLASSES), meta, tasks, 0) > 1000
