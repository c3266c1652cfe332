r"""Functions about one mean, two Cauchy bumps, of which only a few tasks exist for training: PACOH's Cauchy tasks.

$$ f \sim \mathcal{GP}(m, k), \qquad
m(x) = 1 + \frac{6}{\pi (1 + \lVert x + 1 \rVert^2)} + \frac{3}{\pi (1 + \lVert x - 2 \rVert^2)}, \qquad
k(x, z) = .2^2\, e^{-\lVert x - z \rVert^2}, $$

where 1 and 2 stand for vectors of ones and twos, $y = f(x) + \epsilon$, $\epsilon \sim \mathcal N(0, .05^2)$, and every
input is normal with standard deviation 2.5, cut to [-7.5, 5]. With m and k known the best prediction is a Gaussian
process's, in closed form.

References:
    Rothfuss, Fortuin, Josifoski, Krause (2021), "PACOH: Bayes-Optimal Meta-Learning with PAC-Guarantees", and the
    constants of its `experiments/data_sim.py`.
"""

from math import pi

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from metafunc.bayes import kernels
from metafunc.bayes.gaussian_process_mixture import Processes, known, process_learner
from metafunc.checks import at_least, not_negative
from metafunc.data.sampling import (
    between,
    correlated,
    generator_for,
    replayed,
    split_points,
    standard_normal,
)
from metafunc.data.shots import Shots, check_shots, most, ragged
from metafunc.recipe import built
from metafunc.types import MetaLearner, Params, Sampler, Task, TaskFamily

KERNEL = kernels.rbf(lengthscale=0.5**0.5, scale=0.2)
BUMPS = ((6.0, -1.0), (3.0, 2.0))
"""Weight and place, on the diagonal."""
SPREAD = 2.5
INPUT = (-7.5, 5.0)


@built
def cauchy(
    *,
    num_train_tasks: int = 20,
    num_shots: Shots = 5,
    num_queries: int = 5,
    num_test_queries: int = 100,
    num_inputs: int = 2,
    noise: float = 0.05,
    task_seed: int = 0,
) -> TaskFamily:
    r"""Regression on Gaussian processes whose mean is a mixture of two Cauchy densities, trained on a few fixed tasks.

    A training batch draws from the fixed tasks, whose points never change, with replacement. Validation and meta-test
    tasks are new draws without end, with noise on their queries too, as the paper's are.

    Args:
        num_train_tasks: how many tasks there are to train on: 5, 10, 20, 100 show how much a learner overfits to them.
        num_shots: support points per task, a number or a range; the paper has 20 and 40.
        num_queries: query points per task in meta-training. The paper's training tasks have `num_shots` points in all.
        num_test_queries: query points per task in validation and meta-test.
        num_inputs: numbers in one input; the paper has 2.
        noise: standard deviation of the noise on support and query targets.
        task_seed: which training tasks there are.

    Returns:
        A family whose inputs are (tasks, points, num_inputs) and whose targets are (tasks, points, 1).

    Raises:
        ValueError: a count is below 1, a range is empty, or the noise is negative.

    Examples:
        >>> import torch
        >>> family = cauchy(num_train_tasks=3)
        >>> tasks = family.train(torch.Generator().manual_seed(0), 1000)
        >>> len(tasks.support.x[:, 0, 0].unique())
        3
    """
    check_shots(0, num_shots=num_shots)
    at_least(1, num_queries=num_queries, num_test_queries=num_test_queries)
    at_least(1, num_train_tasks=num_train_tasks, num_inputs=num_inputs)
    not_negative(noise=noise)
    test = _functions(num_shots, num_test_queries, num_inputs, noise)
    tasks = _functions(num_shots, num_queries, num_inputs, noise)
    return TaskFamily(
        name="cauchy",
        kind="regression",
        input_shape=(num_inputs,),
        num_outputs=1,
        train=replayed(tasks(generator_for(task_seed, "cauchy", 0), num_train_tasks)),
        validation=test,
        test=test,
        optima=dict.fromkeys(("validation", "test"), _optimum(noise, most(num_shots), num_inputs)) if noise else {},
        info={"input": INPUT, "noise": noise, "train_tasks": num_train_tasks, "task_seed": task_seed},
    )


def prior_mean(x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows"]:
    """The mean of all functions, m.

    Examples:
        >>> prior_mean(torch.tensor([-1.0]))  # 1 + 6 / pi + 3 / (10 pi)
        tensor(3.0054)
    """
    bumps = [weight / (pi * (1 + (x - place).square().sum(-1))) for weight, place in BUMPS]
    return 1 + torch.stack(bumps).sum(0)


def _optimum(noise: float, num_rows: int, num_inputs: int) -> MetaLearner[Params, Processes]:
    """The learner that knows the mean, the kernel and the noise."""
    return process_learner(KERNEL, known(KERNEL, num_inputs), noise, num_rows=num_rows, mean=prior_mean)


def _functions(shots: Shots, num_queries: int, num_inputs: int, noise: float) -> Sampler:
    num_shots = most(shots)
    num_points = num_shots + num_queries
    low, high = (float(torch.special.ndtr(torch.tensor(end / SPREAD, dtype=torch.float64))) for end in INPUT)
    given = KERNEL.init(torch.Generator(), num_inputs)

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        inputs, rest = uniforms[:, : num_points * num_inputs], uniforms[:, num_points * num_inputs :]
        x = SPREAD * standard_normal(between(inputs, low, high)).reshape(-1, num_points, num_inputs)
        gram: Tensor = torch.vmap(lambda rows: KERNEL.gram(given, rows, rows))(x)
        process, errors = torch.split(standard_normal(rest), num_points, dim=1)
        return split_points(x, prior_mean(x) + correlated(gram, process) + noise * errors, num_shots)

    return ragged(num_points * (num_inputs + 2), draw, shots)
