r"""Sine curves of random amplitude and phase: the regression family of the MAML paper.

$$ y = A \sin(x - \varphi), \qquad A \sim U[0.1, 5], \quad \varphi \sim U[0, \pi], \quad x \sim U[-5, 5]. $$

Reference: Finn, Abbeel, Levine (2017), "Model-agnostic meta-learning for fast adaptation of deep networks", §5.1.
"""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc.checks import at_least
from metafunc.data.sampling import between, sampler, split_points
from metafunc.types import Sampler, Task, TaskFamily

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)


def sinusoid(*, num_shots: int = 10, num_queries: int = 10, num_test_queries: int = 100) -> TaskFamily:
    r"""Regression on $y = A \sin(x - \varphi)$ without noise.

    The variants were never trained on: "amplitude" draws $A \sim U[5, 10]$, "phase" draws $\varphi \sim U[\pi, 2\pi]$.

    Args:
        num_shots: support points per task.
        num_queries: query points per task in meta-training.
        num_test_queries: query points per task in validation and meta-test, where more of them mean less noise.

    Returns:
        A family whose inputs and targets are (tasks, points, 1).

    Raises:
        ValueError: a count is below 1.

    Example:
        >>> import torch
        >>> tasks = sinusoid(num_shots=5).train(torch.Generator().manual_seed(0), 25)
        >>> tasks.support.x.shape
        torch.Size([25, 5, 1])
    """
    at_least(1, num_shots=num_shots, num_queries=num_queries, num_test_queries=num_test_queries)
    test = _curves(num_shots, num_test_queries, AMPLITUDE, PHASE)
    return TaskFamily(
        name="sinusoid",
        kind="regression",
        input_shape=(1,),
        num_outputs=1,
        train=_curves(num_shots, num_queries, AMPLITUDE, PHASE),
        validation=test,
        test=test,
        variants={
            "amplitude": _curves(num_shots, num_test_queries, (5.0, 10.0), PHASE),
            "phase": _curves(num_shots, num_test_queries, AMPLITUDE, (math.pi, 2 * math.pi)),
        },
        info={"amplitude": AMPLITUDE, "phase": PHASE, "input": (-5.0, 5.0), "noise": 0.0},
    )


def _curves(num_shots: int, num_queries: int, amplitudes: tuple[float, float], phases: tuple[float, float]) -> Sampler:
    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        amplitude = between(uniforms[:, 0], *amplitudes)[:, None]
        phase = between(uniforms[:, 1], *phases)[:, None]
        x = between(uniforms[:, 2:], -5.0, 5.0)
        return split_points(x, amplitude * torch.sin(x - phase), num_shots)

    return sampler(2 + num_shots + num_queries, draw)
