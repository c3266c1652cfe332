r"""Sine curves whose input reveals the task: a learner may memorise all training tasks and never adapt.

$$ y \sim \mathcal N(A \sin u, 0.1^2), \qquad x = (u, \mathrm{onehot}_{20}(A)), \qquad u \sim U[-5, 5]. $$

In meta-training $A$ is one of 20 values, equally spaced from 0.1 to 4, and the input reveals which: the tasks are non-
mutually-exclusive, for one function solves them all. In meta-test $A \sim U[0.1, 4]$, and the input is a random one-hot
vector that is misleading.

References:
    Yin, Tucker, Zhou, Levine, Finn (2020), "Meta-learning without memorization", §6.1.
"""

from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc.bayes.curves import Curves, optimal
from metafunc.bayes.untrained import untrained
from metafunc.checks import at_least, not_negative, one_of
from metafunc.data.families.notebook_sines import any_fixed_task
from metafunc.data.sampling import between, split_points, standard_normal
from metafunc.data.shots import Shots, check_shots, most, ragged
from metafunc.recipe import built
from metafunc.types import Batch, MetaLearner, Normal, Params, Sampler, Task, TaskFamily

TestDraws: TypeAlias = Literal["new", "notebook"]
AMPLITUDE = (0.1, 4.0)
SINES = Curves(lambda _, x: (torch.sin(x[:, 0]), torch.zeros_like(x[:, 0])), (0.0, 0.0), AMPLITUDE)
"""In meta-test the amplitude alone is unknown, and the rest of the input tells nothing of it."""


@built
def nme_sinusoid(
    *,
    num_shots: Shots = 5,
    num_queries: int = 5,
    num_test_queries: int = 100,
    num_amplitudes: int = 20,
    num_shown: int | None = None,
    noise: float = 0.1,
    test_draws: TestDraws = "new",
) -> TaskFamily:
    r"""Regression on $y = A \sin u$ with an input that reveals $A$ in training, and is misleading at meta-test.

    The paper's task has 10 points of which 5 are the support, or 20 and 10. The split "train" meta-tests on the
    training amplitudes with true one-hot vectors, where a learner that memorised is right without any support: the best
    prediction of that split trusts the hint, and that of the test tasks does not look at it.

    Args:
        num_shots: support points per task, a number or a range.
        num_queries: query points per task in meta-training.
        num_test_queries: query points per task in validation and meta-test.
        num_amplitudes: how many amplitudes there are, and numbers in a one-hot vector.
        num_shown: how many of them, from the lowest, are trained on and hinted at in testing; None: all. The authors'
            notebook has 16.
        noise: standard deviation of the noise on support and query targets.
        test_draws: test tasks are drawn as the validation's (`new`), or are the hundred fixed ones of the authors'
            notebook, whose first support input reveals the amplitude (`notebook`). What their best prediction would be
            is not known, and their noise depends on `num_shots` and `num_test_queries`.

    Returns:
        A family with inputs (tasks, points, 1 + num_amplitudes) and targets (tasks, points, 1).

    Raises:
        ValueError: a count is below 1, a range is empty, there are fewer than two amplitudes or than are shown, the
            noise is below 0, `test_draws` is neither, or the notebook's tasks are to have a range of support points.

    Examples:
        >>> import torch
        >>> tasks = nme_sinusoid().train(torch.Generator().manual_seed(0), 25)
        >>> tasks.support.x.shape
        torch.Size([25, 5, 21])
    """
    check_shots(0, num_shots=num_shots)
    at_least(1, num_queries=num_queries, num_test_queries=num_test_queries)
    at_least(2, num_amplitudes=num_amplitudes)
    shown = num_amplitudes if num_shown is None else num_shown
    at_least(1, num_shown=shown)
    if shown > num_amplitudes:
        raise ValueError(f"num_shown is {shown}; there are {num_amplitudes} amplitudes (num_amplitudes).")
    not_negative(noise=noise)
    one_of(test_draws, get_args(TestDraws), "test_draws")
    new = _curves(num_shots, num_test_queries, num_amplitudes, noise, shown, telling=False)
    fixed = test_draws == "notebook"
    test = _fixed(num_shots, num_test_queries, num_amplitudes, noise, shown) if fixed else new
    return TaskFamily(
        name="nme_sinusoid",
        kind="regression",
        input_shape=(1 + num_amplitudes,),
        num_outputs=1,
        train=_curves(num_shots, num_queries, num_amplitudes, noise, shown, telling=True),
        validation=new,
        test=test,
        info={"amplitude": AMPLITUDE, "train_amplitudes": shown, "input": (-5.0, 5.0), "noise": noise},
        optima={
            **({"train": _with_hint(num_amplitudes, noise)} if noise > 0 else {}),
            **optimal(("validation",) if fixed else ("validation", "test"), (SINES,), noise, most(num_shots)),
        },
    )


def _fixed(shots: Shots, num_queries: int, num_amplitudes: int, noise: float, shown: int) -> Sampler:
    if not isinstance(shots, int):
        raise ValueError(f"The notebook's test tasks (test_draws) need one num_shots, not {shots[0]} to {shots[1]}.")
    return any_fixed_task(
        num_shots=shots,
        num_queries=num_queries,
        num_amplitudes=num_amplitudes,
        noise=noise,
        amplitude=AMPLITUDE,
        shown=shown,
    )


def _with_hint(num_amplitudes: int, noise: float) -> MetaLearner[Params, Tensor]:
    """The optimum of training tasks, whose inputs reveal the amplitude: no support row adds to that."""

    def condition(support: Batch) -> Tensor:
        return torch.linspace(*AMPLITUDE, num_amplitudes, dtype=support.x.dtype, device=support.x.device)

    def predict(amplitudes: Tensor, x: Tensor) -> Normal:
        loc = (x[:, 1:] @ amplitudes * torch.sin(x[:, 0]))[None, :, None]
        return Normal(loc, torch.full_like(loc, noise))

    return untrained(condition, predict)


def _curves(shots: Shots, num_queries: int, num_amplitudes: int, noise: float, shown: int, *, telling: bool) -> Sampler:
    num_shots = most(shots)
    num_points = num_shots + num_queries
    amplitudes = torch.linspace(*AMPLITUDE, num_amplitudes, dtype=torch.float64)

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        which = (uniforms[:, 0] * shown).long()
        amplitude = amplitudes[which] if telling else between(uniforms[:, 1], *AMPLITUDE)
        u = between(uniforms[:, 2 : 2 + num_points], -5.0, 5.0)
        y = amplitude[:, None] * torch.sin(u) + noise * standard_normal(uniforms[:, 2 + num_points :])
        one_hot = torch.nn.functional.one_hot(which, num_amplitudes)[:, None].expand(-1, num_points, -1)
        return split_points(torch.cat([u[..., None], one_hot], -1), y, num_shots)

    return ragged(2 + 2 * num_points, draw, shots)
