"""The notebook's fixed test tasks: as its cells draw them, and as a split of the family."""

import numpy as np
import pytest
import torch

from metafunc import tree
from metafunc.data import generator_for, nme_sinusoid
from metafunc.data.families.notebook_sines import NUM_FIXED, fixed_tasks
from metafunc.data.sampling import Grouped

FAMILY = nme_sinusoid(num_test_queries=200, num_shown=16, test_draws="notebook")


def test_they_tell_their_amplitude_by_the_first_input():
    """As the notebook's cells do it, with numpy's global generator in the place of one for each task."""
    drawn = {"num_shots": 5, "num_queries": 200, "num_amplitudes": 20, "noise": 0.1, "amplitude": (0.1, 4.0)}
    tasks = fixed_tasks(torch.arange(12), torch.arange(12), **drawn)
    assert tasks.support.x.shape == (12, 5, 21)
    assert tasks.query.x.shape == (12, 200, 21)
    state = np.random.get_state()
    for seed, (support, query) in enumerate(tree.unstack(tasks)):
        np.random.seed(seed)
        amplitude = np.random.uniform(low=0.1, high=4)
        np.random.seed(seed)
        x = np.random.uniform(-5, 5, 5)
        noise = [np.random.normal(scale=0.1, size=(5, 1)) for _ in range(2)]
        y = amplitude * np.sin(x[:, None]) + noise[0] + noise[1]
        grid = np.linspace(-4.5, 4.5, 200)
        ignored = np.random.normal(scale=0, size=(200, 1))
        target = amplitude * np.sin(grid[:, None]) + ignored + np.random.normal(scale=0.1, size=(200, 1))
        for found, inputs, outputs in ((support, x, y), (query, grid, target)):
            assert found.x[:, 0].tolist() == pytest.approx(inputs.tolist(), abs=1e-6)
            assert found.y[:, 0].tolist() == pytest.approx(outputs[:, 0].tolist(), abs=1e-6)
        assert amplitude == pytest.approx(0.1 + 3.9 * (support.x[0, 0].item() + 5) / 10, abs=1e-6)
        hint = support.x[0, 1:]
        assert torch.equal(hint, torch.eye(20)[seed])
        assert torch.equal(hint.expand(200, 20), query.x[:, 1:])
    np.random.set_state(state)


def test_a_family_tests_on_any_of_them_and_counts_a_hundred():
    assert isinstance(FAMILY.test, Grouped)
    tasks = FAMILY.test(generator_for(0, "test", 0), 400)
    seeds = FAMILY.test.groups(generator_for(0, "test", 0), 400)
    hints = tasks.support.x[:, 0, 1:].argmax(-1)
    assert seeds.unique().numel() > 0.9 * NUM_FIXED
    assert sorted(hints.unique().tolist()) == [*range(16)], "the misleading one-hot vectors are drawn freely"
    drawn = {"num_shots": 5, "num_queries": 200, "num_amplitudes": 20, "noise": 0.1, "amplitude": (0.1, 4.0)}
    again = fixed_tasks(seeds[:, 0], hints, **drawn)
    assert all(torch.equal(*pair) for pair in zip(tree.leaves(tasks), tree.leaves(again), strict=True))
    for number in (0, 3):
        few = FAMILY.test(generator_for(0, "test", 0), number)
        assert torch.equal(few.query.y, tasks.query.y[:number])


def test_validation_and_training_are_the_usual_ones_and_the_optimum_is_of_these():
    usual = nme_sinusoid(num_test_queries=200, num_shown=16)
    for part in ("train", "validation"):
        one, other = (getattr(family, part)(generator_for(0, part, 0), 4) for family in (FAMILY, usual))
        assert torch.equal(one.query.y, other.query.y)
    assert {*FAMILY.optima} == {"train", "validation"}  # the first input tells more than the optimum looks at


def test_a_range_of_shots_is_refused():
    with pytest.raises(ValueError, match=r"test_draws.* need one num_shots, not 3 to 5"):
        nme_sinusoid(num_shots=(3, 5), test_draws="notebook")
