"""Averages by evidence against sums by hand over all points and variances, and what their intervals hold."""

from math import log

import pytest
import torch
from torch.distributions import MultivariateNormal

from metafunc import tree
from metafunc.bayes.by_evidence import (
    NOISE_SPREAD,
    NOISES,
    SHAPE_SPREAD,
    SHAPES,
    Grid,
    average,
    by_evidence,
    curves,
    lines,
    together,
)
from metafunc.bayes.mixtures import log_density
from metafunc.evaluation.metrics import probability_integral
from metafunc.testing.problems.strategies import Normals
from metafunc.types import Batch, Task


def gram(shape, x, z):
    return 0.5 + torch.exp(-0.5 * torch.cdist(x, z).square() / shape**2)


GRID = Grid(gram, shape=0.8, noise_scale=0.2, scale=1.5)
X = torch.linspace(-2, 2, 7, dtype=torch.float64)[:, None]
Y = torch.cat([torch.sin(3 * X), 2 + X], 1) + 0.1 * Normals(0)(7, 2)
MASK = torch.tensor([1, 0, 1, 1, 1, 1, 1], dtype=torch.float64)
ALL = torch.ones(7).double()
VARIANCES = 1.05 ** torch.arange(-120.0, 160.0, dtype=torch.float64)
POINTS = [(GRID.shape * shape, GRID.noise_scale * noise) for shape in SHAPES for noise in NOISES]


def score(shape, noise, x, y):
    """The log-density of targets and of logarithms of hyperparameters, by variance."""
    cov = VARIANCES[:, None, None] * (gram(shape, x, x) + noise**2 * torch.eye(len(x), dtype=torch.float64))
    log_prior = (log(shape / GRID.shape) / SHAPE_SPREAD) ** 2 + (log(noise / GRID.noise_scale) / NOISE_SPREAD) ** 2
    one_row = VARIANCES.log() + GRID.scale**2 / VARIANCES
    evidence = MultivariateNormal(torch.zeros(len(x)).double(), cov).log_prob(y) if len(x) else 0
    return evidence - 0.5 * (log_prior + one_row)


def by_hand(x, y, at, targets):
    """The log-density of targets at new rows, together, given the others: a ratio of two sums."""
    both, whole = torch.cat([x, at]), torch.cat([y, targets])
    seen, every = (torch.stack([score(*point, *rows) for point in POINTS]) for rows in ((x, y), (both, whole)))
    return torch.logsumexp(every.flatten(), 0) - torch.logsumexp(seen.flatten(), 0)


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("mask", [ALL, MASK, torch.zeros(7).double()], ids=["all", "masked", "none"])
def test_weights_are_those_of_evidence_and_prior(column, mask):
    found = average(GRID, X, Y[:, column], mask)
    scores = torch.stack([score(*point, X[mask.bool()], Y[mask.bool(), column]) for point in POINTS])
    expected = torch.softmax(torch.logsumexp(scores, 1), 0)
    torch.testing.assert_close(found.log_weight.exp().sum(1), expected, rtol=1e-4, atol=1e-7)
    prior = torch.softmax(torch.stack(GRID.points(X))[2], 0)
    assert torch.allclose(expected, prior, rtol=1e-3) == (not mask.any())
    if mask.any():  # of no rows the variance has no moments but that of its logarithm, which five nodes hold loosely
        of_log = torch.softmax(scores.flatten(), 0).reshape(scores.shape)
        mean = (found.log_weight.exp() * found.variance.log()).sum()
        assert mean.item() == pytest.approx((of_log * VARIANCES.log()).sum().item(), abs=0.01)


@pytest.mark.parametrize("mask", [ALL, MASK], ids=["all", "masked"])
def test_predictions_are_the_average_of_all_points(mask):
    learner, at = by_evidence(GRID), torch.tensor([[-1.3], [0.1], [3.0]], dtype=torch.float64)
    targets = torch.tensor([[0.9], [0.1], [2.5]], dtype=torch.float64)
    x, y = X[mask.bool()], Y[mask.bool(), 0]
    task = learner.adapt({}, Batch(X, Y[:, :1], mask))
    found = learner.predict(task, at)
    each = log_density(found, targets)
    for row in range(3):
        expected = by_hand(x, y, at[row : row + 1], targets[row])
        assert each[row].item() == pytest.approx(expected.item(), abs=0.01)
    query = Batch(at, targets)
    assert learner.joint(task, query).item() == pytest.approx(by_hand(x, y, at, targets[:, 0]).item(), abs=0.01)
    assert abs(learner.joint(task, query) - each.sum()) > 0.05, "as if rows were independent"
    equal = log_density(found._replace(log_weight=()), targets)
    assert (equal - each).abs().max() > 0.1, "as if all points counted the same"
    best = found.log_weight.argmax()
    alone = found._replace(loc=found.loc[best][None], scale=found.scale[best][None], log_weight=())
    assert (log_density(alone, targets) - each).abs().max() > 0.1, "the best point alone"
    padded = Batch(torch.cat([at, at]), torch.cat([targets, 9 * targets]), torch.tensor([1.0, 1, 1, 0, 0, 0]).double())
    torch.testing.assert_close(learner.joint(task, padded), learner.joint(task, query), rtol=1e-6, atol=1e-6)


def test_rows_together_need_no_noise_to_be_scored_right():
    """Exact curves leave the smallest noise of the grid, which a jitter for single precision would drown."""
    learner, smooth = by_evidence(Grid(curves, 1.0, 0.01, 1.0)), torch.sin(2 * X)
    task = learner.adapt({}, Batch(X, smooth))
    at = torch.tensor([[-0.9]], dtype=torch.float64)
    query = Batch(at, torch.sin(2 * at))
    alone = log_density(learner.predict(task, at), query.y).sum()
    assert learner.joint(task, query).item() == pytest.approx(alone.item(), abs=1e-3)


def test_several_columns_are_predicted_as_if_each_were_alone():
    learner, at = by_evidence(GRID), torch.tensor([[-1.3], [0.1], [3.0]], dtype=torch.float64)
    query = Batch(at, torch.tensor([[0.9, 0.7], [0.1, 2.1], [2.5, 5.0]], dtype=torch.float64))
    task = learner.adapt({}, Batch(X, Y, MASK))
    alone = [learner.adapt({}, Batch(X, Y[:, [column]], MASK)) for column in range(2)]
    singly = [Batch(at, query.y[:, [column]]) for column in range(2)]
    summed = sum(learner.joint(*pair) for pair in zip(alone, singly, strict=True))
    torch.testing.assert_close(learner.joint(task, query), summed)
    expected = sum(log_density(learner.predict(own, at), one.y) for own, one in zip(alone, singly, strict=True))
    found = learner.predict(task, at)
    torch.testing.assert_close(log_density(found, query.y), expected, rtol=0, atol=0.05)
    for column in range(2):
        marginal = found._replace(loc=found.loc[..., [column]], scale=found.scale[..., [column]])
        torch.testing.assert_close(
            probability_integral(marginal, singly[column].y),
            probability_integral(learner.predict(alone[column], at), singly[column].y),
            rtol=0,
            atol=0.01,
        )


def test_columns_are_paired_as_independent_ones_and_not_in_one_order():
    weight = torch.softmax(4 * Normals(2)(3, 50), 1)
    nodes, log_weight = together(weight.log())
    assert nodes.shape == (3, len(log_weight))
    values = torch.arange(50.0).double()
    places = values[nodes]
    means = weight @ values
    torch.testing.assert_close(places.mean(1), means, rtol=0.02, atol=0.1)
    correlation = torch.corrcoef(places).fill_diagonal_(0).abs()
    assert correlation.max() < 0.15
    in_one_order = torch.corrcoef(places.sort(1).values).fill_diagonal_(0)
    assert in_one_order.max() > 0.7


def drawn(grid, num_rows, num_tasks=400):
    """Tasks from the grid's own prior, and one row more of each."""
    generator = torch.Generator().manual_seed(num_rows)
    shapes, noises, log_prior = grid.points(torch.zeros(1).double())
    which = torch.multinomial(log_prior.exp(), num_tasks, replacement=True, generator=generator)
    x = torch.randn(num_tasks, num_rows + 1, 1, generator=generator, dtype=torch.float64)
    # The prior of the variance is that of one row: its size over a chi-square number.
    size = grid.scale / torch.randn(num_tasks, 1, 1, generator=generator, dtype=torch.float64).abs()
    noise = torch.eye(num_rows + 1).double() * noises[which, None, None]
    factor = torch.linalg.cholesky(torch.vmap(grid.gram)(shapes[which], x, x) + noise)
    y = size * (factor @ torch.randn(num_tasks, num_rows + 1, 1, generator=generator, dtype=torch.float64))
    return Task(Batch(x[:, :-1], y[:, :-1]), Batch(x[:, -1:], y[:, -1:]))


def best_alone(grid, own, y):
    """The same task with the best point and its best variance, as if they were known."""
    best = own.log_weight[0].logsumexp(1).argmax()[None]
    chosen = tree.map(lambda leaf: leaf.index_select(1, best), own._replace(x=()))
    square = (y * chosen.found.weights[0, 0, :, 0]).sum() + grid.scale**2
    variance = (square / (len(y) + 1)).reshape(1, 1, 1)
    return chosen._replace(x=own.x, variance=variance, log_weight=torch.zeros_like(variance))


def covered(places):
    return ((places > 0.05) & (places < 0.95)).double().mean().item()


@pytest.mark.parametrize("grid", [Grid(lines, 1.0, 0.3, 1.0), Grid(curves, 1.0, 0.1, 2.0)], ids=["lines", "curves"])
def test_of_tasks_from_the_prior_intervals_hold_what_they_claim(grid):
    learner = by_evidence(grid)
    for num_rows, best_holds in ((2, 0.84), (6, 0.87)):

        def places(task):
            own = learner.adapt({}, task.support)
            best = learner.predict(best_alone(grid, own, task.support.y[:, 0]), task.query.x)
            return probability_integral(learner.predict(own, task.query.x), task.query.y), probability_integral(
                best, task.query.y
            )

        whole, best = torch.vmap(places)(drawn(grid, num_rows))
        assert 0.86 < covered(whole) < 0.94
        assert covered(best) < best_holds, "the best point alone is surer than it may be"


def test_the_average_is_differentiable_and_the_same_under_vmap():
    learner = by_evidence(GRID)
    support = Batch(X, Y, MASK)

    def loss(y):
        return learner.predict(learner.adapt({}, support._replace(y=y)), X[:2]).log_prob(Y[:2]).sum()

    assert torch.func.grad(loss)(Y).isfinite().all()
    one = learner.adapt({}, Batch(X, Y[:, :1], MASK))
    empty = learner.adapt({}, Batch(X, Y[:, :1], 0 * MASK))
    stacked = Batch(X.expand(2, 7, 1), Y[:, :1].expand(2, 7, 1), torch.stack([MASK, 0 * MASK]))
    both = torch.vmap(lambda each: learner.adapt({}, each))(stacked)
    for index, alone in enumerate((one, empty)):
        for found, expected in zip(tree.leaves(tree.at(both, index)), tree.leaves(alone), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_inputs_of_any_shape_and_precision_are_rows():
    learner = by_evidence(GRID)
    support = Batch(X.float().reshape(7, 1, 1), Y.float())
    found = learner.predict(learner.adapt({}, support), support.x)
    assert found.loc.dtype == found.scale.dtype == found.log_weight.dtype == torch.float32
    expected = learner.predict(learner.adapt({}, Batch(X, Y)), X)
    torch.testing.assert_close(found.loc.mean(0), expected.loc.mean(0).float(), rtol=1e-2, atol=1e-2)


def test_the_memory_of_a_task_grows_with_its_rows_and_columns():
    def footprint(rows, columns):
        support, query = (Batch(torch.zeros(2, n, 1), torch.zeros(2, n, columns)) for n in (rows, 5))
        return by_evidence(GRID).footprint(Task(support, query))

    assert footprint(40, 2) == 2 * footprint(40, 1) > 8 * footprint(10, 1)
