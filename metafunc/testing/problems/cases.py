r"""What identities are checked on: a loss, a model, a learner or a small problem with a known answer, with its data.

A case is one example. Make your own from your loss or learner, or draw them: `metafunc.testing.strategies`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes.gaussian import Gaussian
from metafunc.checks import counted
from metafunc.nn.likelihood import Likelihood
from metafunc.testing.problems.tabular import Tabular
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.objectives import expected_query_loss
from metafunc.types import Batch, Data, Loss, M, MetaLearner, Model, P, Params, Scalar, Task, TaskFamily, Tree


@runtime_checkable
class MetaGradient(Protocol):
    """MAML's meta-gradient: (loss, params, stacked tasks, inner_lr, num_steps) to a tree like the params."""

    def __call__(self, loss: Loss[Any], params: Tree, tasks: Task, inner_lr: float, num_steps: int, /) -> Tree: ...


def meta_gradient(loss: Loss[Any], params: Tree, tasks: Task, inner_lr: float, num_steps: int, /) -> Tree:
    """metafunc's own: `torch.func.grad` of the expected query loss through gradient descent, vmapped over tasks."""
    adapt = gradient_descent(loss, lr=inner_lr, num_steps=num_steps)
    return torch.func.grad(expected_query_loss(adapt, loss))(params, tasks)


@dataclass(frozen=True, repr=False)
class LossCase(Generic[P]):
    """A loss with parameters and tasks: what MAML needs.

    Args:
        loss: (params, data) to a scalar, for one task.
        params: where it is looked at; float64, unless you want to know how many digits float32 leaves.
        tasks: stacked tasks.
        inner_lr: the step size of the inner loop.
        num_steps: its number of steps.
        meta_gradient: the implementation under test; another library's may be put here.
    """

    loss: Loss[P]
    params: P
    tasks: Task
    inner_lr: float = 0.1
    num_steps: int = 2
    meta_gradient: MetaGradient = meta_gradient

    def __repr__(self) -> str:
        steps = f"inner_lr {self.inner_lr:.3g}, {self.num_steps} steps"
        return f"a loss of {_params(self.params)}, {_tasks(self.tasks)}, {steps}"


@dataclass(frozen=True, repr=False)
class ModelCase(Generic[P]):
    """A model under a convex loss of its outputs.

    Args:
        apply: (params, inputs) to outputs.
        loss: (outputs, batch) to a scalar, convex in the outputs.
        params: where it is looked at.
        batch: the data of one task.
    """

    apply: Callable[[P, Tensor], Tensor]
    loss: Callable[[Tensor, Batch], Scalar]
    params: P
    batch: Batch

    def __repr__(self) -> str:
        return f"a model of {_params(self.params)} on inputs {tuple(self.batch.x.shape)}"


@dataclass(frozen=True, repr=False)
class NetworkCase:
    """A network with its likelihood, and tasks: what a builder of an algorithm takes.

    Args:
        model: the network; its parameters are float64.
        likelihood: the observation model.
        params: where it is looked at.
        tasks: stacked tasks.
        inner_lr: the step size of the inner loop.
        num_steps: its number of steps.
    """

    model: Model
    likelihood: Likelihood
    params: Params
    tasks: Task
    inner_lr: float = 0.1
    num_steps: int = 2

    def __repr__(self) -> str:
        steps = f"inner_lr {self.inner_lr:.3g}, {self.num_steps} steps"
        return f"a network of {_params(self.params)}, {_tasks(self.tasks)}, {steps}"


@dataclass(frozen=True, repr=False)
class LearnerCase(Generic[M, P]):
    """A meta-learner with meta-parameters and tasks.

    Args:
        learner: the learner.
        meta: where it is looked at; float64, unless you want to know how many digits float32 leaves.
        tasks: stacked tasks, as its `prepare` takes them.
        num_steps: the inner steps that its `adapt` takes.
        exact: whether its meta-gradient claims to be the derivative of its task loss.
        inner_steps: whether it adapts in steps; otherwise its paths have two rows.
        seed: of the generator that `prepare` is given.
        coherent: whether it claims to condition one exchangeable model.
        jitter: what it adds to variances for the sake of rounding, relative to the prior's.
    """

    learner: MetaLearner[M, P]
    meta: M
    tasks: Task
    num_steps: int = 1
    exact: bool = True
    inner_steps: bool = True
    seed: int = 0
    coherent: bool = False
    jitter: float = 0.0

    @property
    def prepared(self) -> Task:
        """The tasks with the randomness of a first training step."""
        generator = Generator().manual_seed(self.seed)
        # Of copies: a `prepare` that writes into its arguments is to be found by `pure`, and to spoil nothing else.
        meta, tasks = tree.map(torch.clone, (self.meta, self.tasks))
        return self.learner.prepare(meta, tasks, generator, step=0, num_steps=100)

    def __repr__(self) -> str:
        return f"a learner of {_params(self.meta)}, {_tasks(self.tasks)}, {self.num_steps} steps"


@dataclass(frozen=True, repr=False)
class QuadraticCase:
    r"""Least squares: $L(w) = \frac1{2n} \lVert Xw - y \rVert^2$, whose Hessian is $A = X^\top X / n$ everywhere.

    Args:
        params: where the inner loop starts, $\theta$ (d,).
        tasks: stacked tasks with x (tasks, n, d) and y (tasks, n).
        inner_lr: $\alpha$; below $2/\lVert A + \lambda I\rVert$ for the limit of many steps to exist.
        num_steps: K.
        strength: $\lambda > 0$ of the proximal term.
    """

    params: Float[Tensor, " d"]
    tasks: Task
    inner_lr: float
    num_steps: int
    strength: float

    @staticmethod
    def loss(params: Tensor, batch: Data, /) -> Scalar:
        """Half the mean squared residual."""
        value: Tensor = 0.5 * (batch.x @ params - batch.y).square().mean()
        return value

    def __repr__(self) -> str:
        steps = f"inner_lr {self.inner_lr:.3g}, {self.num_steps} steps, strength {self.strength:.3g}"
        return f"least squares in {len(self.params)} dimensions, {_tasks(self.tasks)}, {steps}"


@dataclass(frozen=True, repr=False)
class ConvexCase:
    r"""Poisson regression with a square design: convex, not quadratic, and with a minimum that is known.

    $\min_w \sum_i e^{x_i^\top w} - y_i x_i^\top w$ with counts $\log y = B\theta$ has $w = X^{-1} B \theta$.

    Args:
        params: $\theta$ (d,).
        design: $X$ (d, d), invertible.
        rates: $B$ (d, d).
    """

    params: Float[Tensor, " d"]
    design: Float[Tensor, "d d"]
    rates: Float[Tensor, "d d"]

    def __repr__(self) -> str:
        return f"Poisson regression in {len(self.params)} dimensions"


@dataclass(frozen=True, repr=False)
class EnsembleCase(Generic[P]):
    """Particles and the negative log-posterior of one of them.

    Args:
        loss: (params, data) to a scalar, for one particle.
        particles: parameters with a leading particle axis.
        data: what the loss takes.
        lr: the step size.
    """

    loss: Loss[P]
    particles: P
    data: Data
    lr: float = 0.1

    def __repr__(self) -> str:
        return f"{tree.leaves(self.particles)[0].shape[0]} particles of {_params(tree.unstack(self.particles)[0])}"


@dataclass(frozen=True, repr=False)
class GaussianCase:
    """Two Gaussians over trees of one structure."""

    q: Gaussian
    p: Gaussian

    def __repr__(self) -> str:
        return f"Gaussians over {_params(self.q.mean)}"


@dataclass(frozen=True, repr=False)
class TabularCase:
    """A softmax policy in a small decision process.

    Args:
        mdp: the decision process.
        logits: of the policy (s, a), in every state.
    """

    mdp: Tabular
    logits: Float[Tensor, "s a"]

    def __repr__(self) -> str:
        mdp = self.mdp
        return f"a decision process of {mdp.num_states} states, {mdp.num_actions} actions, horizon {mdp.horizon}"


@dataclass(frozen=True, repr=False)
class OptimumCase(Generic[M, P]):
    """A learner on tasks of which the best prediction is known.

    Args:
        family: where the tasks come from.
        optimum: the exact learner of the split's tasks, as its `optima` have it.
        learner: any other.
        meta: the meta-parameters of that.
        num_tasks: how many tasks are drawn.
        seed: what they are drawn with.
    """

    family: TaskFamily
    optimum: MetaLearner[Any, Any]
    learner: MetaLearner[M, P]
    meta: M
    num_tasks: int = 200
    seed: int = 0

    def __repr__(self) -> str:
        return f"a learner of {_params(self.meta)}, on {self.num_tasks} tasks of {self.family.name}"


Case: TypeAlias = (
    LossCase[Any]
    | ModelCase[Any]
    | NetworkCase
    | LearnerCase[Any, Any]
    | QuadraticCase
    | ConvexCase
    | EnsembleCase[Any]
    | GaussianCase
    | TabularCase
    | OptimumCase[Any, Any]
)


def _params(params: Tree) -> str:
    return f"{counted(tree.size(params), 'parameters')} ({len(tree.leaves(params))} leaves)"


def _tasks(tasks: Task) -> str:
    rows = [tuple(tree.leaves(side)[0].shape) for side in tasks]
    return f"{rows[0][0]} tasks of {rows[0][1]} + {rows[1][1]} rows"
