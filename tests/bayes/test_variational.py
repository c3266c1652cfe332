"""What learners that draw have in common: where their noise comes from and what it is drawn for."""

from decimal import Decimal, localcontext

import torch

from metafunc import nn, tree
from metafunc.bayes.bottleneck import bottleneck, information
from metafunc.bayes.gaussian import Gaussian, around, kl, standard
from metafunc.bayes.variational import draws_for, draws_of, preparing, samples
from metafunc.nn.likelihood import gaussian
from metafunc.testing import random_tasks
from metafunc.types import Batch

TASKS = random_tasks("regression")
LIKE = {"w": torch.zeros(2, 3, dtype=torch.float64), "b": torch.zeros(3, dtype=torch.float64)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_draws_have_the_axes_of_tasks_and_draws_and_differ():
    noise = draws_for(LIKE, TASKS, generator(), num_draws=4)
    assert {name: leaf.shape for name, leaf in noise.items()} == {"w": (3, 4, 2, 3), "b": (3, 4, 3)}
    assert len(noise["b"].flatten().unique()) == noise["b"].numel()


def test_shared_draws_are_the_same_for_all_tasks_and_differ_otherwise():
    noise = draws_for(LIKE, TASKS, generator(), num_draws=4, shared=True)["w"]
    assert noise.shape == (3, 4, 2, 3)
    assert torch.equal(noise[0], noise[2])
    assert len(noise[0].flatten().unique()) == noise[0].numel()


def test_training_draws_once_and_testing_as_often_as_asked():
    prepare = preparing(lambda meta: meta, num_particles=5)
    for step, draws in ((0, 1), (None, 5)):
        tasks = prepare(LIKE, TASKS, generator(), step=step, num_steps=10)
        assert tasks.support.extra["b"].shape == (3, draws, 3)
        assert tasks.query.extra == ()
    again = prepare(LIKE, TASKS, generator(), step=None, num_steps=10)
    assert torch.equal(again.support.extra["w"], tasks.support.extra["w"])


def test_without_noise_there_is_one_draw_and_it_is_the_mean():
    mean = {"w": torch.ones(2), "b": torch.ones(1)}
    drawn = samples(around(mean, 0.5), draws_of(Batch(torch.ones(1, 1), torch.ones(1, 1)), mean))
    assert torch.equal(drawn["w"], torch.ones(1, 2))


def test_a_mixture_predicts_with_every_particle():
    model = nn.mlp((2,), 1, hidden=(3,))
    particles = tree.stack([model.init(generator(seed)) for seed in range(4)])
    x = torch.randn(5, 2, generator=generator())
    together = gaussian().mixture(model)(particles, x).loc
    assert together.shape == (4, 5, 1)
    for row, params in zip(together, tree.unstack(particles), strict=True):
        torch.testing.assert_close(row, model.apply(params, x))


def test_a_bottleneck_s_information_is_the_mean_divergence_of_its_rows():
    outputs = torch.randn(4, 6, generator=generator(), dtype=torch.float64)
    code = bottleneck(outputs)
    scale = torch.nn.functional.softplus(outputs[:, 3:])
    reference = torch.distributions.kl_divergence(
        torch.distributions.Normal(outputs[:, :3], scale), torch.distributions.Normal(0.0, 1.0)
    ).sum(1)
    torch.testing.assert_close(information(code), reference.mean(), rtol=1e-12, atol=0)
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(information(code, mask), reference[::2].mean(), rtol=1e-12, atol=0)


def test_a_standard_normal_is_the_zero_of_the_divergence():
    assert kl(standard(LIKE), standard(LIKE)) == 0
    wider = Gaussian(tree.zeros_like(LIKE), tree.map(torch.ones_like, LIKE))
    assert kl(wider, standard(LIKE)) > 0


def test_a_narrow_code_keeps_its_scale_and_its_derivative():
    """In 400 digits: log log(1 + e^x), and its derivative 1 / ((1 + e^-x) log(1 + e^x))."""
    raw = torch.tensor([[-800.0, -30.0, -20.5, -19.5, -3.0, 0.0, 5.0]], dtype=torch.float64)
    outputs = torch.cat([torch.zeros_like(raw), raw], 1)
    found = bottleneck(outputs).log_scale
    gradient = torch.func.grad(lambda at: bottleneck(at).log_scale.sum())(outputs)[:, 7:]
    with localcontext() as context:
        context.prec = 400
        soft = [(1 + Decimal(x).exp()).ln() for x in raw[0].tolist()]
        values = [float(value.ln()) for value in soft]
        gradients = [float(1 / ((1 + (-Decimal(x)).exp()) * s)) for x, s in zip(raw[0].tolist(), soft, strict=True)]
    torch.testing.assert_close(found, torch.tensor([values], dtype=torch.float64), rtol=1e-15, atol=1e-15)
    torch.testing.assert_close(gradient, torch.tensor([gradients], dtype=torch.float64), rtol=1e-14, atol=0)
    assert bottleneck(outputs.float()).log_scale.isfinite().all()
