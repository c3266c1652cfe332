r"""Sine curves about a straight line, of which only a few tasks exist for training: PACOH's sinusoids.

$$ y = b\,x + A \sin(\omega (x - s)) + c + \epsilon, \qquad \omega = 1.5, \quad \epsilon \sim \mathcal N(0, .1^2), $$

$A \sim U[.7, 1.3]$, $b \sim \mathcal N(.5, .2^2)$, $s \sim \mathcal N(0, .1^2)$, $c \sim \mathcal N(5, .1^2)$,
$x \sim U[-5, 5]$. Given s the targets are linear in a vector of three independent numbers, so the best prediction is a
Bayesian linear regression but for integrals over A and s, and is known with noise.

References:
    Rothfuss, Fortuin, Josifoski, Krause (2021), "PACOH: Bayes-Optimal Meta-Learning with PAC-Guarantees", and the
    constants of its `experiments/data_sim.py`, where 1.5 is called a period.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc.checks import at_least, not_negative
from metafunc.data.families.trend_posterior import Trends, affordable, trend_learner
from metafunc.data.sampling import between, generator_for, replayed, split_points, standard_normal
from metafunc.data.shots import Shots, check_shots, most, ragged
from metafunc.recipe import built
from metafunc.types import Sampler, Task, TaskFamily

AMPLITUDE = (0.7, 1.3)
FREQUENCY = 1.5
"""In radians per unit of x."""
TREND = (0.5, 0.2)
"""Mean and standard deviation of the line's rate of growth."""
SHIFT = (0.0, 0.1)
OFFSET = (5.0, 0.1)
INPUT = (-5.0, 5.0)


@built
def trend(
    *,
    num_train_tasks: int = 20,
    num_shots: Shots = 5,
    num_queries: int = 5,
    num_test_queries: int = 100,
    noise: float = 0.1,
    task_seed: int = 0,
) -> TaskFamily:
    r"""Regression on a sine about a line, $y = b x + A \sin(1.5 (x - s)) + c$, trained on a few fixed tasks.

    A training batch draws from the fixed tasks, whose points never change, with replacement. Validation and meta-test
    tasks are new draws without end, with noise on their queries too, as the paper's are; their best prediction is known
    where the noise is above 0.

    Args:
        num_train_tasks: how many tasks there are to train on: 5, 10, 20, 100 show how much a learner overfits to them.
        num_shots: support points per task, a number or a range; the paper has 5.
        num_queries: query points per task in meta-training. The paper's training tasks have `num_shots` points in all.
        num_test_queries: query points per task in validation and meta-test.
        noise: standard deviation of the noise on support and query targets.
        task_seed: which training tasks there are.

    Returns:
        A family whose inputs and targets are (tasks, points, 1).

    Raises:
        ValueError: a count is below 1, a range is empty, or the noise is negative.

    Examples:
        >>> import torch
        >>> family = trend(num_train_tasks=3)
        >>> tasks = family.train(torch.Generator().manual_seed(0), 1000)
        >>> len(tasks.support.x[:, 0, 0].unique())
        3
    """
    check_shots(0, num_shots=num_shots)
    at_least(1, num_queries=num_queries, num_test_queries=num_test_queries)
    at_least(1, num_train_tasks=num_train_tasks)
    not_negative(noise=noise)
    test = _curves(num_shots, num_test_queries, noise)
    tasks = _curves(num_shots, num_queries, noise)
    prior, rows = Trends(FREQUENCY, AMPLITUDE, SHIFT, TREND, OFFSET, noise), most(num_shots)
    return TaskFamily(
        name="trend",
        kind="regression",
        input_shape=(1,),
        num_outputs=1,
        train=replayed(tasks(generator_for(task_seed, "trend", 0), num_train_tasks)),
        validation=test,
        test=test,
        optima=dict.fromkeys(("validation", "test"), trend_learner(prior, num_rows=rows))
        if affordable(prior, rows)
        else {},
        info={
            "amplitude": AMPLITUDE,
            "frequency": FREQUENCY,
            "input": INPUT,
            "noise": noise,
            "train_tasks": num_train_tasks,
            "task_seed": task_seed,
        },
    )


def _curves(shots: Shots, num_queries: int, noise: float) -> Sampler:
    num_shots = most(shots)
    num_points = num_shots + num_queries

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        amplitude = between(uniforms[:, :1], *AMPLITUDE)
        normals = standard_normal(uniforms[:, 1:4])[..., None].unbind(1)
        rate, shift, offset = (
            mean + deviation * normal for (mean, deviation), normal in zip((TREND, SHIFT, OFFSET), normals, strict=True)
        )
        x = between(uniforms[:, 4 : 4 + num_points], *INPUT)
        y = rate * x + amplitude * torch.sin(FREQUENCY * (x - shift)) + offset
        return split_points(x, y + noise * standard_normal(uniforms[:, 4 + num_points :]), num_shots)

    return ragged(4 + 2 * num_points, draw, shots)
