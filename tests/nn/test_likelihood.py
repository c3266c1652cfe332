"""Observation models against torch.distributions and torch.nn.functional, and masks against leaving rows out."""

import math

import pytest
import torch
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Normal as TorchNormal
from torch.nn import functional as F

from metafunc.nn import likelihood
from metafunc.testing import network
from metafunc.types import Batch, Categorical, Normal


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


REGRESSION = Batch(randn(5, 2), randn(5, 3, seed=1))
CLASSES = Batch(randn(5, 2), torch.tensor([0, 2, 1, 2, 0]))
KEEP = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
CASES = {
    "gaussian": (likelihood.gaussian(3), REGRESSION),
    "gaussian with a scale": (likelihood.gaussian(3, scale=0.3), REGRESSION),
    "heteroscedastic": (likelihood.heteroscedastic(3), REGRESSION),
    "categorical": (likelihood.categorical(3), CLASSES),
}
every_model = pytest.mark.parametrize("name", CASES)


def outputs_for(model):
    return randn(5, model.num_outputs, seed=2)


def rows(batch, keep):
    return Batch(batch.x[keep.bool()], batch.y[keep.bool()])


@every_model
def test_a_mask_is_leaving_rows_out(name):
    model, batch = CASES[name]
    outputs = outputs_for(model)
    for function in (model.loss, model.log_prob):
        masked = function(outputs, batch._replace(mask=KEEP))
        assert torch.allclose(masked, function(outputs[KEEP.bool()], rows(batch, KEEP)), rtol=1e-12)
        assert not torch.allclose(masked, function(outputs, batch), rtol=1e-3)


@every_model
def test_no_rows_lose_nothing_and_have_no_gradient(name):
    model, batch = CASES[name]
    nothing = batch._replace(mask=torch.zeros(5, dtype=torch.float64))
    gradient, value = torch.func.grad_and_value(lambda outputs: model.loss(outputs, nothing))(outputs_for(model))
    assert value == 0
    assert gradient.eq(0).all()


def test_the_gaussian_loss_is_the_mean_squared_error():
    model, batch = CASES["gaussian"]
    outputs = outputs_for(model)
    assert torch.allclose(model.loss(outputs, batch), F.mse_loss(outputs, batch.y), rtol=1e-12)


def test_the_gaussian_log_probability_is_the_sum_over_rows():
    for name, scale in (("gaussian", 1.0), ("gaussian with a scale", 0.3)):
        model, batch = CASES[name]
        outputs = outputs_for(model)
        expected = TorchNormal(outputs, scale).log_prob(batch.y).sum()
        assert torch.allclose(model.log_prob(outputs, batch), expected, rtol=1e-12)


def test_the_learned_scale_is_above_its_floor_and_enters_the_loss():
    model, batch = CASES["heteroscedastic"]
    outputs = outputs_for(model)
    scale = 0.1 + 0.9 * torch.log1p(outputs[:, 3:].exp())
    each = TorchNormal(outputs[:, :3], scale).log_prob(batch.y)
    assert torch.allclose(model.loss(outputs, batch), -each.sum(-1).mean(), rtol=1e-12)
    assert torch.allclose(model.log_prob(outputs, batch), each.sum(), rtol=1e-12)
    prediction = model.predictive(outputs[None])
    assert torch.allclose(prediction.scale[0], scale, rtol=1e-12)
    low = model.predictive(torch.full((1, 5, 6), -50.0))
    assert torch.allclose(low.scale, torch.tensor(0.1))


def test_the_categorical_loss_is_the_cross_entropy():
    model, batch = CASES["categorical"]
    outputs = outputs_for(model)
    assert torch.allclose(model.loss(outputs, batch), F.cross_entropy(outputs, batch.y), rtol=1e-12)
    expected = TorchCategorical(logits=outputs).log_prob(batch.y).sum()
    assert torch.allclose(model.log_prob(outputs, batch), expected, rtol=1e-12)


def test_samples_have_the_moments_of_the_model():
    noise = randn(20_000, 3)
    outputs = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64).expand(20_000, 3)
    for model, scale in ((likelihood.gaussian(3, scale=0.3), 0.3), (likelihood.gaussian(3), 1.0)):
        drawn = model.sample(outputs, noise)
        assert torch.allclose(drawn.mean(0), outputs[0], atol=0.05 * scale + 0.01)
        assert torch.allclose(drawn.std(0), torch.full((3,), scale, dtype=torch.float64), rtol=0.05)
    both = torch.cat([outputs, torch.full_like(outputs, -50.0)], dim=-1)
    drawn = likelihood.heteroscedastic(3).sample(both, noise)
    assert torch.allclose(drawn.std(0), torch.full((3,), 0.1, dtype=torch.float64), rtol=0.05)


def test_gumbel_noise_draws_classes_with_their_probabilities():
    uniform = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    drawn = likelihood.categorical(3).sample(logits.expand(20_000, 3), -(-uniform.log()).log())
    frequency = torch.bincount(drawn, minlength=3) / 20_000
    assert torch.allclose(frequency.double(), logits.softmax(0), atol=0.02)


def test_predictions_say_what_they_know():
    outputs = randn(1, 5, 3)
    assert likelihood.gaussian(3).predictive(outputs) == Normal(outputs, ())
    assert likelihood.gaussian(3, scale=0.5).predictive(outputs).scale == 0.5
    assert isinstance(likelihood.categorical(3).predictive(outputs), Categorical)


def test_targets_are_encoded_as_numbers():
    assert likelihood.gaussian(3).encode(REGRESSION.y) is REGRESSION.y
    assert likelihood.categorical(3).encode(CLASSES.y).tolist()[1] == [0, 0, 1]
    assert all(model.encode(batch.y).shape == (5, model.num_targets) for model, batch in CASES.values())


def test_a_model_has_a_mean_loss_and_a_summed_negative_log_probability():
    model = network((2,), 3)
    params = model.init(torch.Generator().manual_seed(0))
    chosen = likelihood.gaussian(3)
    outputs = model.apply(params, REGRESSION.x)
    assert chosen.of(model)(params, REGRESSION) == chosen.loss(outputs, REGRESSION)
    assert chosen.nll(model)(params, REGRESSION) == -chosen.log_prob(outputs, REGRESSION)
    assert torch.equal(chosen.predict(model)(params, REGRESSION.x).loc, outputs[None])
    mean_and_sum = 0.5 * 15 * (chosen.of(model)(params, REGRESSION) + math.log(2 * math.pi))
    assert torch.allclose(chosen.nll(model)(params, REGRESSION), mean_and_sum, rtol=1e-12)


def test_the_kind_of_a_task_chooses_the_model():
    assert likelihood.for_kind("regression", 2).num_outputs == 2
    assert likelihood.for_kind("classification", 5).kind == "classification"
    with pytest.raises(ValueError, match="no likelihood"):
        likelihood.for_kind("control", 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: likelihood.gaussian(0), "at least 1, not 0"),
        (lambda: likelihood.gaussian(1, scale=0.0), "above 0, not 0.0"),
        (lambda: likelihood.gaussian(1, scale=float("nan")), "above 0, not nan"),
        (lambda: likelihood.heteroscedastic(0), "at least 1"),
        (lambda: likelihood.heteroscedastic(1, floor=1.0), r"\[0, 1\), not 1.0"),
        (lambda: likelihood.categorical(1), "at least 2, not 1"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("chosen", [likelihood.gaussian(), likelihood.heteroscedastic()])
def test_targets_that_would_broadcast_over_rows_are_refused(chosen):
    outputs, batch = randn(5, chosen.num_outputs), Batch(randn(5, 2), randn(5))
    for function in (chosen.loss, chosen.log_prob):
        with pytest.raises(ValueError, match=r"targets \(5,\).*y\[:, None\]"):
            function(outputs, batch)
        function(outputs, batch._replace(y=batch.y[:, None]))


def test_a_gaussian_without_noise_takes_a_scale_that_is_learned():
    free, outputs = likelihood.gaussian(3), randn(5, 3, seed=2)
    scale = torch.tensor(0.3, dtype=torch.float64)
    fixed = likelihood.gaussian(3, scale=0.3)
    assert torch.allclose(free.with_scale(scale).log_prob(outputs, REGRESSION), fixed.log_prob(outputs, REGRESSION))
    gradient = torch.func.grad(lambda s: free.with_scale(s).log_prob(outputs, REGRESSION))(scale)
    squares = (outputs - REGRESSION.y).square().sum()
    assert torch.allclose(gradient, squares / scale**3 - 15 / scale, rtol=1e-12)
    assert fixed.with_scale is None
    assert likelihood.categorical(3).with_scale is None
