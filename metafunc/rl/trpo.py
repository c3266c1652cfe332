r"""Trust-region policy optimisation as an outer update: a natural-gradient step, cut back until it is trusted.

Schulman, Levine, Moritz, Jordan, Abbeel (2015), "Trust Region Policy Optimization", around the adapted policies, as
MAML uses it:

$$x \approx (F + \lambda I)^{-1} g, \qquad \theta \leftarrow \theta - \beta^j \sqrt{2\delta / x^\top F x}\; x,$$

with F the Fisher matrix of the *adapted* policies' actions as a function of the meta-parameters, and j the first
number of cuts at which the loss falls and the mean divergence stays below δ. Where the divergence is differentiated,
its own gradient is zero, so that F is a Gauss-Newton product and no third derivative is needed.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import above, at_least, fraction
from metafunc.rl.policies import kl_rows
from metafunc.rl.trajectories import Trajectories
from metafunc.transforms.curvature import conjugate_gradient, ggn_vp
from metafunc.types import MetaLearner, Predictive, Scalar, Task, Tree

Update = Callable[[Tree, Task, Tree], Tree]


def trust_region(
    learner: MetaLearner[Any, Any],
    *,
    max_kl: float = 0.01,
    cg_steps: int = 10,
    damping: float = 1e-5,
    shrink: float = 0.8,
    num_cuts: int = 15,
) -> Update:
    r"""TRPO's update, whose size follows from a bound on the divergence and from no step size.

    It takes the place of the optimiser: `Outer(update=trust_region(learner))`.

    Args:
        learner: a learner of policies.
        max_kl: δ, in nats per action.
        cg_steps: steps of conjugate gradients.
        damping: λ.
        shrink: β.
        num_cuts: how often the step is cut before it is given up.

    Returns:
        (meta, prepared tasks, gradient) to the next meta-parameters; the same ones if no cut is enough.

    Raises:
        ValueError: a value is out of range.

    Examples:
        >>> import torch
        >>> from metafunc import algorithms, nn, rl
        >>> from metafunc.types import Task
        >>> simulator, few = rl.simulator_of(rl.navigation(horizon=10)), rl.RolloutSettings(num_trajectories=10)
        >>> learner = algorithms.maml_rl(nn.mlp((2,), 2), simulator, rollouts=few)
        >>> generator = torch.Generator().manual_seed(0)
        >>> meta, goals = learner.init(generator), torch.rand(3, 2, generator=generator)
        >>> tasks = learner.prepare(meta, Task(goals, goals), generator, step=0, num_steps=1)
        >>> gradient = torch.func.grad(learner.meta_loss)(meta, tasks)
        >>> after = rl.trust_region(learner)(meta, tasks, gradient)
        >>> bool(learner.meta_loss(after, tasks) < learner.meta_loss(meta, tasks))
        True
    """
    above(0, max_kl=max_kl, shrink=shrink)
    at_least(0, damping=damping)
    fraction(shrink=shrink)
    at_least(1, num_cuts=num_cuts)

    def update(meta: Tree, tasks: Task, gradient: Tree) -> Tree:
        if not isinstance(tasks.query, Trajectories) or tasks.query.mask.ndim != 3:
            raise ValueError("TRPO's update is for learners of one policy; take the optimiser for ensembles.")
        mask = tasks.query.mask.flatten(1)

        def adapted(meta: Tree) -> Predictive:
            def of_task(task: Task) -> Predictive:
                params = learner.adapt(meta, task.support)
                return learner.predict(params, task.query.observations.flatten(0, 1))

            found: Predictive = torch.vmap(of_task)(tasks)
            return found

        def divergence(new: Predictive) -> Scalar:
            rows = kl_rows(before, new).flatten(1) * mask
            return rows.sum() / mask.sum()

        before = tree.detach(adapted(meta))
        natural = conjugate_gradient(
            lambda vector: ggn_vp(adapted, divergence, meta, vector), gradient, num_steps=cg_steps, damping=damping
        )
        curved = tree.dot(natural, ggn_vp(adapted, divergence, meta, natural)).item()
        if not curved > 0:
            return meta
        with torch.no_grad():
            loss: Tensor = learner.meta_loss(meta, tasks)
            for cuts in range(num_cuts):
                candidate = tree.add_scaled(meta, -sqrt(2 * max_kl / curved) * shrink**cuts, natural)
                if learner.meta_loss(candidate, tasks) < loss and divergence(adapted(candidate)) <= max_kl:
                    return candidate
        return meta

    return update
