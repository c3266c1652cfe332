"""The vocabulary: what travels between the parts of metafunc, and what the parts look like from outside.

Tensors travel in `NamedTuple`s, which `torch.func` maps natively; functions travel in frozen dataclasses. Everything is
written for *one* task: a batch of tasks is the same type with a leading task axis, and `torch.vmap` does the rest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import log, pi
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from metafunc.recipe import Built, by_shapes

Tree: TypeAlias = Any
"""Tensors in nested dicts, lists, tuples and NamedTuples."""
Data: TypeAlias = Any
"""A NamedTuple of tensors with a leading sample axis: a `Batch`, or an RL learner's trajectories."""
Scalar: TypeAlias = Float[Tensor, ""]
Params: TypeAlias = dict[str, Tensor]
"""What a model's `init` returns. Transforms take any `Tree`."""
Rate: TypeAlias = float | Tensor | Tree
"""A step size: a number, a 0-dim tensor, or a tree like the parameters, whose leaves broadcast against theirs."""
Kind: TypeAlias = Literal["regression", "classification", "control"]
Normalisation: TypeAlias = Literal["none", "transductive", "support"]
"""Whose statistics predictions are normalised by: no data's or running ones, the query batch's, the support set's."""

P = TypeVar("P")
M = TypeVar("M")
P_in = TypeVar("P_in", contravariant=True)
P_out = TypeVar("P_out", covariant=True)
M_in = TypeVar("M_in", contravariant=True)


class Batch(NamedTuple):
    """Rows of one data set; `mask` is 1 for a row that counts and 0 for padding.

    An empty tuple stands for "all rows count" and "nothing attached": it has no leaf, so `vmap` passes it through.
    """

    x: Shaped[Tensor, "n ..."]
    y: Tensor
    mask: Tree = ()
    extra: Tree = ()


def masked_sum(values: Float[Tensor, " n"], mask: Tree = ()) -> Scalar:
    """The sum over rows whose mask is 1."""
    return values.sum() if isinstance(mask, tuple) else (values * mask).sum()


def masked_mean(values: Float[Tensor, " n"], mask: Tree = ()) -> Scalar:
    """The mean over rows whose mask is 1; zero if there is none, so that an empty support set has no gradient."""
    if isinstance(mask, tuple):
        return values.mean() if values.shape[0] else values.sum()
    return torch.div(masked_sum(values, mask), mask.sum().clamp(min=1))


class Task(NamedTuple):
    """A task as data: what a learner adapts on, and what it is judged on. Stacked tasks have a leading task axis."""

    support: Data
    query: Data


class Normal(NamedTuple):
    """Gaussian predictions, particles first: `loc` is (particles, n, outputs).

    `scale` is a standard deviation that broadcasts against `loc`; the empty tuple says that the learner has no noise
    model, and that one has to be fitted before it is scored, in `unit` (outputs,), where it is not empty. `log_weight`
    broadcasts against (particles, n): how much each particle counts, up to a constant of a row; if empty, all alike.
    """

    loc: Tensor
    scale: Tree = ()
    log_weight: Tree = ()
    unit: Tree = ()

    def log_prob(self, y: Tensor) -> Tensor:
        """The log density of targets, number by number; there has to be a scale."""
        return log_normal((y - self.loc) / self.scale, self.scale.log())

    def with_noise(self, noise: Tree) -> "Normal":
        """The same with a noise scale, in its unit, where it has no scale; None and the empty tuple change nothing."""
        if noise is None or isinstance(noise, tuple) or not isinstance(self.scale, tuple):
            return self
        scale = noise if isinstance(noise, Tensor) else self.loc.new_tensor(noise)
        return self._replace(scale=scale if isinstance(self.unit, tuple) else scale * self.unit, unit=())


def log_normal(deviation: Tensor, log_scale: Tensor) -> Tensor:
    r"""The log density of a Gaussian at $\mu + \sigma z$, $-\tfrac12 z^2 - \log \sigma - \tfrac12 \log 2\pi$."""
    return -0.5 * deviation.square() - log_scale - 0.5 * log(2 * pi)


class Categorical(NamedTuple):
    """Class predictions, particles first: `logits` is (particles, n, classes)."""

    logits: Tensor

    def with_noise(self, noise: Tree) -> "Categorical":
        """The same, since classes have no noise scale."""
        return self


Predictive: TypeAlias = Normal | Categorical


@runtime_checkable
class Loss(Protocol[P_in]):
    """What parameters lose on data: a scalar."""

    def __call__(self, params: P_in, data: Data, /) -> Scalar: ...


@runtime_checkable
class Adapt(Protocol[M_in, P_out]):
    """From meta-parameters and a support set to a task's parameters."""

    def __call__(self, meta: M_in, support: Data, /) -> P_out: ...


@runtime_checkable
class Path(Protocol[M_in, P_out]):
    """The parameters after 0, 1, ..., `num_steps` steps of adaptation, on a leading axis."""

    def __call__(self, meta: M_in, support: Data, num_steps: int, /) -> P_out: ...


@runtime_checkable
class TaskLoss(Protocol[M_in]):
    """What meta-parameters lose on one task."""

    def __call__(self, meta: M_in, task: Task, /) -> Scalar: ...


@runtime_checkable
class MetaLoss(Protocol[M_in]):
    """What meta-parameters lose on stacked tasks: the mean over them."""

    def __call__(self, meta: M_in, tasks: Task, /) -> Scalar: ...


@runtime_checkable
class Prepare(Protocol[M_in]):
    """Attaches noise of a generator, and step weights, to stacked tasks on the CPU; `step` is None at meta-test."""

    def __call__(
        self, meta: M_in, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int
    ) -> Task: ...


@runtime_checkable
class Sampler(Protocol):
    """Draws stacked tasks. Task `i` of a draw is the same whatever `num_tasks` is."""

    def __call__(self, generator: Generator, num_tasks: int, /) -> Task: ...


def _unchanged(params: P, _: Tensor) -> P:
    return params


@dataclass(frozen=True, repr=False)
class Model(Built):
    """A network as two pure functions.

    Args:
        init: draws parameters from a generator.
        apply: (params, inputs (n, ...)) to outputs (n, outputs).
        condition: (params, support inputs) to params with what a prediction needs of the support; by default, as is.
        normalisation: whose statistics `apply` normalises by; recorded with every result.
    """

    init: Callable[[Generator], Params]
    apply: Callable[[Params, Tensor], Tensor]
    condition: Callable[[Params, Tensor], Params] = _unchanged
    normalisation: Normalisation = "none"

    def finish(self, params: Tree, support: Data, /) -> Tree:
        """What ends every adaptation: `condition` as an `Adapt`."""
        return self.condition(params, support.x)


@dataclass(frozen=True)
class FastLoss(Generic[M]):
    """A task loss with a quicker way, `fast`, beside the `definition` as its formula reads; they are the same function.

    A training holds one against the other on its first tasks, and takes the definition where they differ.
    """

    fast: TaskLoss[M]
    definition: TaskLoss[M]

    def __call__(self, meta: M, task: Task, /) -> Scalar:
        return self.fast(meta, task)


def definition_of(task_loss: TaskLoss[M]) -> TaskLoss[M]:
    """What a task loss is by definition; itself, unless it takes a quicker way."""
    return task_loss.definition if isinstance(task_loss, FastLoss) else task_loss


def unprepared(meta: M_in, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
    """The `prepare` of a learner that draws no random numbers: the identity."""
    return tasks


@dataclass(frozen=True, kw_only=True, repr=False)
class MetaLearner(Built, Generic[M, P]):
    """What every builder in `metafunc.algorithms` returns: a meta-learning algorithm as pure functions.

    Args:
        init: draws meta-parameters from a generator.
        adapt: from meta-parameters and a support set to a task's parameters.
        path: the same, for 0..num_steps steps on a leading axis.
        task_loss: what meta-training minimises, for one task.
        predict: (task parameters, inputs (n, ...)) to a `Normal` or `Categorical` of the observations there.
        prepare: attaches this step's random numbers to stacked tasks; by default there are none.
        joint: (task parameters, query set) to the nats of all its rows together; None: given a particle, independent.
        normalisation: the model's protocol.
        network_prefix: how the paths of the network's own parameters, or of their means, begin, for a warm start.
        traceable: whether a training may trace a step and compile it; not where inner steps are rematerialised.
        footprint: from stacked tasks to numbers that one takes in memory besides its parameters and data; None: few.
        standardises: whether it sees a task's targets in units of the support rows, as `bayes.task_units` does.
        noise_leaf: the path of a learned noise scale's leaf, and from a scale to its value there; None: it learns none.
        begin: from initial meta-parameters and stacked training tasks to those to start from; None: the initial ones.
    """

    init: Callable[[Generator], M]
    adapt: Adapt[M, P]
    path: Path[M, P]
    task_loss: TaskLoss[M]
    predict: Callable[[P, Tensor], Predictive]
    prepare: Prepare[M] = unprepared
    joint: "Callable[[P, Batch], Scalar] | None" = None
    normalisation: Normalisation = "none"
    network_prefix: str = ""
    traceable: bool = True
    footprint: "Callable[[Task], int] | None" = None
    standardises: bool = False
    noise_leaf: "tuple[str, Callable[[float], float]] | None" = None
    begin: "Callable[[M, Task], M] | None" = None

    @property
    def meta_loss(self) -> MetaLoss[M]:
        """The mean of `task_loss` over stacked tasks: differentiate it with `torch.func` at will."""
        return expected(self.task_loss)


@dataclass(frozen=True, repr=False)
class TaskFamily(Built):
    """Where tasks come from: three samplers over disjoint or resampled tasks, and the shape of one row.

    Args:
        name: what the command line calls it.
        kind: what is predicted.
        input_shape: the shape of one input row.
        num_outputs: targets of a regression, or classes (ways) of a classification.
        train: draws meta-training tasks.
        validation: draws tasks for choosing among checkpoints and for fitting noise scales.
        test: draws meta-test tasks.
        variants: further meta-test samplers by name, such as ranges never trained on.
        info: what a result should record of the data: class counts, fingerprint, licence.
        simulator: where policies act, for control: a `metafunc.rl.Simulator`.
        optima: by split or variant, the learner that knows how tasks are drawn; none has a better expected likelihood.
    """

    name: str
    kind: Kind
    input_shape: tuple[int, ...]
    num_outputs: int
    train: Sampler
    validation: Sampler
    test: Sampler
    variants: Mapping[str, Sampler] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    simulator: Any = None
    optima: Mapping[str, MetaLearner[Any, Any]] = field(default_factory=dict)


def expected(task_loss: TaskLoss[M]) -> MetaLoss[M]:
    r"""The mean of a task loss over tasks, $\frac1n\sum_{i=1}^n \ell(\theta, T_i)$, by `vmap`; papers write the sum.

    Args:
        task_loss: (meta, task) to a scalar, for one task; what is returned is the same for stacked tasks.
    """

    def meta_loss(meta: M, tasks: Task, /) -> Scalar:
        losses: Tensor = torch.vmap(task_loss, in_dims=(None, 0))(meta, tasks)
        return losses.mean()

    return meta_loss


for _tensors in (Batch, Task, Normal, Categorical):
    by_shapes(_tensors)
