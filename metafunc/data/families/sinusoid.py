r"""Sine curves of random amplitude and phase: the regression family of the MAML paper.

$$ y = A \sin(x - \varphi) + \epsilon, \qquad A \sim U[0.1, 5], \quad \varphi \sim U[0, \pi], \quad x \sim U[-5, 5], $$

without noise in that paper, and with $\epsilon \sim \mathcal N(0, 0.1^2)$ in that of deep kernel transfer.

References:
    Finn, Abbeel, Levine (2017), "Model-agnostic meta-learning for fast adaptation of deep networks", section 5.1.
    Patacchiola et al. (2020), "Bayesian Meta-Learning for the Few-Shot Setting via Deep Kernels", section 5.1.
"""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc.bayes.curves import Curves, Span, optimal
from metafunc.checks import at_least, not_negative
from metafunc.data.sampling import between, split_points, standard_normal
from metafunc.data.shots import Shots, check_shots, most, ragged
from metafunc.recipe import built
from metafunc.types import Sampler, Task, TaskFamily

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
INPUT = (-5.0, 5.0)


def sines(amplitude: Span, phase: Span) -> Curves:
    """Sine curves as a kind of curves, whose height is the amplitude and whose shape is the phase."""
    return Curves(
        lambda at, x: (torch.sin(x[:, 0] - at), torch.zeros_like(x[:, 0])), phase, amplitude, (amplitude[1], 1.0)
    )


SINES = sines(AMPLITUDE, PHASE)


@built
def sinusoid(
    *, num_shots: Shots = 10, num_queries: int = 10, num_test_queries: int = 100, noise: float = 0.0
) -> TaskFamily:
    r"""Regression on $y = A \sin(x - \varphi)$, without noise or with it; with it the best prediction is known.

    The variants were never trained on: "amplitude" draws $A \sim U[5, 10]$, "phase" draws $\varphi \sim U[\pi, 2\pi]$,
    and "inputs" draws $x \sim U[-5, 10]$.

    Args:
        num_shots: support points per task, a number or a range.
        num_queries: query points per task in meta-training.
        num_test_queries: query points per task in validation and meta-test, where more of them mean less noise.
        noise: standard deviation of the noise on support and query targets.

    Returns:
        A family whose inputs and targets are (tasks, points, 1).

    Raises:
        ValueError: a count is below 1, a range is empty, or the noise below 0.

    Examples:
        >>> import torch
        >>> tasks = sinusoid(num_shots=5).train(torch.Generator().manual_seed(0), 25)
        >>> tasks.support.x.shape
        torch.Size([25, 5, 1])
    """
    check_shots(0, num_shots=num_shots)
    at_least(1, num_queries=num_queries, num_test_queries=num_test_queries)
    not_negative(noise=noise)
    strange = {
        "amplitude": ((5.0, 10.0), PHASE, INPUT),
        "phase": (AMPLITUDE, (math.pi, 2 * math.pi), INPUT),
        "inputs": (AMPLITUDE, PHASE, (-5.0, 10.0)),
    }
    test = _curves(num_shots, num_test_queries, noise)
    optima = optimal(("train", "validation", "test"), (SINES,), noise, most(num_shots))
    for name, (amplitude, phase, _) in strange.items():
        optima |= optimal((name,), (sines(amplitude, phase),), noise, most(num_shots))
    return TaskFamily(
        name="sinusoid",
        kind="regression",
        input_shape=(1,),
        num_outputs=1,
        train=_curves(num_shots, num_queries, noise),
        validation=test,
        test=test,
        variants={name: _curves(num_shots, num_test_queries, noise, *ranges) for name, ranges in strange.items()},
        info={"amplitude": AMPLITUDE, "phase": PHASE, "input": INPUT, "noise": noise},
        optima=optima,
    )


def _curves(
    shots: Shots,
    num_queries: int,
    noise: float,
    amplitudes: Span = AMPLITUDE,
    phases: Span = PHASE,
    inputs: Span = INPUT,
) -> Sampler:
    num_shots = most(shots)
    num_points = num_shots + num_queries

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        amplitude = between(uniforms[:, 0], *amplitudes)[:, None]
        phase = between(uniforms[:, 1], *phases)[:, None]
        x = between(uniforms[:, 2 : 2 + num_points], *inputs)
        y = amplitude * torch.sin(x - phase)
        if noise > 0:
            y = y + noise * standard_normal(uniforms[:, 2 + num_points :])
        return split_points(x, y, num_shots)

    return ragged(2 + num_points * (2 if noise > 0 else 1), draw, shots)
