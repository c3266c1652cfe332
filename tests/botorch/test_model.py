"""A learner as a model of botorch: shapes of batches, gradients to the inputs, and the learner's own predictions."""

from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc import algorithms, nn, tree
from metafunc.nn import likelihood
from metafunc.types import Batch, MetaLearner

pytest.importorskip("botorch")
X = torch.tensor([[-1.0, 0.5], [0.0, -0.3], [0.7, 0.2]], dtype=torch.float64)
Y = torch.tensor([[0.3], [-1.0], [0.8]], dtype=torch.float64)


def dkt() -> MetaLearner[Any, Any]:
    return algorithms.dkt(nn.mlp((2,), 3, hidden=(5,)), likelihood.gaussian(), kernel="rbf", num_features=3)


def cnp() -> MetaLearner[Any, Any]:
    return algorithms.build("cnp", nn.mlp, (2,), "regression", 1)


def emaml() -> MetaLearner[Any, Any]:
    return algorithms.build("emaml", nn.mlp, (2,), "regression", 1, num_particles=3)


def model(learner: MetaLearner[Any, Any], **settings: Any) -> Any:
    from metafunc.botorch import MetaModel

    return MetaModel(learner, learner.init(torch.Generator().manual_seed(0)), X, Y, **settings)


@pytest.mark.parametrize("builder", [dkt, cnp])
def test_mean_and_variance_are_the_learners_own(builder: Any) -> None:
    learner, at = builder(), torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = model(learner).posterior(at)
    meta = tree.map(lambda leaf: leaf.double(), learner.init(torch.Generator().manual_seed(0)))
    own = learner.predict(learner.adapt(meta, Batch(X, Y, torch.ones(3).double())), at)
    assert torch.allclose(found.mean, own.loc[0], atol=1e-9)
    assert torch.allclose(found.variance.sqrt(), own.scale.expand_as(own.loc)[0], rtol=1e-4)


@pytest.mark.parametrize("builder", [dkt, cnp])
@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_batches_have_the_shapes_that_botorch_asks_for(builder: Any, batch: tuple[int, ...]) -> None:
    at = torch.randn(*batch, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = model(builder()).posterior(at)
    assert whole.mean.shape == whole.variance.shape == (*batch, 4, 1)
    assert whole.rsample(torch.Size([7])).shape == (7, *batch, 4, 1)
    if batch:
        one = model(builder()).posterior(at[0])
        assert torch.allclose(whole.mean[0], one.mean), "a batch is its members"
        assert torch.allclose(whole.variance[0], one.variance)


def values(of: Any, at: Tensor) -> Tensor:
    found = of.posterior(at)
    covariance: Tensor = found.distribution.covariance_matrix
    return torch.cat([found.mean.flatten(), covariance.flatten()])


@pytest.mark.parametrize("builder", [dkt, cnp])
def test_gradients_to_the_inputs_are_those_of_finite_differences(builder: Any) -> None:
    of = model(builder())
    at = torch.tensor([[0.2, 0.1], [-0.4, 0.9]], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2 + 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(values(of, at) @ weights, at)
    step = 1e-5
    for row in range(2):
        for column in range(2):
            moved = torch.zeros_like(at)
            moved[row, column] = step
            with torch.no_grad():
                difference = (values(of, at + moved) - values(of, at - moved)) @ weights / (2 * step)
            assert gradient[row, column].item() == pytest.approx(difference.item(), rel=1e-5, abs=1e-8)


def test_points_of_a_gaussian_process_are_correlated_and_of_a_neural_process_are_not() -> None:
    at = torch.tensor([[2.0, 0.0], [2.1, 0.0]], dtype=torch.float64)
    together = model(dkt()).posterior(at).distribution.covariance_matrix
    apart = model(cnp()).posterior(at).distribution.covariance_matrix
    assert together[0, 1].abs() > 1e-3
    assert apart[0, 1].abs() < 1e-9


def test_particles_are_a_mixture_or_an_ensemble() -> None:
    at = torch.randn(2, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    moments = model(emaml(), noise_scale=0.1).posterior(at)
    ensemble = model(emaml(), ensemble=True).posterior(at)
    assert torch.allclose(moments.mean, ensemble.mean)
    spread = ensemble.values.var(-3, correction=0)
    assert torch.allclose(moments.variance, spread + 0.01)
    maml = algorithms.maml(nn.mlp((2,), 1, hidden=(4,)), likelihood.gaussian())
    with pytest.raises(ValueError, match="no noise model: give noise_scale"):
        model(maml).posterior(at)


def test_no_observations_are_the_prior() -> None:
    from metafunc.botorch import MetaModel

    learner = dkt()
    meta = learner.init(torch.Generator().manual_seed(0))
    empty = MetaModel(learner, meta, X[:0], Y[:0])
    assert (empty.train_inputs[0].shape, empty.train_targets.shape) == ((0, 2), (0, 1)), "nothing was observed"
    prior = empty.posterior(X)
    assert torch.allclose(prior.mean, torch.zeros(3, 1).double(), atol=1e-9)
    assert bool((prior.variance > model(learner).posterior(X).variance).all())


def test_what_does_not_fit_is_refused() -> None:
    from metafunc.botorch import MetaModel

    learner = dkt()
    with pytest.raises(ValueError, match=r"x is \(3, 2\) and y \(2, 1\)"):
        MetaModel(learner, learner.init(torch.Generator()), X, Y[:2])
