"""Conditioning against scikit-learn, against the joint Gaussian, and against Bayesian linear regression, in float64."""

import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from torch.distributions import MultivariateNormal
from torch.func import grad, hessian, vmap

from metafunc import tree
from metafunc.bayes import gaussian_process as gp
from metafunc.bayes import kernels, linear_regression

N, M, NOISE = 6, 4, 0.3
KERNEL = kernels.rbf()
GIVEN = {"log_lengthscale": torch.tensor([-0.4], dtype=torch.float64), "log_scale": torch.zeros(()).double()}


def draw(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, Y, Z = draw(0, N, 1), draw(1, N, 2), draw(2, M, 1)
VARIANCE = torch.tensor(NOISE**2, dtype=torch.float64)


def conditioned(x=X, y=Y, mask=(), jitter=0.0):
    return gp.condition(KERNEL.gram(GIVEN, x, x), y, VARIANCE, mask, jitter=jitter)


def predictions(found, x=X):
    cross = KERNEL.gram(GIVEN, Z, x)
    return (
        gp.mean(found, cross),
        gp.variance(found, cross, KERNEL.variance(GIVEN, Z)),
        gp.covariance(found, cross, KERNEL.gram(GIVEN, Z, Z)),
    )


def test_evidence_and_predictions_are_those_of_scikit_learn():
    length = GIVEN["log_lengthscale"].exp().item()
    model = GaussianProcessRegressor(RBF(length) + WhiteKernel(NOISE**2), alpha=0.0, optimizer=None)
    found, y = conditioned(y=Y[:, :1]), Y[:, :1]
    model.fit(X.numpy(), y.numpy())
    assert gp.log_evidence(found, y).item() == pytest.approx(model.log_marginal_likelihood_value_, rel=1e-12)
    mean, covariance = model.predict(Z.numpy(), return_cov=True)
    torch.testing.assert_close(predictions(found)[0][:, 0], torch.from_numpy(mean.reshape(-1)), rtol=1e-11, atol=1e-13)
    noisy = predictions(found)[2] + VARIANCE * torch.eye(M, dtype=torch.float64)
    torch.testing.assert_close(noisy, torch.from_numpy(covariance), rtol=1e-11, atol=1e-13)


def test_predictions_are_conditionals_of_the_joint_gaussian():
    both = torch.cat([X, Z])
    noise = VARIANCE * torch.eye(N, dtype=torch.float64)
    joint = KERNEL.gram(GIVEN, both, both)
    top, cross = joint[:N, :N] + noise, joint[:N, N:]
    mean, variance, covariance = predictions(conditioned())
    torch.testing.assert_close(mean, cross.mT @ torch.linalg.solve(top, Y), rtol=1e-11, atol=1e-12)
    expected = joint[N:, N:] - cross.mT @ torch.linalg.solve(top, cross)
    torch.testing.assert_close(covariance, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(variance, expected.diagonal(), rtol=1e-10, atol=1e-12)


def test_the_evidence_is_the_density_of_the_targets():
    gram = KERNEL.gram(GIVEN, X, X) + VARIANCE * torch.eye(N, dtype=torch.float64)
    expected = sum(MultivariateNormal(torch.zeros(N).double(), gram).log_prob(column) for column in Y.mT)
    assert gp.log_evidence(conditioned(), Y).item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_evidence_is_the_sum_of_one_step_predictions():
    total = 0.0
    for i in range(N):
        found = conditioned(X[:i], Y[:i]) if i else None
        cross = KERNEL.gram(GIVEN, X[i : i + 1], X[:i])
        mean = gp.mean(found, cross)[0] if found else torch.zeros(2).double()
        prior = KERNEL.variance(GIVEN, X[i : i + 1])
        variance = (gp.variance(found, cross, prior) if found else prior)[0] + VARIANCE
        total += torch.distributions.Normal(mean, variance.sqrt()).log_prob(Y[i]).sum().item()
    assert gp.log_evidence(conditioned(), Y).item() == pytest.approx(total, rel=1e-11)


def test_the_linear_kernel_is_bayesian_linear_regression():
    kernel = kernels.linear()
    given = {"log_scale": torch.tensor(0.2).double(), "log_bias": torch.tensor(-0.3).double()}
    x, z = draw(3, N, 2), draw(4, M, 2)
    found = gp.condition(kernel.gram(given, x, x), Y, VARIANCE, jitter=0.0)
    cross = kernel.gram(given, z, x)
    # Prior precisions in units of the noise, which is what linear_regression takes.
    precision = torch.diag(VARIANCE / (2 * torch.stack([given["log_bias"], *2 * [given["log_scale"]]])).exp())
    prior = linear_regression.MatrixNormal(torch.zeros(3, 2).double(), precision)
    weights = linear_regression.condition(prior, torch.cat([torch.ones(N, 1), x], 1), Y)
    features = torch.cat([torch.ones(M, 1), z], 1)
    torch.testing.assert_close(gp.mean(found, cross), features @ weights.mean, rtol=1e-10, atol=1e-12)
    expected = VARIANCE * linear_regression.variance(weights, features)
    torch.testing.assert_close(gp.variance(found, cross, kernel.variance(given, z)), expected, rtol=1e-9, atol=1e-12)


def test_masked_rows_are_absent_rows():
    mask = torch.tensor([1, 0, 1, 1, 0, 1]).double()
    kept = mask.bool()
    padded = torch.where(kept[:, None], X, 1e6), torch.where(kept[:, None], Y, -1e6)
    found, few = conditioned(*padded, mask, jitter=1e-3), conditioned(X[kept], Y[kept], jitter=1e-3)
    for a, b in zip(predictions(found, padded[0]), predictions(few, X[kept]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(gp.log_evidence(found, padded[1]), gp.log_evidence(few, Y[kept]), rtol=1e-12, atol=0.0)
    none = conditioned(X, Y, torch.zeros(N).double())
    assert gp.log_evidence(none, Y) == 0
    torch.testing.assert_close(predictions(none)[1], KERNEL.variance(GIVEN, Z))


def test_the_jitter_is_relative_to_the_scale():
    gram, zero = KERNEL.gram(GIVEN, X, X), torch.zeros(()).double()
    small, large = (gp.condition(s**2 * gram, s * Y, zero) for s in (1e-3, 1e3))
    torch.testing.assert_close(small.factor * 1e3, large.factor * 1e-3, rtol=1e-12, atol=1e-13)


def test_a_row_twice_is_no_error_in_float32():
    x = torch.zeros(20, 1)
    gram = KERNEL.gram(tree.map(lambda leaf: leaf.float(), GIVEN), x, x)
    found = gp.condition(gram, torch.ones(20, 1), torch.tensor(0.0))
    assert found.factor.isfinite().all()
    assert gp.mean(found, gram).sub(1).abs().max() < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_rounding_left_without_a_factor_is_lifted_by_what_rounding_moves(dtype):
    """Fifty rows of three features have no factor without noise; the wrong twin, a plain factorisation, fails."""
    rows = torch.randn(50, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
    singular = rows @ rows.T - 1e-12 * torch.eye(50, dtype=dtype)
    with pytest.raises(torch.linalg.LinAlgError):
        torch.linalg.cholesky(singular)
    nothing = torch.zeros((), dtype=dtype)

    def factor(gram, mask):
        return gp.condition(gram, torch.zeros(len(gram), 1, dtype=dtype), nothing, mask, jitter=0.0).factor

    both = vmap(factor)(torch.stack([singular, torch.eye(50, dtype=dtype)]), torch.ones(2, 50, dtype=dtype))
    assert both[1].equal(torch.eye(50, dtype=dtype))  # a neighbour that has a factor is not lifted
    moved = both[0] @ both[0].T - singular
    assert moved.abs().max() <= 2 * 50 * torch.finfo(dtype).eps * singular.diagonal().sum()
    # Padding does not take part: rows far smaller than its ones are lifted by their own size.
    padded = torch.nn.functional.pad(1e-8 * singular, (0, 30, 0, 30))
    mask = torch.ones(80, dtype=dtype).index_fill(0, torch.arange(50, 80), 0)
    lone = factor(1e-8 * singular, torch.ones(50, dtype=dtype))
    torch.testing.assert_close(factor(padded, mask)[:50, :50], lone, rtol=1e-3, atol=1e-7 * float(lone.abs().max()))

    def evidence(scale):
        found = gp.condition(scale * singular, rows[:, :1], nothing, jitter=0.0)
        return gp.log_evidence(found, rows[:, :1])

    one = torch.ones((), dtype=dtype)
    assert grad(evidence)(one).isfinite()
    assert hessian(evidence)(one).isfinite()


def test_a_covariance_with_a_factor_has_the_same_one_and_nan_stays_nan():
    rows = draw(0, 6, 6)
    definite = rows @ rows.T + torch.eye(6)
    assert gp.factored(definite, torch.ones(6)).equal(torch.linalg.cholesky(definite))
    assert gp.factored(torch.full((2, 2), torch.nan), torch.ones(2)).isnan().any()


def energy(flat, x, y):
    given = {"log_lengthscale": flat[:1], "log_scale": flat[1]}
    found = gp.condition(KERNEL.gram(given, x, x), y, flat[2].exp())
    z = x[:2] + 0.1
    cross = KERNEL.gram(given, z, x)
    covariance = gp.covariance(found, cross, KERNEL.gram(given, z, z))
    return gp.log_evidence(found, y) + gp.mean(found, cross).square().sum() + covariance.sum()


def test_derivatives_are_right_to_the_second_order_and_batch():
    flat = draw(5, 3)
    assert torch.autograd.gradcheck(energy, [flat.clone().requires_grad_(), X.clone().requires_grad_(), Y])
    assert torch.autograd.gradgradcheck(energy, [flat.clone().requires_grad_(), X, Y])
    x, y = draw(6, 3, N, 1), draw(7, 3, N, 2)
    for derivative in (grad(energy), hessian(energy)):
        batched = vmap(derivative, in_dims=(None, 0, 0))(flat, x, y)
        for i in range(3):
            torch.testing.assert_close(batched[i], derivative(flat, x[i], y[i]), rtol=1e-9, atol=1e-9)


def test_observations_together_are_the_joint_normal_given_the_support():
    """Against the quotient of two densities; rows of padding are absent; and the gradient, which training may take."""
    everything, y, new = torch.cat([X, Z]), draw(3, M, 2), torch.tensor([1.0, 0.0, 1.0, 1.0]).double()

    def expected(rows, y):
        kept = torch.cat([torch.arange(N), N + rows])
        cov = KERNEL.gram(GIVEN, everything[kept], everything[kept]) + VARIANCE * torch.eye(len(kept))
        both, alone = torch.cat([Y, y[rows]]), MultivariateNormal(torch.zeros(N).double(), cov[:N, :N])
        return (
            MultivariateNormal(torch.zeros(len(kept)).double(), cov).log_prob(both.T).sum() - alone.log_prob(Y.T).sum()
        )

    def found(y, mask=()):
        known, cross = conditioned(), KERNEL.gram(GIVEN, Z, X)
        return gp.log_joint(known, cross, KERNEL.gram(GIVEN, Z, Z), y - gp.mean(known, cross), VARIANCE, mask)

    for mask, rows in (((), torch.arange(M)), (new, new.nonzero()[:, 0])):
        # The jitter, a millionth of the prior's variance, is all that is between them.
        assert found(y, mask).item() == pytest.approx(expected(rows, y).item(), abs=1e-3)
        wanted = grad(lambda y, rows=rows: expected(rows, y))(y)
        torch.testing.assert_close(grad(lambda y, mask=mask: found(y, mask))(y), wanted, rtol=1e-3, atol=1e-3)
    assert abs(found(y) - found(y, new)) > 0.1
