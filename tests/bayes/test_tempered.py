"""Temperatures: what they do to predictions, and that they stack on other transforms."""

import torch
from torch import Generator

import metafunc
from metafunc import algorithms, nn
from metafunc.bayes.tempered import at_temperature
from metafunc.nn import likelihood
from metafunc.types import Batch, Categorical, Normal

LOGITS = torch.tensor([[[2.0, 0.0, -1.0]], [[0.0, 1.0, 0.5]]], dtype=torch.float64)


def test_classes_are_tempered_as_their_mixture() -> None:
    mixed = LOGITS.softmax(-1).mean(0)
    for temperature in (0.5, 1.0, 3.0):
        found = at_temperature(Categorical(LOGITS), torch.tensor(temperature)).logits.softmax(-1)[0]
        powered = mixed ** (1 / temperature)
        torch.testing.assert_close(found, powered / powered.sum(-1, keepdim=True), rtol=0, atol=1e-12)


def test_a_regression_s_scale_is_multiplied_or_made() -> None:
    loc, two = torch.zeros(1, 3, 1), torch.tensor(2.0)
    assert at_temperature(Normal(loc, torch.tensor(0.5)), two).scale == 1.0
    assert at_temperature(Normal(loc), two).scale == 2.0


def test_it_stacks_on_laplace() -> None:
    model, observed = nn.mlp((1,), 1), likelihood.gaussian()
    inner = metafunc.laplace(algorithms.maml(model, observed), model, observed)
    both = metafunc.tempered(inner).with_values((2.0, 0.5, 3.0))
    meta = both.init(Generator().manual_seed(0))
    adapted = both.adapt(meta, Batch(torch.ones(2, 1), torch.ones(2, 1)))
    x = torch.linspace(-1, 1, 4)[:, None]
    alone = inner.with_values((2.0, 0.5)).predict(adapted, x)
    torch.testing.assert_close(both.predict(adapted, x).scale, 3 * alone.scale)
