"""Set convolutions against double loops, and their shifts, masks and derivatives."""

import math

import pytest
import torch
from torch.testing import assert_close

from metafunc.nn.set_convolution import Grid, grid_network, off, onto, weights

GRID = Grid(points_per_unit=8, span=2.0)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def points(axes):
    """The places of a grid: (height, width, d)."""
    if len(axes) == 1:
        return axes[0][None, :, None]
    return torch.stack(torch.meshgrid(axes[0], axes[1], indexing="ij"), -1)


@pytest.mark.parametrize("dims", [1, 2])
def test_onto_and_off_are_the_sums_over_pairs(dims):
    x, y, scale = 2 * rand(4, dims) - 1, randn(4, 2, seed=1), torch.tensor(0.3, dtype=torch.float64)
    mask = torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    axes = GRID.axes(x, mask)
    places = points(axes)
    found = onto(weights(axes, x, scale), y, mask)
    features = randn(3, *places.shape[:2], seed=2)
    back = off(weights(axes, x, scale), features, 8 * scale)
    expected = torch.zeros(4, 3, dtype=torch.float64)
    for h in range(places.shape[0]):
        for w in range(places.shape[1]):
            near = [math.exp(-float((places[h, w] - row).square().sum()) / (2 * 0.3**2)) for row in x]
            density = near[0] + near[1] + near[3]
            assert found[0, h, w].item() == pytest.approx(density, rel=1e-9, abs=1e-20)
            mean = (near[0] * y[0] + near[1] * y[1] + near[3] * y[3]) / (density + 1e-8)
            assert_close(found[1:, h, w], mean, rtol=1e-6, atol=1e-6)
            expected += torch.tensor(near, dtype=torch.float64)[:, None] * features[:, h, w]
    assert_close(back, expected / (math.sqrt(2 * math.pi) * 8 * 0.3) ** dims, rtol=1e-6, atol=1e-8)
    inner = GRID.axes(x, mask).mean(1)[None]
    flat = off(weights(axes, inner, scale / 3), torch.ones_like(features), 8 * scale / 3)
    assert_close(flat, torch.ones_like(flat), rtol=1e-4, atol=0)


def test_the_grid_holds_all_rows_and_moves_in_whole_steps():
    x = 2 * rand(6, 2) - 1
    axes = GRID.axes(x, torch.ones(6).double())
    assert (axes[:, 0] <= x.amin(0) - 0.1).all()
    assert (axes[:, -1] >= x.amax(0)).all()
    assert_close(axes * 8, (axes * 8).round())
    assert_close(GRID.axes(x + 3 / 8, torch.ones(6).double()), axes + 3 / 8, rtol=0, atol=1e-15)
    assert not torch.allclose(GRID.axes(x + 0.3 / 8, torch.ones(6).double()), axes + 0.3 / 8)


def test_rows_that_do_not_count_neither_place_the_grid_nor_break_derivatives():
    x = torch.cat([rand(3, 1), torch.full((1, 1), -1e30, dtype=torch.float64)])
    y, mask = randn(4, 1, seed=1), torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)

    def loss(log_scale, x, y, mask):
        axes = GRID.axes(x, mask)
        return onto(weights(axes, x, log_scale.exp()), y, mask).square().sum()

    at = torch.tensor(-1.0).double()
    for derivative in (loss, torch.func.grad(loss), torch.func.grad(torch.func.grad(loss))):
        assert_close(derivative(at, x, y, mask), derivative(at, x[:3], y[:3], mask[:3]), rtol=1e-12, atol=0)
    assert torch.func.grad(loss)(at, x, y, 0 * mask) == 0


@pytest.mark.parametrize("dims", [1, 2])
def test_the_network_on_a_grid_sees_twice_as_far_with_every_layer(dims):
    model = grid_network(1, 2, num_dims=dims, num_layers=3)
    params = {name: leaf.double() for name, leaf in model.init(torch.Generator().manual_seed(0)).items()}
    height = 1 if dims == 1 else 41
    image = torch.zeros(1, 1, height, 41, dtype=torch.float64)
    touched = image.clone()
    touched[0, 0, height // 2, 20] = 1
    reached = (model.apply(params, touched) - model.apply(params, image)).abs().sum((0, 1)) > 1e-12
    columns = reached.any(0).nonzero()[:, 0]
    assert (columns.min().item(), columns.max().item()) == (20 - 14, 20 + 14)
    assert reached.any(1).sum() == (1 if dims == 1 else 29)
    assert model.apply(params, image).shape == (1, 2, height, 41)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grid(0, 1.0), "points_per_unit must be at least 1"),
        (lambda: Grid(4, 0.0), "span must be above 0"),
        (lambda: grid_network(1, 1, num_dims=3), "num_dims must be at most 2"),
    ],
)
def test_what_is_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
