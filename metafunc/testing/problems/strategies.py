r"""Hypothesis strategies: small random problems on which an identity can be asked, in double precision.

Hypothesis draws what a person would name (structures, sizes, step counts, scales, a seed), and a `torch.Generator` with
that seed fills in the numbers. So an example shrinks in its structure and sizes, is short to print, and is the same on
every machine.

    from hypothesis import given
    from metafunc import testing
    from metafunc.testing import strategies

    @given(strategies.loss_cases())
    def test_one_step(case):
        testing.IDENTITIES["one_step"](case).check()
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

# Before hypothesis, because it states what to install if that is missing.
from metafunc.testing.problems.draws import Draw

# isort: split

from hypothesis import strategies as st

from metafunc import algorithms, nn, tree
from metafunc.bayes.gaussian import Gaussian
from metafunc.nn import likelihood
from metafunc.testing.problems import tabular
from metafunc.testing.problems.cases import (
    Case,
    ConvexCase,
    EnsembleCase,
    GaussianCase,
    LearnerCase,
    LossCase,
    ModelCase,
    NetworkCase,
    OptimumCase,
    QuadraticCase,
    TabularCase,
)
from metafunc.testing.problems.draws import Normals as Normals
from metafunc.testing.problems.draws import Pair as Pair
from metafunc.testing.problems.draws import learning_rates as learning_rates
from metafunc.testing.problems.draws import normals as normals
from metafunc.testing.problems.draws import step_counts as step_counts
from metafunc.testing.problems.draws import tree_loss as tree_loss
from metafunc.testing.problems.draws import trees as trees
from metafunc.testing.problems.linear_gaussian import Lines
from metafunc.testing.problems.small import build_small, padded, small
from metafunc.testing.problems.tabular import Tabular
from metafunc.types import Batch, Model, Params, Task


class Network(NamedTuple):
    """A small model with the shape of one of its inputs."""

    model: Model
    input_shape: tuple[int, ...]


@st.composite
def models(draw: Draw, num_outputs: int = 2) -> Network:
    """Small networks: linear, smooth and piecewise linear perceptrons, a normalised one, a convolution."""
    width = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["linear", "tanh", "silu", "relu", "normalised", "conv"]))
    if kind == "conv":
        return Network(_convolution(width, num_outputs), (1, 3, 3))
    if kind == "linear":
        return Network(nn.mlp((2,), num_outputs, hidden=()), (2,))
    if kind == "normalised":
        return Network(
            nn.mlp((2,), num_outputs, hidden=(width,), activation="tanh", normalisation="transductive"), (2,)
        )
    return Network(nn.mlp((2,), num_outputs, hidden=(width,), activation=kind), (2,))


def _convolution(channels: int, num_outputs: int) -> Model:
    def init(generator: Generator) -> Params:
        normal = Normals(generator.initial_seed())
        return {"conv": normal(channels, 1, 2, 2), "head": normal(num_outputs, channels * 4)}

    def apply(params: Params, x: Tensor) -> Tensor:
        return torch.tanh(F.conv2d(x, params["conv"])).flatten(1) @ params["head"].T

    return Model(init, apply)


@st.composite
def params_of(draw: Draw, model: Model) -> Params:
    """Random parameters of a model, biases too: at zero a rectifier would stand on its kink."""
    normal = draw(normals())
    scale = draw(st.sampled_from([0.5, 1.0, 0.1]))
    return tree.scale(normal.like(model.init(Generator().manual_seed(0))), scale)


@st.composite
def batches(draw: Draw, input_shape: tuple[int, ...] = (2,), num_outputs: int = 2, classes: bool = False) -> Batch:
    """A data set of three to five rows: normal targets (n, num_outputs), or labels (n,)."""
    drawn: Task = draw(tasks(input_shape, num_outputs, classes, most=1))
    return tree.at(drawn.support, 0)  # type: ignore[no-any-return]  # Data is any NamedTuple


@st.composite
def tasks(
    draw: Draw,
    input_shape: tuple[int, ...] = (2,),
    num_outputs: int = 2,
    classes: bool = False,
    most: int = 3,
    with_padding: bool = True,
) -> Task:
    """One to `most` stacked tasks, some with rows of padding."""
    normal, num_tasks = draw(normals()), draw(st.integers(1, most))

    def batch(num_rows: int) -> Batch:
        labels = torch.arange(num_tasks * num_rows).reshape(num_tasks, num_rows) % num_outputs
        targets = normal(num_tasks, num_rows, num_outputs)
        return Batch(normal(num_tasks, num_rows, *input_shape), labels if classes else targets)

    drawn = Task(batch(draw(st.integers(3, 5))), batch(draw(st.integers(3, 5))))
    return padded(drawn, draw(st.integers(1, 2))) if with_padding and draw(st.booleans()) else drawn


@st.composite
def loss_cases(draw: Draw) -> LossCase[Any]:
    """A tree under a smooth loss, or a small network in regression or classification, with tasks."""
    settings = draw(learning_rates()), draw(step_counts())
    if draw(st.booleans()):
        return LossCase(tree_loss, draw(trees()), draw(tasks(most=2)), *settings)
    network, classes = draw(models()), draw(st.booleans())
    # Padding enters a batch's own statistics, which is no mistake, but garbage may make them all but constant.
    plain = network.model.normalisation == "none"
    drawn = draw(tasks(network.input_shape, classes=classes, most=2, with_padding=plain))
    loss = _likelihood(classes).of(network.model)
    return LossCase(loss, draw(params_of(network.model)), drawn, *settings)


def _likelihood(classes: bool) -> likelihood.Likelihood:
    return likelihood.categorical(2) if classes else likelihood.gaussian(2)


@st.composite
def model_cases(draw: Draw) -> ModelCase[Any]:
    """A small network under the squared error or the cross-entropy, both convex in the outputs."""
    network, classes = draw(models()), draw(st.booleans())
    params, batch = draw(params_of(network.model)), draw(batches(network.input_shape, classes=classes))
    return ModelCase(network.model.apply, _likelihood(classes).loss, params, batch)


@st.composite
def network_cases(draw: Draw) -> NetworkCase:
    """A small network in regression or classification, with tasks."""
    network, classes = draw(models()), draw(st.booleans())
    plain = network.model.normalisation == "none"
    drawn = draw(tasks(network.input_shape, classes=classes, most=2, with_padding=plain))
    params, rate, steps = draw(params_of(network.model)), draw(learning_rates()), draw(step_counts(2))
    return NetworkCase(network.model, _likelihood(classes), params, drawn, rate, steps)


@st.composite
def learner_cases(draw: Draw, name: str, *, coherent: bool = False) -> LearnerCase[Any, Any]:
    """An algorithm of the table, by name, on a tiny network and two tasks, off its initial values.

    Args:
        draw: what draws.
        name: of the algorithm.
        coherent: whether to draw only tasks of which its predictions claim to be those of one exchangeable model.
    """
    row, normal = algorithms.ALGORITHMS[name], draw(normals())
    kind = draw(st.sampled_from(row.coherent if coherent else row.kinds))
    num_steps = draw(step_counts(2))
    hyperparameters = small(row, inner_lr=draw(learning_rates()), num_steps=num_steps)
    learner = build_small(name, _tiny, kind, 2, **hyperparameters)
    start = tree.map(Tensor.double, learner.init(Generator().manual_seed(0)))
    meta = tree.add_scaled(start, 0.1, normal.like(start))
    # Rows of every class: prototypes are their means.
    num_shots = 2 * draw(st.integers(1, 2))
    drawn = Task(*(_rows(normal, kind == "classification", num_shots) for _ in range(2)))
    claims = kind in row.coherent
    return LearnerCase(learner, meta, drawn, num_steps, row.exact, row.inner_steps, coherent=claims, jitter=row.jitter)


def _tiny(input_shape: tuple[int, ...], num_outputs: int | None, /) -> Model:
    return nn.mlp(input_shape, num_outputs, hidden=(3,), activation="tanh", initialisation="xavier")


def _rows(normal: Normals, classes: bool, num_rows: int) -> Batch:
    labels = torch.arange(num_rows).repeat(2, 1) % 2
    return Batch(normal(2, num_rows, 2), labels if classes else normal(2, num_rows, 2))


@st.composite
def quadratic_cases(draw: Draw, most: int = 4) -> QuadraticCase:
    """Least squares in up to `most` dimensions, some with fewer rows than that, and a pull of about their size."""
    normal, size, num_tasks = draw(normals()), draw(st.integers(1, most)), draw(st.integers(1, 3))

    def batch(num_rows: int) -> Batch:
        return Batch(normal(num_tasks, num_rows, size), normal(num_tasks, num_rows))

    drawn = Task(batch(draw(st.integers(1, 5))), batch(draw(st.integers(1, 5))))
    strength = draw(st.sampled_from([1.0, 2.0, 10.0]))
    return QuadraticCase(normal(size), drawn, draw(learning_rates()), draw(step_counts(4)), strength)


@st.composite
def convex_cases(draw: Draw, most: int = 3) -> ConvexCase:
    """Poisson regression in up to `most` dimensions; the design is the identity and less than half of it on top."""
    normal, size = draw(normals()), draw(st.integers(1, most))
    noise = normal(size, size)
    design = torch.eye(size, dtype=torch.float64) + 0.4 * noise / torch.linalg.matrix_norm(noise, 2)
    return ConvexCase(normal(size), design, normal(size, size))


@st.composite
def ensemble_cases(draw: Draw, most: int = 4) -> EnsembleCase[Any]:
    """Particles of a parameter tree under a smooth loss."""
    template, normal = draw(trees()), draw(normals())
    particles = tree.stack([normal.like(template) for _ in range(draw(st.integers(1, most)))])
    return EnsembleCase(tree_loss, particles, draw(batches()), draw(learning_rates()))


@st.composite
def gaussian_cases(draw: Draw) -> GaussianCase:
    """Two Gaussians over one parameter tree; one may have a single scale for a leaf, and they may be equal."""
    template, normal = draw(trees()), draw(normals())

    def gaussian(shared: bool) -> Gaussian:
        scales = normal.like(template)
        log_scale = tree.map(lambda leaf: leaf.sum(), scales) if shared else scales
        return Gaussian(normal.like(template), tree.scale(log_scale, 0.5))

    q = gaussian(draw(st.booleans()))
    return GaussianCase(q, gaussian(draw(st.booleans())) if draw(st.booleans()) else q)


@st.composite
def decision_processes(draw: Draw) -> Tabular:
    """Tabular decision processes of up to three states, actions and times, at most 8^3 trajectories."""
    sizes = st.tuples(*(st.integers(1, 3) for _ in range(3)))
    num_states, num_actions, horizon = draw(sizes.filter(lambda drawn: (drawn[0] * drawn[1]) ** drawn[2] <= 8**3))
    return tabular.random(
        draw(normals()).generator,
        num_states=num_states,
        num_actions=num_actions,
        horizon=horizon,
        discount=draw(st.sampled_from([0.9, 1.0, 0.5])),
    )


@st.composite
def tabular_cases(draw: Draw) -> TabularCase:
    """A softmax policy in a decision process, from almost uniform to almost certain."""
    mdp, normal = draw(decision_processes()), draw(normals())
    return TabularCase(mdp, draw(st.sampled_from([1.0, 0.1, 3.0])) * normal(*mdp.rewards.shape))


@st.composite
def lines(draw: Draw) -> Lines:
    """Tasks of lines, by their prior, noise and number of points."""
    sizes = st.sampled_from([1.0, 0.3, 2.0])
    mean = draw(st.sampled_from([(0.0, 0.0), (1.0, -1.0)]))
    return Lines(mean, draw(sizes), draw(sizes), draw(st.integers(1, 4)))


@st.composite
def optimum_cases(draw: Draw) -> OptimumCase[Any, Any]:
    """Lines, and one who takes them for others: for instance the same lines with another noise."""
    family, learner = draw(lines()).family, draw(lines()).optimum
    meta = learner.init(Generator().manual_seed(0))
    return OptimumCase(family, family.optima["test"], learner, meta, seed=draw(st.integers(0, 2**16)))


CASES: dict[type[Any], Callable[[], st.SearchStrategy[Case]]] = {
    LossCase: loss_cases,
    ModelCase: model_cases,
    NetworkCase: network_cases,
    QuadraticCase: quadratic_cases,
    ConvexCase: convex_cases,
    EnsembleCase: ensemble_cases,
    GaussianCase: gaussian_cases,
    TabularCase: tabular_cases,
    OptimumCase: optimum_cases,
}
"""For each kind of case but a learner's, which is drawn by the algorithm's name, the strategy that draws it."""
