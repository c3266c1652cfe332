r"""Fixed features of inputs, for models that are linear in their coefficients: polynomials and regression splines.

Each is a function of one input, from n numbers to features (n, k) without a constant; of several inputs features are
those of each, so that functions are additive, with one constant for all:

$$f(x) = w_0 + \textstyle\sum_d \sum_k w_{dk}\, \phi_k(x_d).$$

References:
    Hastie, Tibshirani, Friedman (2009), "The Elements of Statistical Learning", sections 5.2 and 9.1.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from metafunc.checks import above, at_least, look_up

Basis: TypeAlias = Literal["linear", "polynomial", "spline"]
OfOne: TypeAlias = Callable[[Float[Tensor, " n"]], Float[Tensor, "n features"]]


def polynomial(degree: int) -> OfOne:
    r"""Hermite's polynomials of degrees 1 to `degree`, orthonormal for inputs that are standard normal.

    $$h_0 = 1, \qquad h_1 = x, \qquad \sqrt{k + 1}\, h_{k + 1} = x\, h_k - \sqrt k\, h_{k - 1}.$$

    They span what the powers span, and coefficients of one size are a function's parts of one size.

    Args:
        degree: the highest degree.

    Raises:
        ValueError: if the degree is below 1.

    Examples:
        >>> polynomial(2)(torch.tensor([0.0, 3.0]))  # x and (x^2 - 1) / sqrt(2)
        tensor([[ 0.0000, -0.7071],
                [ 3.0000,  5.6569]])
    """
    at_least(1, degree=degree)

    def features(x: Tensor) -> Tensor:
        found = [torch.ones_like(x), x]
        for k in range(1, degree):
            found.append((x * found[k] - k**0.5 * found[k - 1]) / (k + 1) ** 0.5)
        return torch.stack(found[1:], dim=-1)

    return features


def spline(num_knots: int, low: float, high: float) -> OfOne:
    r"""Natural cubic regression splines with equally spaced knots: cubic between them, straight beyond.

    A function's coefficients are its values at the knots but the middle one, less its value there, $\beta_k$. With x
    between knots j and j + 1, at the part t of the way, and $q = T^{-1} \Delta^2 \beta$, where T has 4 on its diagonal
    and 1 beside it, and q is 0 at both ends,

    $$f(x) = (1 - t)\, \beta_j + t\, \beta_{j + 1} + \big((1 - t)^3 - (1 - t)\big)\, q_j + (t^3 - t)\, q_{j + 1}.$$

    Args:
        num_knots: how many knots there are; features are one fewer.
        low: the first knot, in units of the input.
        high: the last.

    Raises:
        ValueError: if there are fewer than three knots, or `high` is not above `low`.

    Examples:
        >>> spline(3, -1.0, 1.0)(torch.tensor([-1.0, 0.0, 1.0, 2.0]))
        tensor([[1.0000, 0.0000],
                [0.0000, 0.0000],
                [0.0000, 1.0000],
                [0.2500, 2.2500]])

    References:
        Wood (2017), "Generalized Additive Models", section 5.3.1.
    """
    at_least(3, num_knots=num_knots)
    above(low, high=high)
    values = torch.eye(num_knots, dtype=torch.float64)
    values = torch.cat([values[:, : num_knots // 2], values[:, num_knots // 2 + 1 :]], dim=1)
    within = torch.full((num_knots - 3,), 1.0, dtype=torch.float64)
    system = 4 * torch.eye(num_knots - 2, dtype=torch.float64) + within.diag(1) + within.diag(-1)
    bends = F.pad(torch.linalg.solve(system, values.diff(n=2, dim=0)), (0, 0, 1, 1))
    rises = values.diff(dim=0)

    def features(x: Tensor) -> Tensor:
        start, rise, bend = (each.to(x) for each in (values[0], rises, bends))
        at = (x - low) / (high - low) * (num_knots - 1)
        # How much of each interval lies before x: sums of what the function gains there need no search for x's own.
        t = (at[:, None] - torch.arange(num_knots - 1, dtype=x.dtype, device=x.device)).clamp(0, 1)
        inside = t @ rise + ((1 - t) ** 3 - (1 - t)) @ bend[:-1] + (t**3 - t) @ bend[1:]
        before, after = at.clamp(max=0)[:, None], (at - (num_knots - 1)).clamp(min=0)[:, None]
        return start + inside + before * (rise[0] - bend[1]) + after * (rise[-1] + bend[-2])

    return features


def additive(basis: Basis, *, degree: int, num_knots: int, low: float, high: float) -> Callable[[Tensor], Tensor]:
    """From inputs (n, ...) to a constant and the features of each number of a row (n, 1 + inputs * k).

    Args:
        basis: which features: the inputs themselves, polynomials or splines.
        degree: of polynomials.
        num_knots: of splines.
        low: their first knot, in units of the inputs.
        high: their last.

    Raises:
        ValueError: if there is no such basis, or a value that it takes is out of range.

    Examples:
        >>> features = additive("linear", degree=1, num_knots=3, low=-1.0, high=1.0)
        >>> features(torch.tensor([[2.0, 3.0]]))
        tensor([[1., 2., 3.]])
    """
    made: dict[str, Callable[[], OfOne]] = {
        "linear": lambda: polynomial(1),
        "polynomial": lambda: polynomial(degree),
        "spline": lambda: spline(num_knots, low, high),
    }
    of_one = look_up(made, basis, "set of features")()

    def features(x: Tensor) -> Tensor:
        rows = x.reshape(x.shape[0], -1)
        each = torch.vmap(of_one, in_dims=1, out_dims=1)(rows).flatten(1)
        return torch.cat([rows.new_ones(rows.shape[0], 1), each], dim=1)

    return features
