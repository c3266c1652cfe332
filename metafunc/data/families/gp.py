r"""Functions drawn from Gaussian processes: the standard tasks of neural processes, whose best prediction is known.

$$ f \sim \mathcal{GP}(0, k), \qquad y = f(x) + \epsilon, \quad \epsilon \sim \mathcal N(0, \sigma^2), \qquad
x \sim U[-2, 2]. $$

There are two protocols in the literature. With *fixed* hyperparameters (Bruinsma et al.), $\sigma^2 = .05$, 0 to 30
support and 50 query points, the kernels are a squared exponential and a Matérn-5/2 with length scale 1/4, and a weakly
periodic one, $e^{-2 t^2}\, e^{-2 \sin^2(4 \pi t)}$. Beside them are sawtooth waves, $\omega (d x - u) \bmod 1$ with
$\omega \sim U[2, 4]$, $u \sim U[0, 1]$ and $d = \pm 1$, without noise and with 100 query points, and the mixture of
these four in equal parts. With *random* hyperparameters (Lee et al.; Nguyen and Grover), every task has its own
$\ell \sim U[.1, .6]$ and $s \sim U[.1, 1]$, for periodic functions also $p \sim U[.1, .5]$; $\sigma = .02$, there are
3 to 46 support points, and 3 or more query points, 49 in all at most. A Matérn-3/2 kernel, whose functions are rougher,
is of our own in both, with the same numbers.

References:
    Bruinsma et al. (2021), "The Gaussian Neural Process", and their `neuralprocesses`. Lee et al. (2020),
    "Bootstrapping Neural Processes". Nguyen, Grover (2022), "Transformer Neural Processes".
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc import tree
from metafunc.bayes import kernels
from metafunc.bayes.gaussian_process_mixture import Processes, known, process_learner, product
from metafunc.bayes.kernels import Kernel
from metafunc.bayes.quadrature import legendre
from metafunc.checks import not_negative, one_of
from metafunc.data.sampling import between, correlated, sampler, standard_normal
from metafunc.data.shots import Shots, check_shots, counted, masked, most
from metafunc.recipe import built
from metafunc.types import Batch, MetaLearner, Params, Sampler, Task, TaskFamily, Tree

KernelName: TypeAlias = Literal["rbf", "matern32", "matern52", "periodic", "weakly_periodic", "sawtooth", "mixture"]
Hyperparameters: TypeAlias = Literal["fixed", "random"]
Range: TypeAlias = tuple[float, float]
Draw: TypeAlias = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From a task's own uniforms (t, 4), inputs (t, n) and standard normals (t, n) to values (t, n) and to whether there is
noise on them (t, 1)."""

INSIDE = (-2.0, 2.0)
OUTSIDE = (2.0, 6.0)
LENGTHSCALE = (0.1, 0.6)
SCALE = (0.1, 1.0)
PERIOD = (0.1, 0.5)
FREQUENCY = (2.0, 4.0)
FIXED: dict[str, Kernel] = {
    "rbf": kernels.rbf(lengthscale=0.25),
    "matern32": kernels.matern("3/2", lengthscale=0.25),
    "matern52": kernels.matern("5/2", lengthscale=0.25),
    "weakly_periodic": kernels.times(kernels.rbf(lengthscale=0.5), kernels.periodic(period=0.25)),
}
RANDOM: dict[str, Kernel] = {
    "rbf": kernels.rbf(),
    "matern32": kernels.matern("3/2"),
    "matern52": kernels.matern("5/2"),
    "periodic": kernels.periodic(),
}
RESOLVED = ("rbf", "matern32", "matern52")
"""Kernels of random hyperparameters whose posterior few nodes resolve."""
NODES = (32, 12)
"""Of the length scale and the scale."""
MIXED = ("rbf", "matern52", "weakly_periodic", "sawtooth")


@built
def gp(
    *,
    kernel: KernelName = "rbf",
    hyperparameters: Hyperparameters = "fixed",
    num_shots: Shots | None = None,
    num_queries: Shots | None = None,
    num_test_queries: Shots | None = None,
    max_points: int | None = None,
    noise: float | None = None,
) -> TaskFamily:
    r"""Regression on draws of a Gaussian process, or on sawtooth waves: tasks whose best prediction is known.

    The variants are "beyond", where support and query lie in [2, 6], "extrapolate", where the query alone does, and
    with random hyperparameters the other kernels' names. With noise the best prediction is known: of fixed
    hyperparameters in closed form, of random ones by a sum over 384 of them, which is exact to 1e-4 nats per row.

    Of three kernels it is not. The posterior of a random period resolves the frequency 1/p to 2e-3 in the median task,
    and to less than 1e-4 in some, of a range of 8, with many modes: 1e5 frequencies times the length scales would take
    minutes per task. Sawtooth waves have no noise, whatever `noise` is: two rows leave finitely many waves, and three
    one of them, so that the best prediction is a point, whose density has no bound. In a mixture the evidence of waves
    is infinite where rows lie on one, and zero elsewhere: the best prediction knows the kind, and again the point.

    Args:
        kernel: the covariance function; "periodic" has random hyperparameters only, the last three fixed ones.
        hyperparameters: the same for all tasks, or drawn with each task; which decides the protocol's other numbers.
        num_shots: support points per task, a number or a range; by default the protocol's.
        num_queries: query points per task in meta-training, a number or a range; by default the protocol's.
        num_test_queries: the same in validation and meta-test; by default as in meta-training.
        max_points: what support and query points of a task are at most together; by default the protocol's.
        noise: standard deviation of the noise on support and query targets; by default the protocol's.

    Returns:
        A family whose inputs and targets are (tasks, points, 1), with masks where numbers of points are ranges.

    Raises:
        ValueError: there is no such kernel with these hyperparameters, a range is empty, or a number out of range.

    Examples:
        >>> import torch
        >>> tasks = gp().train(torch.Generator().manual_seed(0), 16)
        >>> tasks.support.x.shape, tasks.query.x.shape
        (torch.Size([16, 30, 1]), torch.Size([16, 50, 1]))
    """
    random = hyperparameters == "random"
    names = tuple(RANDOM) if random else (*FIXED, "sawtooth", "mixture")
    one_of(kernel, names, "kernel", f"These have {hyperparameters} hyperparameters.")
    waves = kernel in ("sawtooth", "mixture")
    usual: tuple[Shots, Shots, float] = (
        ((3, 46), (3, 46), 0.02) if random else ((0, 30), 100 if waves else 50, 0.05**0.5)
    )
    num_shots = usual[0] if num_shots is None else num_shots
    num_queries = usual[1] if num_queries is None else num_queries
    num_test_queries = num_queries if num_test_queries is None else num_test_queries
    noise = usual[2] if noise is None else noise
    max_points = 49 if max_points is None and random else max_points
    check_shots(0, num_shots=num_shots)
    check_shots(num_queries=num_queries, num_test_queries=num_test_queries)
    not_negative(noise=noise)

    def draws(name: str, queries: Shots, support: Range = INSIDE, query: Range = INSIDE) -> Sampler:
        return _draws(_functions(name, random), _Points(num_shots, queries, max_points, support, query), noise)

    def optimum(name: str, *splits: str) -> dict[str, MetaLearner[Params, Processes]]:
        resolved = noise > 0 and name in (RESOLVED if random else FIXED)
        return dict.fromkeys(splits, _optimum(name, random, noise, most(num_shots))) if resolved else {}

    others = [name for name in RANDOM if random and name != kernel]
    test = draws(kernel, num_test_queries)
    return TaskFamily(
        name="gp",
        kind="regression",
        input_shape=(1,),
        num_outputs=1,
        train=draws(kernel, num_queries),
        validation=test,
        test=test,
        variants={
            "beyond": draws(kernel, num_test_queries, OUTSIDE, OUTSIDE),
            "extrapolate": draws(kernel, num_test_queries, INSIDE, OUTSIDE),
            **{name: draws(name, num_test_queries) for name in others},
        },
        info={"kernel": kernel, "hyperparameters": hyperparameters, "input": INSIDE, "noise": noise},
        optima=optimum(kernel, "train", "validation", "test", "beyond", "extrapolate")
        | {split: learner for name in others for split, learner in optimum(name, name).items()},
    )


def _optimum(name: str, random: bool, noise: float, num_rows: int) -> MetaLearner[Params, Processes]:
    """The learner that knows the kernel, the prior of its hyperparameters and the noise."""

    if not random:
        return process_learner(FIXED[name], known(FIXED[name], 1), noise, num_rows=num_rows)
    return process_learner(RANDOM[name], random_nodes(NODES), noise, num_rows=num_rows)


def random_nodes(numbers: tuple[int, int]) -> Callable[[Tensor], tuple[Tree, Tensor]]:
    """The prior of random length scales and scales, by Gauss and Legendre's rule in their logarithms.

    Args:
        numbers: nodes of the length scale, and of the scale.
    """

    def nodes(like: Tensor) -> tuple[Tree, Tensor]:
        axes = [legendre(span, number, like) for span, number in zip((LENGTHSCALE, SCALE), numbers, strict=True)]
        lengths, scales = product(*(values for values, _ in axes))
        weights = torch.stack(product(*(log_weights for _, log_weights in axes))).sum(0)
        return {"log_lengthscale": lengths.log()[:, None], "log_scale": scales.log()}, weights

    return nodes


class _Points(NamedTuple):
    """How many support and query points a task has, and where."""

    shots: Shots
    queries: Shots
    at_most: int | None
    support: Range
    query: Range


def _draws(functions: Draw, points: _Points, noise: float) -> Sampler:
    shots, queries = most(points.shots), most(points.queries)
    total = shots + queries

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        own, rest = uniforms[:, :4], uniforms[:, 6:]
        support = counted(points.shots, uniforms[:, 4])
        query = counted(points.queries, uniforms[:, 5], None if points.at_most is None else points.at_most - support)
        near, far = rest[:, :shots], rest[:, shots:total]
        x = torch.cat([between(near, *points.support), between(far, *points.query)], 1)
        values, noisy = functions(own, x, standard_normal(rest[:, total : 2 * total]))
        y = values + noisy * noise * standard_normal(rest[:, 2 * total :])
        x, y = x.float()[..., None], y.float()[..., None]
        return Task(
            Batch(x[:, :shots], y[:, :shots], masked(points.shots, support)),
            Batch(x[:, shots:], y[:, shots:], masked(points.queries, query)),
        )

    return sampler(6 + 3 * total, draw)


def _functions(name: str, random: bool) -> Draw:
    if name == "sawtooth":
        return _sawtooth
    if name == "mixture":
        return _mixture
    return lambda own, x, normals: (
        _process(RANDOM[name], _drawn(own), x, normals) if random else _fixed(name, x, normals)
    )


def _process(kernel: Kernel, given: Tree, x: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
    """Values with a covariance matrix, by its Cholesky factor; hyperparameters have a leading axis of tasks."""
    gram = torch.vmap(lambda own, row: kernel.gram(own, row[:, None], row[:, None]))(given, x)
    return correlated(gram, normals), torch.ones_like(x[:, :1])


def _fixed(name: str, x: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
    start = FIXED[name].init(torch.Generator(), 1)
    given = tree.map(lambda leaf: leaf.to(x).expand(x.shape[0], *leaf.shape), start)
    return _process(FIXED[name], given, x, normals)


def _drawn(own: Tensor) -> Tree:
    """A task's hyperparameters; a kernel takes those that it has."""
    length, scale, period = (between(own[:, i], *span).log() for i, span in enumerate((LENGTHSCALE, SCALE, PERIOD)))
    return {"log_lengthscale": length[:, None], "log_scale": scale, "log_period": period}


def _sawtooth(own: Tensor, x: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
    frequency, shift, direction = between(own[:, :1], *FREQUENCY), own[:, 1:2], torch.where(own[:, 2:3] < 0.5, -1, 1)
    return torch.remainder(frequency * (direction * x - shift), 1.0), torch.zeros_like(x[:, :1])


def _mixture(own: Tensor, x: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
    which = (own[:, 3] * len(MIXED)).long()
    parts = [_sawtooth(own, x, normals) if name == "sawtooth" else _fixed(name, x, normals) for name in MIXED]
    values, noisy = (torch.stack(leaves, 1) for leaves in zip(*parts, strict=True))
    index = torch.arange(len(which))
    return values[index, which], noisy[index, which]
