"""Row by row against all rows together: the chain rule, growing sets by hand, and the moments of draws."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from metafunc import algorithms, data, tree
from metafunc.algorithms import SUPERVISED
from metafunc.data.sampling import generator_for
from metafunc.evaluation import autoregressive, metrics
from metafunc.evaluation.scoring import score
from metafunc.nn import mlp
from metafunc.nn.likelihood import categorical, gaussian
from metafunc.testing import Lines, network, random_tasks
from metafunc.testing.problems.strategies import Normals
from metafunc.types import Batch, MetaLearner, Normal, Task

TASKS = random_tasks("regression", num_outputs=2)
EXACT = {
    "alpaca": lambda: algorithms.alpaca(network((2,), 5), gaussian(2), num_features=5, noise_scale=0.5),
    "dkt": lambda: algorithms.dkt(network((2,), 5), gaussian(2), kernel="rbf", num_features=5, noise_scale=0.5),
}
TOLERANCE = {"alpaca": 1e-10, "dkt": 1e-4}
"""A Gaussian process conditions with a jitter of a millionth of its variance on every row but the one it predicts."""


def started(name):
    learner = EXACT[name]()
    meta = learner.init(torch.Generator().manual_seed(0))
    return learner, tree.add_scaled(meta, 0.3, Normals(1).like(meta))


def by_rows(learner, meta, task, order, **settings):
    return autoregressive.log_joint(learner, meta, autoregressive.pooled(*task), torch.tensor(order), **settings)


def reordered(batch, rows):
    return Batch(batch.x[rows], batch.y[rows])


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 2, 1]])
def test_the_chain_rule_holds_of_an_exact_posterior_in_any_order(name, order):
    learner, meta = started(name)
    task = tree.at(TASKS, 0)
    expected = learner.joint(learner.adapt(meta, task.support), task.query)
    assert by_rows(learner, meta, task, order) == pytest.approx(expected.item(), abs=TOLERANCE[name])
    assert by_rows(learner, meta, task, order, chunk_size=2) == pytest.approx(expected.item(), abs=TOLERANCE[name])
    # Wrong twins: rows without each other, and rows that the row itself has been added to.
    params = learner.adapt(meta, task.support)
    apart = -5 * metrics.nll(learner.predict(params, task.query.x), task.query.y)
    assert abs(apart - expected) > 1e-2
    everything = learner.adapt(meta, autoregressive.pooled(*task))
    seen = -5 * metrics.nll(learner.predict(everything, task.query.x), task.query.y)
    assert abs(seen - expected) > 1e-1


@pytest.mark.parametrize("name", EXACT)
def test_padding_counts_neither_as_a_row_nor_as_an_example(name):
    learner, meta = started(name)
    support, query = tree.at(TASKS, 1)
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    padded, alone = query._replace(mask=mask), reordered(query, [0, 2, 4])
    expected = learner.joint(learner.adapt(meta, support), alone)
    assert learner.joint(learner.adapt(meta, support), padded) == pytest.approx(expected.item(), abs=TOLERANCE[name])
    found = by_rows(learner, meta, Task(support, padded), [1, 4, 0, 3, 2])
    assert found == pytest.approx(expected.item(), abs=TOLERANCE[name])
    fewer = support._replace(mask=torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64))
    of_two = by_rows(learner, meta, Task(fewer, query), [2, 1, 0, 3, 4])
    assert of_two == pytest.approx(
        learner.joint(learner.adapt(meta, reordered(support, [0, 1])), query).item(), abs=TOLERANCE[name]
    )


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_each_row_is_predicted_from_those_before_it(kind):
    """MAML, adapted again and again to a set that grows by a row, in a plain loop."""
    tasks = random_tasks(kind)
    outputs = gaussian(3, scale=0.7) if kind == "regression" else categorical(3)
    learner = algorithms.maml(network((2,), 3), outputs, inner_lr=0.1, num_steps=2)
    meta = learner.init(torch.Generator().manual_seed(0))
    support, query = tree.at(tasks, 0)
    order = torch.randperm(len(query.x), generator=torch.Generator().manual_seed(1)).tolist()
    total, x, y = 0.0, support.x, support.y
    for row in order:
        predictive = learner.predict(learner.adapt(meta, Batch(x, y)), query.x[row][None])
        total -= metrics.nll(predictive, query.y[row][None])
        x, y = torch.cat([x, query.x[row][None]]), torch.cat([y, query.y[row][None]])
    assert by_rows(learner, meta, Task(support, query), order) == pytest.approx(total.item(), rel=1e-10)
    assert by_rows(learner, meta, Task(support, query), order[::-1]) != pytest.approx(total.item(), rel=1e-4)


TRAINED = [name for name, row in SUPERVISED.items() if "regression" in row.kinds and not row.knows_tasks]


@pytest.mark.parametrize("name", TRAINED)
def test_every_learner_predicts_row_by_row_what_it_prepares_for(name):
    """In float32 and over stacked tasks, with its own noise; the one row that counts is predicted from the support."""
    learner = algorithms.build(name, mlp, (2,), "regression", 1)
    meta = learner.init(torch.Generator().manual_seed(0))
    tasks = tree.map(torch.Tensor.float, random_tasks("regression", num_outputs=1))
    tasks = tasks._replace(query=tasks.query._replace(mask=torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]] * 3)))
    together = Task(torch.vmap(autoregressive.pooled)(*tasks), tasks.query)
    rows, prepared = (
        learner.prepare(meta, each, generator_for(0, "x", 0), step=None, num_steps=1).support
        for each in (together, tasks)
    )
    order = torch.tensor([[2, 0, 1, 4, 3], [4, 2, 0, 1, 3], [0, 1, 3, 4, 2]])
    noise = torch.tensor(0.5)
    found = torch.vmap(lambda own, order: autoregressive.log_joint(learner, meta, own, order, noise=noise))(rows, order)

    def expected(support, query):
        alone = Batch(query.x[2:3], query.y[2:3])
        return score(learner.predict(learner.adapt(meta, support), alone.x), alone, noise)["nll"]

    torch.testing.assert_close(-found, torch.vmap(expected)(prepared, tasks.query), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", EXACT)
def test_draws_have_the_moments_of_the_joint_normal(name):
    learner, meta = started(name)
    support, query = tree.at(TASKS, 2)
    x, number = query.x[:3], 4000
    draws = autoregressive.draw_functions(learner, meta, support, x, num_draws=number)
    assert draws.shape == (number, 3, 2)
    params = learner.adapt(meta, support)
    marginal = learner.predict(params, x)
    mean, variance = marginal.loc[0], marginal.scale[0].square().expand(3, 2)
    assert ((draws.mean(0) - mean).abs() < 5 * (variance / number).sqrt()).all()
    for output in range(2):
        residual = draws[..., output] - mean[:, output]
        found = residual.T @ residual / number
        expected = covariance_of(learner, params, x, mean, output)
        bound = 5 * ((expected.square() + expected.diagonal()[:, None] * expected.diagonal()) / number).sqrt()
        assert ((found - expected).abs() < bound).all()
        independent = torch.diag_embed(expected.diagonal())
        assert not ((found - independent).abs() < bound).all()


@pytest.mark.parametrize("name", EXACT)
def test_rows_of_a_block_see_the_blocks_before_and_not_each_other(name):
    learner, meta = started(name)
    support, query = tree.at(TASKS, 2)
    x, number = query.x[:3], 4000
    one_by_one = [
        autoregressive.draw_functions(learner, meta, support, x, num_draws=5, blocks=b) for b in ((), (1,) * 3)
    ]
    assert torch.equal(*one_by_one)
    draws = autoregressive.draw_functions(learner, meta, support, x, num_draws=number, blocks=(1, 2))
    params = learner.adapt(meta, support)
    mean = learner.predict(params, x).loc[0]
    joint = covariance_of(learner, params, x, mean, 0)
    residual = draws[..., 0] - mean[:, 0]
    bound = 5 * (joint[1, 1] * joint[2, 2] / number).sqrt()
    # What two rows share is what they have from the first: the other part of their covariance is gone.
    through_first = joint[0, 1] * joint[0, 2] / joint[0, 0]
    assert abs((residual[:, 1] * residual[:, 2]).mean() - through_first) < bound
    expected = joint[0, 1:]
    bounds = 5 * ((expected.square() + joint[0, 0] * joint.diagonal()[1:]) / number).sqrt()
    assert ((residual[:, :1] * residual[:, 1:]).mean(0) - expected).abs().lt(bounds).all()


def test_a_block_is_of_one_particle():
    learner = MetaLearner(
        init=lambda generator: torch.zeros(()),
        adapt=lambda meta, support: meta,
        path=lambda meta, support, num_steps: meta.expand(2),
        task_loss=lambda meta, task: meta,
        predict=lambda params, x: Normal(torch.tensor([-1.0, 1.0])[:, None, None].expand(2, len(x), 1), params + 1e-6),
    )
    support, x = Batch(torch.zeros(1, 1), torch.zeros(1, 1)), torch.zeros(6, 1)
    whole, alone = (
        autoregressive.draw_functions(learner, torch.zeros(()), support, x, num_draws=50, blocks=blocks).sign().sum(1)
        for blocks in ((6,), ())
    )
    assert {*whole.flatten().tolist()} == {-6.0, 6.0}
    assert {*alone.flatten().tolist()} > {-6.0, 6.0} or 0.0 in alone


@pytest.mark.parametrize("num_rows", [0, 1, 5, 196, 784])
def test_growing_blocks_are_all_rows_in_few_steps(num_rows):
    sizes = autoregressive.growing(num_rows)
    assert sum(sizes) == num_rows
    assert all(size <= max(1, sum(sizes[:i]) / 8) for i, size in enumerate(sizes))
    assert len(sizes) <= 51


def test_blocks_of_other_rows_and_predictions_without_noise_are_refused():
    learner = algorithms.maml(mlp((2,), 1), gaussian())
    meta = learner.init(torch.Generator().manual_seed(0))
    support, x = Batch(torch.zeros(3, 2), torch.zeros(3, 1)), torch.zeros(2, 2)
    with pytest.raises(ValueError, match="blocks has 3 rows in all, and x has 2"):
        autoregressive.draw_functions(learner, meta, support, x, blocks=(1, 2), noise_scale=0.1)
    with pytest.raises(ValueError, match="no noise scale to draw with: give noise_scale"):
        autoregressive.draw_functions(learner, meta, support, x)


def covariance_of(learner, params, x, mean, output):
    """The covariance that the joint density has: minus the inverse of its Hessian."""

    def density(y):
        whole = mean.index_copy(1, torch.tensor([output]), y[:, None])
        return learner.joint(params, Batch(x, whole))

    return -torch.linalg.inv(torch.func.hessian(density)(mean[:, output]))


@pytest.mark.parametrize(
    ("family", "tolerance"),
    [
        (data.gp(num_shots=5, num_queries=12, num_test_queries=12), 1e-3),
        (data.gp(kernel="matern52", num_shots=(0, 5), num_queries=(3, 9)), 1e-3),
        (Lines().family, 1e-6),
        (data.sine_or_line(num_test_queries=8), 0.05),
    ],
    ids=["gp", "masked", "lines", "sine_or_line"],
)
def test_the_optimum_of_a_family_obeys_the_chain_rule(family, tolerance):
    """Of curves, row by row, up to how fine the nodes are that a posterior is made of."""
    learner = family.optima["test"]
    tasks = tree.map(torch.Tensor.double, family.test(generator_for(0, "test", 0), 4))
    meta = learner.init(torch.Generator())
    beyond = 0.0
    for task in tree.unstack(tasks):
        order = torch.randperm(len(task.query.x), generator=torch.Generator().manual_seed(0)).tolist()
        params = learner.adapt(meta, task.support)
        found, expected = learner.joint(params, task.query).item(), by_rows(learner, meta, task, order).item()
        assert found == pytest.approx(expected, abs=tolerance)
        apart = -metrics.nll(learner.predict(params, task.query.x), task.query.y, task.query.mask)
        beyond += abs(apart.item() * autoregressive.whole(task.query).sum().item() - expected)
    assert beyond > 4 * tolerance, "the product over rows is another number"


def test_the_joint_is_the_density_of_torch_distributions():
    learner, meta = started("alpaca")
    support, query = tree.at(TASKS, 0)
    params = learner.adapt(meta, support)
    marginal = learner.predict(params, query.x)
    cov = [covariance_of(learner, params, query.x, marginal.loc[0], output) for output in range(2)]
    assert torch.allclose(cov[0].diagonal(), marginal.scale[0, :, 0].square(), rtol=1e-8)
    each = [MultivariateNormal(marginal.loc[0, :, o], cov[o]).log_prob(query.y[:, o]) for o in range(2)]
    assert learner.joint(params, query) == pytest.approx(sum(each).item(), rel=1e-9)


def test_classes_are_drawn_by_their_probabilities():
    learner = algorithms.protonet(network((2,), 3), categorical(3))
    meta = learner.init(torch.Generator().manual_seed(0))
    support, query = tree.at(random_tasks("classification"), 0)
    draws = autoregressive.draw_functions(learner, meta, support, query.x[:2], num_draws=4000)
    probs = torch.softmax(learner.predict(learner.adapt(meta, support), query.x[:1]).logits[0, 0], -1)
    shares = torch.bincount(draws[:, 0], minlength=3) / 4000
    assert ((shares - probs).abs() < 5 * (probs * (1 - probs) / 4000).sqrt() + 1e-9).all()


def test_a_network_that_normalises_over_rows_is_refused():
    learner = algorithms.maml(mlp((2,), 1, normalisation="transductive"), gaussian())
    meta = learner.init(torch.Generator().manual_seed(0))
    support = Batch(torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="take a network with normalisation none"):
        autoregressive.draw_functions(learner, meta, support, torch.zeros(2, 2))
