"""The families of functions: each is the paper's distribution, and each task is its own row's."""

import math

import pytest
import torch

from metafunc.data import cauchy, circles, few_task_sinusoid, generator_for, nme_sinusoid, sine_or_line, trend

BALANCED = {"radius": (0.1, 2.0), "support": "area", "queries": "balanced"}
FUNCTIONS = [sine_or_line, few_task_sinusoid, trend, cauchy, nme_sinusoid, circles]


def drawn(sample, num_tasks=2000):
    return sample(generator_for(0, "test", 0), num_tasks)


def residual(x, y, *features):
    """How far least squares on these features stays from the targets, one number per task, and the coefficients."""
    matrix = torch.stack([feature(x.double()[..., 0]) for feature in features], -1)
    solution = torch.linalg.lstsq(matrix, y.double()).solution
    return (matrix @ solution - y).abs().amax((1, 2)), solution[..., 0]


def uniform_on(values, low, high, tolerance=0.03):
    """Range, mean and variance of a uniform distribution, as far as two thousand draws show them."""
    span = high - low
    assert low - 1e-3 * span <= values.min() <= low + tolerance * span
    assert high - tolerance * span <= values.max() <= high + 1e-3 * span
    assert abs(values.mean() - (low + high) / 2) < tolerance * span
    assert abs(values.var() - span**2 / 12) < tolerance * span**2


@pytest.mark.parametrize("family", FUNCTIONS)
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_task_does_not_depend_on_how_many_there_are(family, part):
    sample = getattr(family(), part)
    few, many = (sample(generator_for(3, part, 7), n) for n in (2, 33))
    for batch, other in zip(few, many, strict=True):
        assert torch.equal(batch.x, other.x[:2])
        assert torch.equal(batch.y, other.y[:2])


@pytest.mark.parametrize("family", FUNCTIONS)
@pytest.mark.parametrize("name", ["num_shots", "num_queries", "num_test_queries"])
def test_counts_below_one_are_refused(family, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        family(**{name: 0})


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        (sine_or_line, {"noise": -0.1}, "noise must be .*not -0.1"),
        (sine_or_line, {"amplitude": (5.0, 1.0)}, "amplitude is 5.0 to 1.0; it needs two numbers from 0 on"),
        (sine_or_line, {"amplitude": (-1.0, 1.0)}, "amplitude is -1.0 to 1.0"),
        (nme_sinusoid, {"noise": math.nan}, "noise must be .*not nan"),
        (nme_sinusoid, {"num_shown": 21}, "num_shown is 21; there are 20 amplitudes"),
        (nme_sinusoid, {"num_amplitudes": 1}, "num_amplitudes must be at least 2, not 1"),
        (few_task_sinusoid, {"num_train_tasks": 0}, "num_train_tasks must be .*not 0"),
        (trend, {"noise": -0.1}, "noise must be .*not -0.1"),
        (cauchy, {"num_inputs": 0}, "num_inputs must be .*not 0"),
    ],
)
def test_other_settings_out_of_range_are_refused(family, settings, message):
    with pytest.raises(ValueError, match=message):
        family(**settings)


def test_half_of_the_functions_are_lines_and_half_are_sines():
    task = drawn(sine_or_line(noise=0.0, num_test_queries=20).test)
    x, y = torch.cat([task.support.x, task.query.x], 1), torch.cat([task.support.y, task.query.y], 1)
    off_line, line = residual(x, y, torch.ones_like, lambda x: x)
    off_sine, sine = residual(x, y, torch.sin, torch.cos)
    is_line, is_sine = off_line < 1e-4, off_sine < 1e-4
    assert (is_line ^ is_sine).all()
    assert abs(is_sine.double().mean() - 0.5) < 3 * 0.5 / math.sqrt(2000)
    uniform_on(line[is_line, 0], -3, 3)
    uniform_on(line[is_line, 1], -3, 3)
    uniform_on(sine[is_sine].norm(dim=-1), 0.1, 5)
    uniform_on(torch.atan2(-sine[is_sine, 1], sine[is_sine, 0]), 0, math.pi)
    uniform_on(x.flatten(), -5, 5)


def test_the_noise_is_normal_of_its_scale_on_support_and_query_and_leaves_the_function_alone():
    noisy, clean = drawn(sine_or_line().test), drawn(sine_or_line(noise=0.0).test)
    for batch, truth in zip(noisy, clean, strict=True):
        assert torch.equal(batch.x, truth.x)
        noise = (batch.y - truth.y).double() / 0.3
        assert abs(noise.mean()) < 4 / math.sqrt(noise.numel())
        assert abs(noise.var() - 1) < 4 * math.sqrt(2 / noise.numel())
        assert abs((noise**4).mean() - 3) < 4 * math.sqrt(96 / noise.numel())


def test_the_variants_are_sines_alone_and_lines_alone():
    family = sine_or_line(noise=0.0, num_test_queries=20)
    for name, features in (("sine", (torch.sin, torch.cos)), ("line", (torch.ones_like, lambda x: x))):
        query = drawn(family.variants[name], 200).query
        assert (residual(query.x, query.y, *features)[0] < 1e-4).all()


@pytest.mark.parametrize("builder", [few_task_sinusoid, trend, cauchy])
def test_training_tasks_are_few_and_their_points_never_change(builder):
    family = builder(num_train_tasks=7)
    tasks = drawn(family.train, 500)
    rows = torch.cat([tasks.support.x[..., :1], tasks.support.y, tasks.query.x[..., :1], tasks.query.y], 1)[..., 0]
    assert len(rows.unique(dim=0)) == 7
    again = family.train(generator_for(1, "other", 5), 500)
    assert torch.equal(again.support.x.unique(dim=0), tasks.support.x.unique(dim=0))
    assert len(drawn(family.test, 500).support.x.unique(dim=0)) == 500
    other = drawn(builder(num_train_tasks=7, task_seed=1).train, 500)
    assert not torch.isin(other.support.x, tasks.support.x).any()


def test_frequency_phase_and_amplitude_fill_their_ranges_and_queries_have_no_noise():
    """Frequencies are found by a grid search of least squares, which no part of the family knows of."""
    query = drawn(few_task_sinusoid(num_test_queries=40).test, 300).query
    grid = torch.linspace(0.5, 2, 601, dtype=torch.float64)
    best, where, found = torch.full((300,), math.inf).double(), torch.zeros(300).double(), torch.zeros(300, 2).double()
    for f in grid:
        off, solution = residual(query.x, query.y, lambda x, f=f: torch.sin(f * x), lambda x, f=f: torch.cos(f * x))
        better = off < best
        best, where = torch.where(better, off, best), torch.where(better, f, where)
        found = torch.where(better[:, None], solution, found)
    amplitude = found.norm(dim=-1)
    # Half a grid step is .00125 * 5 of phase at the border; least squares may trade twice that for less elsewhere.
    # Noise of .01 would leave .02 among forty points.
    assert (best < 2 * 0.00125 * 5 * amplitude).all()
    uniform_on(where, 0.5, 2, 0.05)
    uniform_on(amplitude, 0.1, 5, 0.06)
    uniform_on(torch.atan2(-found[:, 1], found[:, 0]) % (2 * math.pi), 0, 2 * math.pi, 0.06)


def test_training_points_have_a_hundredth_of_the_amplitude_as_noise():
    query = drawn(few_task_sinusoid(num_train_tasks=2000, num_queries=30).train).query
    x, y = query.x.double()[..., 0], query.y.double()[..., 0]
    # Of a curve through dense points, what a cubic through the four nearest leaves over is mostly noise; here it is
    # enough that targets exist beyond the largest amplitude, 5, which a curve without noise never reaches.
    assert 5 < y.abs().max() < 5 * (1 + 0.01 * 5)
    assert x.shape == (2000, 30)


def test_in_training_the_input_tells_the_amplitude():
    query = drawn(nme_sinusoid(noise=0.0, num_queries=20).train).query
    u, one_hot = query.x[..., :1], query.x[..., 1:]
    assert set(one_hot.unique().tolist()) == {0.0, 1.0}
    assert (one_hot.sum(-1) == 1).all()
    assert (one_hot == one_hot[:, :1]).all(), "it is the same for all points of a task"
    shown = torch.linspace(0.1, 4, 20)[one_hot.argmax(-1)]
    assert torch.allclose(query.y[..., 0], shown * u[..., 0].sin(), atol=1e-5)
    assert len(shown.unique()) == 20
    uniform_on(u.flatten(), -5, 5)


def test_only_the_lowest_amplitudes_may_be_shown():
    family, all_four = nme_sinusoid(num_shown=16), nme_sinusoid(num_amplitudes=4)
    for sampler, shown in ((family.train, 16), (family.test, 16), (all_four.train, 4), (all_four.test, 4)):
        assert drawn(sampler).query.x[..., 1:].argmax(-1).unique().tolist() == [*range(shown)]
    assert drawn(family.test).query.y.max() > 3.7, "amplitudes go to 4 in testing"


def test_in_testing_the_input_says_nothing_of_the_amplitude():
    query = drawn(nme_sinusoid(noise=0.0, num_test_queries=20).test).query
    off, solution = residual(query.x[..., :1], query.y, torch.sin)
    assert (off < 1e-4).all()
    amplitude, shown = solution[:, 0], query.x[:, 0, 1:].argmax(-1).double()
    uniform_on(amplitude, 0.1, 4)
    assert abs(torch.corrcoef(torch.stack([amplitude, shown]))[0, 1]) < 4 / math.sqrt(2000)


def test_a_point_is_positive_if_it_lies_in_the_circle():
    family = circles(num_shots=40, num_test_queries=400, **BALANCED)
    tasks = drawn(family.test, 300)
    assert (tasks.support.y == 1).all()
    x, y = tasks.query.x, tasks.query.y == 1
    assert ((x >= 0) & (x <= 5)).all()
    # The centroid and the reach of the positive points give the circle back, where the square does not cut it.
    inside = torch.where(y[..., None], x, torch.nan)
    low, high = inside.nan_to_num(9).amin(1), inside.nan_to_num(-9).amax(1)
    whole = ((low > 0.05) & (high < 4.95)).all(-1)
    centre, radius = (low + high) / 2, (high - low).mean(-1) / 2
    distance = (x - centre[:, None]).norm(dim=-1)
    slack = 0.15 * radius[:, None] + 0.02
    assert not (whole[:, None] & y & (distance > radius[:, None] + slack)).any()
    assert not (whole[:, None] & ~y & (distance < radius[:, None] - slack)).any()
    assert whole.double().mean() > 0.1


@pytest.mark.parametrize(("support", "share"), [("area", 1 / math.sqrt(2)), ("radial", 0.5)])
def test_support_points_are_uniform_in_the_circle_or_in_their_distance(support, share):
    """Half of a disc's area lies within 1/sqrt(2) of its radius, half of the distances within half of it."""
    tasks = drawn(circles(num_shots=2000, radius=(0.1, 1.0), support=support).test, 60)
    x = tasks.support.x
    low, high = x.amin(1), x.amax(1)
    whole = ((low > 0.1) & (high < 4.9)).all(-1)
    centre, radius = (low + high)[whole] / 2, (high - low)[whole].mean(-1) / 2
    near = (x[whole] - centre[:, None]).norm(dim=-1) < share * radius[:, None]
    # The box around 2000 points is little smaller than the circle's.
    assert abs(near.double().mean() - 0.5) < 0.02


def test_queries_are_uniform_in_the_square():
    x = drawn(circles().test).query.x
    for column in x.flatten(0, 1).unbind(-1):
        uniform_on(column, 0.0, 5.0)
    area = math.pi * (0.05**2 + 0.05 + 1) / 3 / 25  # of circles that the square never cuts
    assert abs(drawn(circles().test).query.y.double().mean() - area) < 0.003


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"radius": (0.1, 2.0)}, "at most 1.0"),
        ({"radius": (0.5, 0.5), "support": "area"}, "the first smaller"),
        ({"radius": (0.0, 0.5)}, "smallest_radius must be above 0"),
    ],
)
def test_circles_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        circles(**settings)


def test_half_of_the_queries_are_drawn_from_the_circle():
    query = drawn(circles(**BALANCED).test).query
    area = math.pi * (0.1**2 + 0.1 * 2 + 2**2) / 3 / 25  # the mean of r^2 over U[.1, 2], as if no circle were cut
    assert 0.5 < query.y.double().mean() < 0.5 + 0.5 * area + 0.02
