"""The work that everyone is timed on: data and initial parameters as numpy arrays, the same for every contender.

One step is the exact second-order MAML gradient, averaged over tasks, and one update of Adam. Nothing here knows torch,
JAX or metafunc.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
OnStep = Callable[[Sequence[Any]], None]
"""What contenders call with their parameters after every update."""
PROBE_RATE = 1024.0
"""The rate of the one step of gradient descent that shows a gradient: so large that rounding the parameters hides
nothing of it, and a power of two."""
MATMUL_SIZE = 2048
"""Rows and columns of the matrices whose product is the measure of the machine."""
LAYERS, HEADS = 6, 4
"""Of a transformer."""
FLOOR = 0.01
"""The smallest noise scale that a transformer neural process predicts."""
COMPONENTS = 4
"""Gaussians in the spectral density of a deep kernel."""
JITTER = 1e-6
"""What is added to a Gram matrix's diagonal, in units of its mean."""


@dataclass(frozen=True)
class Workload:
    """A network, a set of tasks, and how long to train on it.

    Args:
        name: what the command line calls it.
        kind: squared error on one output, or cross-entropy over classes.
        input_shape: of one row.
        widths: hidden units of a perceptron; for images (three numbers in `input_shape`) the filters of each
            convolution, or of the first block of a residual network.
        num_tasks: tasks of one outer step.
        num_support: support rows of a task.
        num_query: query rows of a task.
        num_steps: inner steps K.
        inner_lr: their size.
        num_particles: particles of Stein variational gradient descent; 0: plain gradient descent.
        dtype: of everything; float64 holds the very numbers of float32.
        outer: the outer optimiser: Adam, or gradient descent with `PROBE_RATE`.
        outer_steps: how many updates a contender is asked to make.
        chunk: tasks that may be in memory at once, for the contenders that batch them; 0: their own choice.
        rematerialise: trade time for memory, for the contenders that can.
        seeds: trainings of the same at once, for the contenders that can; 0: one by itself.
        residual: whether images go through a residual network of four blocks in the place of four convolutions.
        learner: MAML, or one that adapts without steps: a transformer neural process, whose tokens and head are
            perceptrons of these widths, its own twice and once the last of them; or a Gaussian process with a spectral
            mixture kernel on as many features as the last of the widths, which learns by the evidence of all rows.
        num_ways: classes of a task of classification.
        nudge: moves every initial parameter by a relative 2^-20 or so, in another way for every number but 0.
    """

    name: str
    kind: Literal["regression", "classification"]
    input_shape: tuple[int, ...]
    widths: tuple[int, ...]
    num_tasks: int
    num_support: int
    num_query: int
    num_steps: int
    inner_lr: float
    num_particles: int = 0
    dtype: Literal["float32", "float64"] = "float32"
    outer: Literal["adam", "sgd"] = "adam"
    outer_steps: int = 200_000
    chunk: int = 0
    rematerialise: bool = False
    seeds: int = 0
    residual: bool = False
    learner: Literal["maml", "tnp", "dkt"] = "maml"
    num_ways: int = 5
    nudge: int = 0

    @property
    def num_outputs(self) -> int:
        """One number, or the scores of the classes."""
        return 1 if self.kind == "regression" else self.num_ways

    @property
    def images(self) -> bool:
        """Whether the network is convolutional."""
        return len(self.input_shape) == 3

    def params(self) -> dict[str, Array]:
        """He's initial weights, zero biases, unit norms; with particles each leaf has a leading axis of them."""
        draw = np.random.default_rng(0)
        make = {"maml": self._residual if self.residual else self._one, "tnp": self._transformer, "dkt": self._kernel}[
            self.learner
        ]
        particles = [self._finish(make(draw)) for _ in range(max(1, self.num_particles))]
        if not self.num_particles:
            return particles[0]
        return {name: np.stack([particle[name] for particle in particles]) for name in particles[0]}

    def _one(self, draw: np.random.Generator) -> dict[str, Array]:
        params: dict[str, Array] = {}
        fan_in, kernel = self.input_shape[0], (3, 3) if self.images else ()
        for i, width in enumerate(self.widths, start=1):
            params[f"layer{i}.weight"] = self._he(draw, (width, fan_in, *kernel))
            if self.images:
                params |= {f"norm{i}.scale": np.ones(width), f"norm{i}.shift": np.zeros(width)}
            else:
                params[f"layer{i}.bias"] = np.zeros(width)
            fan_in = width
        features = fan_in * (self.input_shape[1] // 16) * (self.input_shape[2] // 16) if self.images else fan_in
        params |= {"head.weight": self._he(draw, (self.num_outputs, features)), "head.bias": np.zeros(self.num_outputs)}
        return params

    def _residual(self, draw: np.random.Generator) -> dict[str, Array]:
        """Four blocks: three 3x3 convolutions and a 1x1 shortcut, each with a norm."""
        params: dict[str, Array] = {}
        first, fan_in = self.widths[0], self.input_shape[0]
        for i, width in enumerate((first, 5 * first // 2, 5 * first, 10 * first), start=1):
            shapes = {f"layer{j}": (width, fan_in if j == 1 else width, 3, 3) for j in (1, 2, 3)}
            for name, shape in {**shapes, "shortcut": (width, fan_in, 1, 1)}.items():
                norm = "shortcut_norm" if name == "shortcut" else name.replace("layer", "norm")
                params[f"block{i}.{name}.weight"] = self._he(draw, shape)
                params |= self._norm(f"block{i}.{norm}", width)
            fan_in = width
        return params | self._linear(draw, "", {"head": (self.num_outputs, fan_in)})

    def _transformer(self, draw: np.random.Generator) -> dict[str, Array]:
        """The tokens' network, the layers of the transformer, and the head's network, from tokens to (mean, scale)."""
        width = self.widths[-1]
        params = self._perceptron(draw, "tokens.", self.input_shape[0] + 1, width)
        for i in range(1, LAYERS + 1):
            shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("query", "key", "value", "merge"), (width, width))
            params |= self._linear(draw, f"block{i}.", shapes) | self._norm(f"block{i}.norm1", width)
            wide: dict[str, tuple[int, ...]] = {"layer1": (2 * width, width), "layer2": (width, 2 * width)}
            params |= self._linear(draw, f"block{i}.", wide) | self._norm(f"block{i}.norm2", width)
        return params | self._perceptron(draw, "head.", width, 2)

    def _kernel(self, draw: np.random.Generator) -> dict[str, Array]:
        """The features' network, and the kernel's, the mean's and the noise's parameters."""
        shape = (COMPONENTS, self.widths[-1])
        return self._perceptron(draw, "", self.input_shape[0], self.widths[-1]) | {
            "log_weight": np.full(COMPONENTS, -np.log(COMPONENTS)),
            "frequency": draw.normal(0, 0.1, shape),
            "log_bandwidth": np.full(shape, np.log(0.1)),
            "mean": np.zeros(1),
            "log_scale": np.log(0.1) * np.ones(()),
        }

    def _perceptron(self, draw: np.random.Generator, prefix: str, inputs: int, outputs: int) -> dict[str, Array]:
        fans = (inputs, *self.widths, outputs)
        names = [*(f"layer{i}" for i in range(1, len(self.widths) + 1)), "head"]
        shapes: dict[str, tuple[int, ...]] = {name: (fans[i + 1], fans[i]) for i, name in enumerate(names)}
        return self._linear(draw, prefix, shapes)

    def _linear(self, draw: np.random.Generator, prefix: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
        params: dict[str, Array] = {}
        for name, shape in shapes.items():
            params[f"{prefix}{name}.weight"] = self._he(draw, shape)
            params[f"{prefix}{name}.bias"] = np.zeros(shape[0])
        return params

    def _norm(self, name: str, width: int) -> dict[str, Array]:
        return {f"{name}.scale": np.ones(width), f"{name}.shift": np.zeros(width)}

    def _finish(self, params: dict[str, Array]) -> dict[str, Array]:
        """In the precision asked for, float64 with the very numbers of float32, and nudged."""
        params = {name: leaf.astype("float32") for name, leaf in params.items()}
        if self.nudge:
            draw = np.random.default_rng(self.nudge)
            params = {name: leaf * (1 + 2.0**-20 * draw.normal(size=leaf.shape)) for name, leaf in params.items()}
        return {name: leaf.astype(self.dtype) for name, leaf in params.items()}

    def _he(self, draw: np.random.Generator, shape: tuple[int, ...]) -> Array:
        weight: Array = draw.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype("float32")
        return weight

    def tasks(self) -> tuple[Array, Array, Array, Array]:
        """Support x and y, query x and y, each with a leading axis of tasks."""
        draw = np.random.default_rng(1)
        make = self._sines if self.kind == "regression" else self._classes
        x, y = make(draw, self.num_support + self.num_query)
        cut = self.num_support
        return x[:, :cut], y[:, :cut], x[:, cut:], y[:, cut:]

    def _sines(self, draw: np.random.Generator, rows: int) -> tuple[Array, Array]:
        shape = (self.num_tasks, 1, 1)
        amplitude, phase = draw.uniform(0.1, 5, shape), draw.uniform(0, np.pi, shape)
        x = draw.uniform(-5, 5, (self.num_tasks, rows, 1)).astype("float32")
        return x.astype(self.dtype), (amplitude * np.sin(x - phase)).astype("float32").astype(self.dtype)

    def _classes(self, draw: np.random.Generator, rows: int) -> tuple[Array, Array]:
        """A prototype for each class and noise on every pixel, so that no two pixels of a max-pool tie."""
        prototypes = draw.normal(size=(self.num_tasks, self.num_outputs, *self.input_shape))
        labels = np.tile(np.arange(rows) % self.num_outputs, (self.num_tasks, 1))
        rows_of = prototypes[np.arange(self.num_tasks)[:, None], labels]
        x = rows_of + draw.normal(size=rows_of.shape)
        return x.astype("float32").astype(self.dtype), labels.astype("int64")


SINES = Workload("W1", "regression", (1,), (40, 40), 25, 10, 10, 1, 0.01)
"""MAML's sinusoid experiment: a perceptron 1-40-40-1."""
FLAT = Workload("W2", "classification", (784,), (256, 128, 64, 64), 32, 5, 75, 1, 0.1)
"""Omniglot's size through a perceptron, 5 ways and 1 shot."""
IMAGES = Workload("W3", "classification", (1, 28, 28), (64, 64, 64, 64), 16, 5, 25, 1, 0.1)
"""Omniglot's size through four convolutions with batch statistics, 5 ways and 1 shot."""
STEIN = replace(SINES, name="W4", num_particles=10, inner_lr=0.001)
"""Ten particles on the sinusoid task; each one's loss is the summed squared error over two, a log-likelihood."""
TRANSFORMER = Workload("W5", "regression", (1,), (64, 64, 64), 16, 25, 25, 0, 0.0, learner="tnp")
"""A transformer neural process of six layers on sine curves, the size of its preset."""
KERNEL = Workload("W6", "regression", (1,), (40,), 16, 25, 25, 0, 0.0, learner="dkt")
"""Deep kernel transfer on sine curves, the size of its preset."""
RESIDUAL = Workload("W7", "classification", (3, 84, 84), (64,), 2, 5, 25, 1, 0.01, residual=True)
"""ResNet-12 on miniImageNet's size, 5 ways and 1 shot."""
LONG = Workload("long", "regression", (1,), (256, 256), 4, 128, 128, 60, 0.001)
"""Sixty inner steps: what memory grows with."""

WORKLOADS = {
    work.name: work
    for work in (
        SINES,
        replace(SINES, name="W1-K5", num_steps=5, inner_lr=0.001),  # five of .01 diverge on tasks that never change
        *(replace(SINES, name=f"W1-T{num}", num_tasks=num) for num in (8, 32, 128)),
        FLAT,
        IMAGES,
        replace(IMAGES, name="W3-K5", num_steps=5),
        replace(IMAGES, name="W3-Q75", num_query=75),
        replace(IMAGES, name="W3-Q75-K5", num_query=75, num_steps=5),
        STEIN,
        TRANSFORMER,
        KERNEL,
        RESIDUAL,
    )
}
MEMORY = {
    work.name: work
    for work in (
        LONG,
        replace(LONG, name="long-rematerialised", rematerialise=True),
        replace(IMAGES, name="W3-T16-chunk4", chunk=4),
        replace(IMAGES, name="W3-T128-chunk4", num_tasks=128, chunk=4),
        *(
            replace(RESIDUAL, name=f"W7-K{steps}-rematerialised", num_steps=steps, chunk=1, rematerialise=True)
            for steps in (1, 2, 4)
        ),
    )
}


def tiny(work: Workload) -> Workload:
    """The same shape of work in milliseconds, for trying the harness."""
    widths = (4,) * len(work.widths)
    return replace(
        work, widths=widths, num_tasks=2, num_support=5, num_query=5, num_particles=min(work.num_particles, 3)
    )
