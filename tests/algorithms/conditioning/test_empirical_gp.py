"""The learner of an empirical Gaussian process against the joint Gaussian, and against EM."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from metafunc import algorithms, nn, tree
from metafunc.bayes import empirical_gp, kernels
from metafunc.data.sampling import generator_for
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import gaussian
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.strategies import Normals
from metafunc.training.config import train
from metafunc.training.warm_start import BEGIN
from metafunc.transforms.objectives import pool

TASKS = random_tasks("regression", num_outputs=2)
AXIS = torch.linspace(-2.0, 2.0, 3)
FIELD = empirical_gp.interpolation(torch.cartesian_prod(AXIS, AXIS), kernels.rbf(lengthscale=0.9, scale=1.2))


def started(**changes):
    settings = {"num_inducing": 9, "low": -2.0, "high": 2.0, "kernel": "rbf", "lengthscale": 0.9, "scale": 1.2}
    learner = algorithms.build("empirical_gp", network, (2,), "regression", 2, **{**settings, **changes})
    meta = tree.map(torch.Tensor.double, learner.init(torch.Generator()))
    return learner, tree.add_scaled(meta, 0.3, Normals(0).like(meta))


def test_predictions_are_conditionals_of_the_joint_gaussian():
    learner, meta = started()
    support, query = tree.at(TASKS, 0)
    rows = FIELD.at(meta, torch.cat([support.x, query.x]))
    n, noise = len(support.x), (2 * meta.log_scale).exp()
    cov = rows.covariance
    gram = cov[:n, :n] + (noise + 1e-6 * cov[:n, :n].diagonal().mean()) * torch.eye(n).double()
    gain = torch.linalg.solve(gram, cov[:n, n:]).T
    found = learner.predict(learner.adapt(meta, support), query.x)
    expected = rows.mean[n:] + gain @ (support.y - rows.mean[:n])
    torch.testing.assert_close(found.loc[0], expected, rtol=1e-8, atol=1e-8)
    variance = (cov[n:, n:] - gain @ cov[:n, n:]).diagonal() + noise
    torch.testing.assert_close(found.scale[0].square(), variance[:, None].expand(-1, 2), rtol=1e-8, atol=1e-8)
    before = learner.predict(tree.at(learner.path(meta, support, 1), 0), query.x)
    torch.testing.assert_close(before.loc[0], rows.mean[n:], rtol=1e-8, atol=1e-8)


def test_the_joint_is_the_evidence_that_the_query_adds():
    learner, meta = started()
    support, query = tree.at(TASKS, 0)
    both = empirical_gp.log_evidence(meta, pool(tree.at(TASKS, 0)), FIELD)
    expected = both - empirical_gp.log_evidence(meta, support, FIELD)
    # Jitter is relative to the mean prior variance of the rows, which differs between the two by a part of it.
    torch.testing.assert_close(learner.joint(learner.adapt(meta, support), query), expected, rtol=1e-4, atol=1e-4)


def test_the_loss_is_minus_the_evidence_of_all_rows_and_the_hyper_prior_s_share():
    learner, meta = started(prior_tasks=2.0, num_train_tasks=8)
    expected = torch.zeros(()).double()
    for task in tree.unstack(TASKS):
        x, y = torch.cat([task.support.x, task.query.x]), torch.cat([task.support.y, task.query.y])
        rows, noise = FIELD.at(meta, x), (2 * meta.log_scale).exp()
        added = noise + 1e-6 * rows.covariance.diagonal().mean()
        covariance = rows.covariance + added * torch.eye(len(x)).double()
        log_probs = [MultivariateNormal(rows.mean[:, j], covariance).log_prob(y[:, j]) for j in range(2)]
        s, root = meta.factor @ meta.factor.T, FIELD.root(meta.factor)
        pull = torch.logdet(s) + torch.trace(root @ root.T @ torch.linalg.inv(s))
        expected = expected - sum(log_probs) / 3 + 2.0 / 8 / 2 * pull / 3
    torch.testing.assert_close(learner.meta_loss(meta, TASKS), expected, rtol=1e-9, atol=1e-9)


def test_em_s_rest_is_a_minimum_of_the_loss():
    learner, meta = started(prior_tasks=2.0, num_train_tasks=3)
    # The learner's jitter, a millionth, is no part of EM's noise; what it leaves of the gradient is as small.
    found = empirical_gp.em(meta, torch.vmap(pool)(TASKS), FIELD, num_iterations=150, prior_tasks=2.0)
    gradient, before = (value_and_grad(learner.task_loss)(at, TASKS)[1] for at in (found, meta))
    assert tree.norm(gradient) < 5e-2 * tree.norm(before)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="num_inducing is 3, and a grid over 2 inputs has at least"):
        started(num_inducing=3)
    with pytest.raises(ValueError, match="high must be above"):
        started(high=-3.0)
    with pytest.raises(ValueError, match="prior_tasks must be at least 0"):
        started(prior_tasks=-1.0)
    with pytest.raises(ValueError, match="num_train_tasks must be at least 1"):
        started(num_train_tasks=0)
    model = algorithms.networks.inducing_inputs(nn.mlp, (1,), gaussian(), num_inducing=5, low=0.0, high=1.0)[0]
    with pytest.raises(ValueError, match="empirical_gp learns its noise"):
        algorithms.empirical_gp(model, gaussian(scale=0.1))


def test_a_training_that_starts_by_em_begins_at_its_optimum():
    """To which of the draws there are twenty tasks: those that come again count no more than the hyper-prior allows."""
    config = {"tasks": {"name": "trend"}, "training": {"steps": 0}}
    found = {}
    for start in ("kernel", "em"):
        config["algorithm"] = {"name": "empirical_gp", "num_inducing": 12, "num_train_tasks": 20, "start": start}
        found[start] = train(config)
    learner, meta = found["em"].learner, found["em"].fit.meta
    tasks = found["em"].family.train(generator_for(0, "begin", 0), BEGIN)
    start = learner.init(torch.Generator())
    assert tree.size(start) == tree.size(found["kernel"].fit.meta)
    torch.testing.assert_close(found["kernel"].fit.meta, start)
    before, after = (learner.meta_loss(at, tasks) for at in (start, meta))
    assert after < before - 1
    # EM with the hyper-prior that counts once for every draw goes elsewhere, where the loss is higher.
    field = empirical_gp.interpolation(torch.linspace(-5, 5, 12)[:, None], kernels.matern())
    wrong = empirical_gp.em(start, torch.vmap(pool)(tasks), field, prior_tasks=1.0)
    assert after < learner.meta_loss(wrong, tasks)


def test_one_start_is_asked_for():
    config = {"algorithm": {"name": "empirical_gp", "start": "em"}, "tasks": {"name": "trend"}}
    with pytest.raises(ValueError, match="are two starts: give one of them"):
        train({**config, "training": {"steps": 0, "noise_from": "data"}})
