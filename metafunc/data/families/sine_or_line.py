r"""Sines and lines: few noisy points leave open which of the two a function is. PLATIPUS's ambiguous regression.

$$ y = A \sin(x - \varphi) + \epsilon \quad\text{or}\quad y = a x + b + \epsilon, \qquad
\epsilon \sim \mathcal N(0, 0.3^2), $$

each with probability 1/2, $A \sim U[0.1, 5]$, $\varphi \sim U[0, \pi]$, $a, b \sim U[-3, 3]$, $x \sim U[-5, 5]$.

So says the text. The authors' generator, as it is passed on, draws $A \sim U[1, 5]$ and adds no noise, which is
`amplitude=(1, 5)` and `noise=0`. Five of its points leave nothing open: the best prediction is the function itself.

References:
    Finn, Xu, Levine (2018), "Probabilistic model-agnostic meta-learning", §6.1.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc.bayes.curves import Curves, Span, optimal
from metafunc.checks import at_least, not_negative
from metafunc.data.families.sinusoid import AMPLITUDE, PHASE, sines
from metafunc.data.sampling import between, split_points, standard_normal
from metafunc.data.shots import Shots, check_shots, most, ragged
from metafunc.recipe import built
from metafunc.types import Sampler, Task, TaskFamily

LINE = (-3.0, 3.0)
LINES = Curves(lambda slope, x: (torch.ones_like(x[:, 0]), slope * x[:, 0]), LINE, LINE, steepness=(3.0, 1.0))


@built
def sine_or_line(
    *,
    num_shots: Shots = 5,
    num_queries: int = 10,
    num_test_queries: int = 100,
    amplitude: Span = AMPLITUDE,
    noise: float = 0.3,
) -> TaskFamily:
    r"""Regression on a sine or a line, with equal probability, with noise.

    The variants "sine" and "line" draw from one of the two alone. With noise the best prediction of all of them is
    known. With `noise` 0 the same generator draws the same
    functions and inputs, so that a noisy task's true function can be had.

    Args:
        num_shots: support points per task, a number or a range.
        num_queries: query points per task in meta-training.
        num_test_queries: query points per task in validation and meta-test.
        amplitude: the range of a sine's amplitude, uniform; the authors' generator has 1 to 5.
        noise: standard deviation of the noise on support and query targets; the authors' generator has none.

    Returns:
        A family whose inputs and targets are (tasks, points, 1).

    Raises:
        ValueError: a count is below 1, a range is empty, an amplitude is negative, or the noise is below 0.

    Examples:
        >>> import torch
        >>> tasks = sine_or_line().train(torch.Generator().manual_seed(0), 25)
        >>> tasks.support.y.shape
        torch.Size([25, 5, 1])
    """
    check_shots(0, num_shots=num_shots)
    at_least(1, num_queries=num_queries, num_test_queries=num_test_queries)
    not_negative(noise=noise)
    if not 0 <= amplitude[0] < amplitude[1]:
        raise ValueError(
            f"amplitude is {amplitude[0]} to {amplitude[1]}; it needs two numbers from 0 on, the first smaller, such "
            "as 0.1 5.0."
        )
    kinds = sines(amplitude, PHASE), LINES

    def functions(num_queries: int, share_of_sines: float) -> Sampler:
        return _functions(num_shots, num_queries, amplitude, noise, share_of_sines)

    test = functions(num_test_queries, 0.5)
    return TaskFamily(
        name="sine_or_line",
        kind="regression",
        input_shape=(1,),
        num_outputs=1,
        train=functions(num_queries, 0.5),
        validation=test,
        test=test,
        variants={
            "sine": functions(num_test_queries, 1.0),
            "line": functions(num_test_queries, 0.0),
        },
        info={"amplitude": amplitude, "phase": PHASE, "line": LINE, "input": (-5.0, 5.0), "noise": noise},
        optima={
            **optimal(("train", "validation", "test"), kinds, noise, most(num_shots)),
            **optimal(("sine",), kinds[:1], noise, most(num_shots)),
            **optimal(("line",), kinds[1:], noise, most(num_shots)),
        },
    )


def _functions(shots: Shots, num_queries: int, amplitudes: Span, noise: float, share_of_sines: float) -> Sampler:
    num_shots = most(shots)
    num_points = num_shots + num_queries

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        is_sine, amplitude, phase, slope, intercept = uniforms[:, :5, None].unbind(1)
        x = between(uniforms[:, 5 : 5 + num_points], -5.0, 5.0)
        sine = between(amplitude, *amplitudes) * torch.sin(x - between(phase, *PHASE))
        line = between(slope, *LINE) * x + between(intercept, *LINE)
        y = torch.where(is_sine < share_of_sines, sine, line)
        return split_points(x, y + noise * standard_normal(uniforms[:, 5 + num_points :]), num_shots)

    return ragged(5 + 2 * num_points, draw, shots)
