r"""Sine curves of which only a few tasks, with fixed points, exist for training: BMAML's regression.

$$ y = A \sin(f x - \varphi) + \epsilon, \qquad \epsilon \sim \mathcal N(0, (0.01 A)^2), $$

$A \sim U[0.1, 5]$, $f \sim U[0.5, 2]$, $\varphi \sim U[0, 2 \pi]$, $x \sim U[-5, 5]$.

References:
    Yoon, Kim, Dia, Kim, Bengio, Ahn (2018), "Bayesian model-agnostic meta-learning", §5.1.
"""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc.checks import at_least
from metafunc.data.families.few_task_posterior import Sines, affordable, sine_learner
from metafunc.data.families.sinusoid import AMPLITUDE
from metafunc.data.sampling import between, generator_for, replayed, split_points, standard_normal
from metafunc.data.shots import Shots, check_shots, most, ragged
from metafunc.recipe import built
from metafunc.types import Sampler, Task, TaskFamily

PHASE = (0.0, 2 * math.pi)
FREQUENCY = (0.5, 2.0)
INPUT = (-5.0, 5.0)
NOISE = 0.01
"""In units of the amplitude."""


@built
def few_task_sinusoid(
    *,
    num_train_tasks: int = 100,
    num_shots: Shots = 5,
    num_queries: int = 5,
    num_test_queries: int = 100,
    task_seed: int = 0,
) -> TaskFamily:
    r"""Regression on $y = A \sin(f x - \varphi)$, trained on a fixed set of tasks whose points never change.

    A training batch draws from the fixed tasks with replacement. Validation and meta-test tasks are new draws without
    end, and their queries are free of noise, as the paper's are.

    Of new tasks the best prediction is known, while a grid for it is bearable (up to thirty support rows or so): where
    the curve passes. That has a density though queries have no noise, since support rows tell the curve to within about
    a hundredth. It grows without bound as rows are added, and compares learners by how sure they dare to be; squared
    error does not. The training tasks, which have noise throughout, are few and fixed.

    Args:
        num_train_tasks: how many tasks there are to train on; the paper has 100 and 1000.
        num_shots: support points per task, a number or a range; the paper has 5 and 10.
        num_queries: query points per task in meta-training; the paper has as many as shots.
        num_test_queries: query points per task in validation and meta-test.
        task_seed: which training tasks there are.

    Returns:
        A family whose inputs and targets are (tasks, points, 1).

    Raises:
        ValueError: a count is below 1, or a range is empty.

    Examples:
        >>> import torch
        >>> family = few_task_sinusoid(num_train_tasks=3)
        >>> tasks = family.train(torch.Generator().manual_seed(0), 1000)
        >>> len(tasks.support.x[:, 0, 0].unique())
        3
    """
    check_shots(0, num_shots=num_shots)
    at_least(1, num_queries=num_queries, num_test_queries=num_test_queries)
    at_least(1, num_train_tasks=num_train_tasks)
    test = _curves(num_shots, num_test_queries, noisy_queries=False)
    prior, rows = Sines(AMPLITUDE, FREQUENCY, PHASE, NOISE, INPUT[1]), most(num_shots)
    tasks = _curves(num_shots, num_queries, noisy_queries=True)
    fixed = tasks(generator_for(task_seed, "few_task_sinusoid", 0), num_train_tasks)

    return TaskFamily(
        name="few_task_sinusoid",
        kind="regression",
        input_shape=(1,),
        num_outputs=1,
        train=replayed(fixed),
        validation=test,
        test=test,
        optima=dict.fromkeys(("validation", "test"), sine_learner(prior, num_rows=rows))
        if affordable(prior, rows)
        else {},
        info={
            "amplitude": AMPLITUDE,
            "phase": PHASE,
            "frequency": FREQUENCY,
            "input": INPUT,
            "noise": f"{NOISE} of the amplitude; none on validation and test queries",
            "train_tasks": num_train_tasks,
            "task_seed": task_seed,
        },
    )


def _curves(shots: Shots, num_queries: int, *, noisy_queries: bool) -> Sampler:
    num_shots = most(shots)
    num_points = num_shots + num_queries

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        amplitude, phase, frequency = uniforms[:, :3, None].unbind(1)
        amplitude = between(amplitude, *AMPLITUDE)
        x = between(uniforms[:, 3 : 3 + num_points], *INPUT)
        y = amplitude * torch.sin(between(frequency, *FREQUENCY) * x - between(phase, *PHASE))
        noise = NOISE * amplitude * standard_normal(uniforms[:, 3 + num_points :])
        noisy = torch.arange(num_points) < (num_points if noisy_queries else num_shots)
        return split_points(x, torch.where(noisy, y + noise, y), num_shots)

    return ragged(3 + 2 * num_points, draw, shots)
