"""Problems on which every digit of an answer is rounding, so that a tolerance has to know where rounding comes from."""

import torch

from metafunc import likelihood
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
