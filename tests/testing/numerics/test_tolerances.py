"""Problems on which every digit of an answer is rounding, so that a tolerance has to know where rounding comes from."""

import pytest
import torch

from metafunc import nn
from metafunc.nn import likelihood
from metafunc.testing import IDENTITIES, ConvexCase, ModelCase
from metafunc.types import Batch


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def test_a_curvature_of_saturated_classes():
    """p(1 - p) = e^-38, computed as a difference of numbers about 1."""
    model = ModelCase(
        lambda params, x: x @ params.T,
        likelihood.categorical(2).loss,
        double([[19.74], [-19.22]]),
        Batch(double([[1.0], [0.92]]), torch.tensor([0, 1])),
    )
    report = IDENTITIES["ggn_linear"](model).check()
    assert 1e-16 < report.error < report.tolerance < 1e-12


def test_weights_that_cancel_up_to_the_rounding_of_their_exponents():
    report = IDENTITIES["implicit_convex"](ConvexCase(double([-2.18]), double([[1.3]]), double([[3.3]]))).check()
    assert 1e-14 < report.error < report.tolerance < 1e-12


@pytest.mark.parametrize("gap", [1.0, 8.0, 20.0, 36.0])
@pytest.mark.parametrize("name", ["ggn_linear", "ggn_positive"])
def test_curvature_of_classes_that_grow_certain(name, gap):
    """Like an example that hypothesis found, with a bias that parts the classes ever further, and rows of padding."""
    params = {
        "head.weight": double([[-0.0532, 0.1381], [-1.1130, -1.2888]]),
        "head.bias": double([-gap / 2, gap / 2]),
    }
    x = double([[0.5546, -0.3416], [-0.7963, 0.3971], [-1.6994, -1.3261], [7, 7], [8, 8]])
    batch = Batch(x, torch.tensor([0, 1, 0, 0, 0]), double([1.0, 1.0, 1.0, 0.0, 0.0]))
    model = nn.mlp((2,), 2, hidden=())
    report = IDENTITIES[name](ModelCase(model.apply, likelihood.categorical(2).loss, params, batch)).check()
    assert report.tolerance < 1e-11
