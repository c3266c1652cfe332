"""Kernels against scikit-learn's and against their formulas, number by number, and their derivatives, in float64."""

import math

import pytest
import torch
from sklearn.gaussian_process import kernels as sklearn
from torch.func import grad, hessian, vmap

from metafunc import tree
from metafunc.bayes import kernels

N, M, INPUTS = 5, 4, 2


def draw(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def double(values):
    return tree.map(lambda leaf: leaf.double(), values)


def hyperparameters(kernel, seed=0):
    """Those that a kernel starts with, moved at random."""
    start = double(kernel.init(torch.Generator().manual_seed(seed), INPUTS))
    flat, unravel = tree.ravel(start)
    return unravel(flat + 0.3 * draw(seed, *flat.shape))


ALL = {
    "rbf": kernels.rbf(),
    "matern 1/2": kernels.matern("1/2"),
    "matern 3/2": kernels.matern("3/2"),
    "matern 5/2": kernels.matern("5/2"),
    "periodic": kernels.periodic(),
    "linear": kernels.linear(),
    "cosine": kernels.cosine(),
    "spectral mixture": kernels.spectral_mixture(3),
    "tanimoto": kernels.tanimoto(),
    "times": kernels.times(kernels.rbf(), kernels.periodic()),
}
every_kernel = pytest.mark.parametrize("name", ALL)


def of_sklearn(name, given):
    """The same kernel in scikit-learn."""

    def number(key):
        return given[key].exp().item()

    if name == "linear":
        weight = number("log_scale")
        return sklearn.ConstantKernel(weight**2) * sklearn.DotProduct(sigma_0=number("log_bias") / weight)
    scale = sklearn.ConstantKernel(number("log_scale") ** 2)
    if name == "periodic":
        return scale * sklearn.ExpSineSquared(number("log_lengthscale"), number("log_period"))
    lengths = given["log_lengthscale"].exp().numpy()
    if name == "rbf":
        return scale * sklearn.RBF(lengths)
    return scale * sklearn.Matern(lengths, nu={"1/2": 0.5, "3/2": 1.5, "5/2": 2.5}[name.split()[1]])


@pytest.mark.parametrize("name", ["rbf", "matern 1/2", "matern 3/2", "matern 5/2", "linear"])
def test_a_kernel_is_that_of_scikit_learn(name):
    given, x, z = hyperparameters(ALL[name]), draw(1, N, INPUTS), draw(2, M, INPUTS)
    expected = torch.from_numpy(of_sklearn(name, given)(x.numpy(), z.numpy()))
    torch.testing.assert_close(ALL[name].gram(given, x, z), expected, rtol=1e-12, atol=1e-14)
    wrong = double(tree.map(lambda leaf: leaf + 0.1, given))
    assert not torch.allclose(ALL[name].gram(wrong, x, z), expected, rtol=1e-3)


def test_the_periodic_kernel_is_that_of_scikit_learn_in_one_dimension():
    given, x, z = hyperparameters(ALL["periodic"]), draw(1, N, 1), draw(2, M, 1)
    expected = torch.from_numpy(of_sklearn("periodic", given)(x.numpy(), z.numpy()))
    torch.testing.assert_close(ALL["periodic"].gram(given, x, z), expected, rtol=1e-12, atol=1e-14)


def test_the_spectral_mixture_is_its_formula():
    given, x, z = hyperparameters(ALL["spectral mixture"]), draw(1, N, INPUTS), draw(2, M, INPUTS)
    found = ALL["spectral mixture"].gram(given, x, z)
    for i in range(N):
        for j in range(M):
            total = 0.0
            for q in range(3):
                product = given["log_weight"][q].exp().item()
                for d in range(INPUTS):
                    t = (x[i, d] - z[j, d]).item()
                    variance = given["log_bandwidth"][q, d].exp().item() ** 2
                    product *= math.exp(-2 * math.pi**2 * t**2 * variance)
                    product *= math.cos(2 * math.pi * t * given["frequency"][q, d].item())
                total += product
            assert found[i, j].item() == pytest.approx(total, rel=1e-12, abs=1e-15)


def test_tanimoto_counts_shared_bits():
    bits = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0]], dtype=torch.float64)
    given = {"log_scale": torch.zeros((), dtype=torch.float64)}
    expected = torch.tensor([[1, 1 / 4, 0], [1 / 4, 1, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(kernels.tanimoto().gram(given, bits, bits), expected)


@every_kernel
def test_the_variance_is_the_diagonal(name):
    given, x = hyperparameters(ALL[name]), draw(1, N, INPUTS)
    torch.testing.assert_close(ALL[name].variance(given, x), ALL[name].gram(given, x, x).diagonal())


@every_kernel
def test_a_gram_matrix_is_positive_and_symmetric(name):
    given, x = hyperparameters(ALL[name]), draw(1, 12, INPUTS).abs()  # Tanimoto's is a kernel of counts.
    gram = ALL[name].gram(given, x, x)
    torch.testing.assert_close(gram, gram.mT)
    assert torch.linalg.eigvalsh(gram).min() > -1e-12


@every_kernel
def test_derivatives_are_right_to_the_second_order(name):
    given, x, z = hyperparameters(ALL[name]), draw(1, N, INPUTS), draw(2, M, INPUTS)
    flat, unravel = tree.ravel(given)

    def gram(flat, x, z):
        return ALL[name].gram(unravel(flat), x, z)

    leaves = [leaf.clone().requires_grad_() for leaf in (flat, x, z)]
    assert torch.autograd.gradcheck(gram, leaves, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(gram, leaves)


@every_kernel
def test_derivatives_are_finite_where_rows_meet(name):
    given, x = hyperparameters(ALL[name]), torch.zeros(2, INPUTS, dtype=torch.float64)
    flat, unravel = tree.ravel(given)

    def total(flat, x):
        return ALL[name].gram(unravel(flat), x, x.detach()).sum()

    for derivative in (grad, hessian):
        for argument in (0, 1):
            assert derivative(total, argnums=argument)(flat, x).isfinite().all()


@pytest.mark.parametrize(("smoothness", "curvature"), [("3/2", -3.0), ("5/2", -5 / 3)])
def test_materns_second_derivative_where_rows_meet(smoothness, curvature):
    kernel = kernels.matern(smoothness)
    given = double(kernel.init(torch.Generator(), 1))
    zero = torch.zeros(1, 1, dtype=torch.float64)

    def value(t):
        return kernel.gram(given, t, zero).sum()

    assert hessian(value)(zero).item() == pytest.approx(curvature, rel=1e-14)

    def through_the_root(t):
        r = int(smoothness[0]) ** 0.5 * tree.safe_sqrt(t.square().sum())
        return (1 + r + (r**2 / 3 if smoothness == "5/2" else 0)) * torch.exp(-r)

    assert value(zero + 0.7).item() == pytest.approx(through_the_root(zero + 0.7).item(), rel=1e-14)
    assert hessian(through_the_root)(zero).item() != pytest.approx(curvature, rel=0.1)


@every_kernel
def test_a_batch_of_tasks_is_a_loop_over_them(name):
    given = tree.stack([hyperparameters(ALL[name], seed) for seed in range(3)])
    x, z = draw(1, 3, N, INPUTS), draw(2, 3, M, INPUTS)

    def derivative(given, x, z):
        flat, unravel = tree.ravel(given)
        return hessian(lambda flat: ALL[name].gram(unravel(flat), x, z).square().sum())(flat)

    batched = vmap(derivative)(given, x, z)
    for i in range(3):
        torch.testing.assert_close(batched[i], derivative(tree.at(given, i), x[i], z[i]), rtol=1e-11, atol=1e-11)


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ValueError, match="lengthscale must be above 0"):
        kernels.rbf(lengthscale=0.0)
    with pytest.raises(ValueError, match="num_components must be at least 1"):
        kernels.spectral_mixture(0)
