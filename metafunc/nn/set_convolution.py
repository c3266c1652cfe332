r"""Convolutions of sets: from rows at any places onto a grid, through a network there, and back to other places.

Gordon et al. (2020), "Convolutional Conditional Neural Processes". With $w(d) = \exp(-\lVert d \rVert^2 / 2 \ell^2)$ a
set of rows becomes a density and averages at the points t of a grid, and features f at these become rows again,

$$h_0(t) = \sum_i m_i\, w(t - x_i), \qquad h(t) = \frac{\sum_i m_i\, y_i\, w(t - x_i)}{h_0(t)}, \qquad
f(x) = \frac1W \sum_t w(x - t)\, f(t),$$

where W is the sum of the weights of a grid without end, so that constant features keep their size.

The grid is laid where the rows are, in whole steps of its own, so that a shift of all rows by such steps shifts what
comes of them. One input is taken as a grid of height one.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F

from metafunc.checks import above, at_least, at_most
from metafunc.nn.kernels.convolution import conv2d
from metafunc.nn.layers import layer
from metafunc.recipe import built
from metafunc.types import Model, Params

MARGIN = 0.1
"""How far the grid reaches beyond the rows, in units of x, the authors'."""
REACH = 2.0
"""The length scale of the weights at first, in steps of the grid, the authors'."""
FAR = 60.0
"""Exponents are cut here, where a weight is 1e-26: the square of a garbage row's distance may be infinite."""
KERNEL = 5
"""Points that a convolution looks at along an axis, the authors'."""


@dataclass(frozen=True)
class Grid:
    """Where the points of a grid are.

    Args:
        points_per_unit: points in a unit of x.
        span: how far apart the rows of a task may be in each input, in units of x.

    Raises:
        ValueError: if `points_per_unit` is below 1, or `span` not above 0.

    Examples:
        >>> import torch
        >>> grid = Grid(points_per_unit=4, span=1.0)
        >>> grid.size
        6
        >>> grid.axes(torch.tensor([[0.3], [1.2]]), torch.ones(2))
        tensor([[0.0000, 0.2500, 0.5000, 0.7500, 1.0000, 1.2500]])
    """

    points_per_unit: int
    span: float

    def __post_init__(self) -> None:
        at_least(1, points_per_unit=self.points_per_unit)
        above(0, span=self.span)

    @property
    def size(self) -> int:
        """Points along an axis."""
        return math.ceil((self.span + 2 * MARGIN) * self.points_per_unit) + 1

    def axes(self, x: Float[Tensor, "n d"], mask: Float[Tensor, " n"]) -> Float[Tensor, "d size"]:
        """The coordinates of the points, from below the smallest of the rows that count."""
        counts = mask[:, None] > 0
        least = torch.where(counts, x, torch.finfo(x.dtype).max).amin(0)
        least = torch.where(counts.any(0), least, 0.0)
        first = torch.floor((least - MARGIN) * self.points_per_unit)
        steps = torch.arange(self.size, dtype=x.dtype, device=x.device)
        return (first[:, None] + steps) / self.points_per_unit


def weights(
    axes: Float[Tensor, "d size"], x: Float[Tensor, "n d"], scale: Tensor
) -> tuple[Float[Tensor, "height n"], Float[Tensor, "width n"]]:
    """The factors of w between points and rows along the two axes of the grid; the first is 1 where there is one."""
    squares = ((axes[:, :, None] - x.mT[:, None]) / scale).square() / 2
    factors = (-squares.clamp(max=FAR)).exp()
    return (factors[0], factors[1]) if x.shape[1] == 2 else (torch.ones_like(x.mT), factors[0])


def onto(
    factors: tuple[Tensor, Tensor], y: Float[Tensor, "n c"], mask: Float[Tensor, " n"]
) -> Float[Tensor, "channels height width"]:
    """Density and averages of rows at the points of a grid, 1 + c channels.

    Examples:
        >>> import torch
        >>> x, y = torch.zeros(2, 1), torch.tensor([[1.0], [3.0]])
        >>> factors = weights(torch.zeros(1, 1), x, torch.tensor(1.0))
        >>> onto(factors, y, torch.ones(2)).flatten()
        tensor([2., 2.])
    """
    rows = torch.cat([mask[:, None], y * mask[:, None]], 1)
    sums = torch.einsum("hi,wi,ic->chw", *factors, rows)
    return torch.cat([sums[:1], sums[1:] / (sums[:1] + 1e-8)])


def off(
    factors: tuple[Tensor, Tensor], features: Float[Tensor, "c height width"], steps: Tensor
) -> Float[Tensor, "n c"]:
    r"""Features at the points of a grid as rows at other places; a row far from all points has none.

    Args:
        factors: the weights between points and rows.
        features: at the points.
        steps: the length scale of the weights, in steps of the grid: W is $\sqrt{2\pi}$ of it for each dimension.
    """
    dims = 1 if features.shape[1] == 1 else 2
    return torch.einsum("hi,wi,chw->ic", *factors, features) / (math.sqrt(2 * math.pi) * steps) ** dims


@built
def grid_network(num_inputs: int, num_outputs: int, *, num_dims: int = 1, num_layers: int = 6) -> Model:
    r"""Residual convolutions on a grid, $h \leftarrow h + \mathrm{gelu}(w_l * h)$, each dilated twice the last.

    They take the place of the authors' U-net: what a point sees doubles with every layer, without a change of
    resolution. With kernels of 5 points six layers see 126 points in every direction.

    Args:
        num_inputs: channels of the input.
        num_outputs: channels of the output.
        num_dims: 1, for grids of height one, or 2.
        num_layers: convolutions.

    Returns:
        The model; inputs are (n, num_inputs, height, width), and so are outputs but for the channels.

    Raises:
        ValueError: if a number is out of its range.

    Examples:
        >>> import torch
        >>> model = grid_network(2, 8, num_layers=3)
        >>> params = model.init(torch.Generator().manual_seed(0))
        >>> model.apply(params, torch.zeros(1, 2, 1, 50)).shape
        torch.Size([1, 8, 1, 50])
    """
    at_least(1, num_inputs=num_inputs, num_outputs=num_outputs, num_layers=num_layers)
    at_least(1, num_dims=num_dims)
    at_most(2, num_dims=num_dims)
    tall = KERNEL if num_dims == 2 else 1

    def init(generator: Generator) -> Params:
        params = layer("lift", (num_outputs, num_inputs, 1, 1), "xavier", generator)
        for i in range(1, num_layers + 1):
            params |= layer(f"layer{i}", (num_outputs, num_outputs, tall, KERNEL), "xavier", generator)
        return params

    def apply(params: Params, x: Tensor) -> Tensor:
        h = conv2d(x, params["lift.weight"], params["lift.bias"])
        for i in range(1, num_layers + 1):
            far = 2 ** (i - 1)
            padding = (far * (tall // 2), far * (KERNEL // 2))
            h = h + F.gelu(
                conv2d(h, params[f"layer{i}.weight"], params[f"layer{i}.bias"], padding=padding, dilation=far)
            )
        return h

    return Model(init, apply)
