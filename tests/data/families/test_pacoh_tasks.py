"""The few-task families of PACOH: coefficients, inputs and noise are those of its published generator."""

import math

import pytest
import torch

from metafunc.data import cauchy, generator_for, trend
from metafunc.data.families.cauchy import prior_mean

MANY = 4000


def query(family, number=MANY):
    return family.test(generator_for(0, "test", 0), number).query


def normal_about(values, mean, deviation):
    """Mean, standard deviation and tails, as far as so many draws show them."""
    count = len(values)
    assert abs(values.mean() - mean) < 4 * deviation / math.sqrt(count)
    assert abs(values.std() / deviation - 1) < 4 / math.sqrt(2 * count)
    assert abs((((values - mean) / deviation) ** 4).mean() - 3) < 4 * math.sqrt(96 / count)


def test_a_line_and_a_sine_explain_a_trend_s_targets_with_the_paper_s_coefficients():
    rows = query(trend(noise=0.0, num_test_queries=20))
    x, y = rows.x.double()[..., 0], rows.y.double()
    features = torch.stack([torch.ones_like(x), x, torch.sin(1.5 * x), torch.cos(1.5 * x)], -1)
    solution = torch.linalg.lstsq(features, y).solution
    assert (features @ solution - y).abs().max() < 1e-4
    offset, rate, sine, cosine = solution[..., 0].unbind(1)
    normal_about(offset, 5.0, 0.1)
    normal_about(rate, 0.5, 0.2)
    normal_about(torch.atan2(-cosine, sine) / 1.5, 0.0, 0.1)
    amplitude = torch.hypot(sine, cosine)
    assert 0.7 - 1e-4 < amplitude.min() < 0.71
    assert 1.29 < amplitude.max() < 1.3 + 1e-4
    assert abs(amplitude.mean() - 1.0) < 4 * 0.6 / math.sqrt(12 * MANY)


@pytest.mark.parametrize(("family", "noise"), [(trend, 0.1), (cauchy, 0.05)])
def test_the_noise_is_on_the_queries_too_and_leaves_the_function_alone(family, noise):
    noisy, clean = query(family(num_test_queries=3)), query(family(num_test_queries=3, noise=0.0))
    assert torch.equal(noisy.x, clean.x)
    normal_about((noisy.y - clean.y).double().flatten(), 0.0, noise)


def test_cauchy_functions_are_a_process_about_two_bumps():
    rows = query(cauchy(noise=0.0, num_test_queries=2, num_inputs=1), 20000)
    x, deviation = rows.x.double()[..., 0], (rows.y - prior_mean(rows.x)[..., None]).double()[..., 0]
    normal_about(deviation[:, 0], 0.0, 0.2)
    products, expected = deviation.prod(1), 0.04 * torch.exp(-(x[:, 0] - x[:, 1]).square())
    for low, high in ((0.0, 0.5), (0.5, 1.5), (1.5, 13.0)):
        apart = (x[:, 0] - x[:, 1]).abs()
        here = (products - expected)[(low <= apart) & (apart < high)]
        assert abs(here.mean()) < 4 * here.std() / math.sqrt(len(here))


def test_the_bumps_are_where_the_paper_has_them():
    at = torch.tensor([[-1.0, -1.0], [2.0, 2.0], [0.0, 1.0]], dtype=torch.float64)
    expected = [1 + (6 / (1 + a) + 3 / (1 + b)) / math.pi for a, b in ((0, 18), (18, 0), (5, 5))]
    torch.testing.assert_close(prior_mean(at), torch.tensor(expected, dtype=torch.float64))


def test_the_known_process_predicts_cauchy_functions_at_its_own_calibration():
    family = cauchy(num_shots=20, num_test_queries=20)
    tasks = family.test(generator_for(0, "test", 0), 300)
    exact = family.optima["test"]
    found = torch.vmap(lambda support, x: exact.predict(exact.adapt({}, support), x))(tasks.support, tasks.query.x)
    deviation = ((tasks.query.y - found.loc[:, 0]) / found.scale[:, 0]).double()
    by_task = deviation.square().mean((1, 2))
    assert abs(by_task.mean() - 1) < 4 * by_task.std() / math.sqrt(300)
    # The mean alone, without the support set, is worse than what is left of the process.
    alone = (tasks.query.y[..., 0] - prior_mean(tasks.query.x)).square().mean()
    assert (tasks.query.y - found.loc[:, 0]).square().mean() < 0.85 * alone
    assert not cauchy(noise=0.0).optima
    assert "train" not in family.optima  # whose few tasks are fixed


def test_inputs_of_cauchy_tasks_are_cut_normals():
    x = query(cauchy(num_test_queries=2)).x.double().flatten() / 2.5
    low, high = torch.special.ndtr(torch.tensor([-3.0, 2.0], dtype=torch.float64))
    levels = ((torch.special.ndtr(x) - low) / (high - low)).sort().values
    uniform = (torch.arange(len(x)) + 0.5) / len(x)
    assert (levels - uniform).abs().max() < 1.95 / math.sqrt(len(x))  # Kolmogorov and Smirnov's bound, at .001
