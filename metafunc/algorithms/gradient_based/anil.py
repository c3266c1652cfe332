r"""Almost no inner loop (ANIL): only the head is adapted to a task.

Raghu, Raghu, Bengio, Vinyals (2020), "Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of
MAML". The meta-parameters are split into a body $\theta_b$, which all tasks share, and a head $\theta_h$, the last
layer:

$$\theta_{h,i}^{k+1} = \theta_{h,i}^k - \alpha \nabla_{\theta_h} L(\theta_b, \theta_{h,i}^k; D_i^{\mathrm{support}}),
\qquad \min_\theta \tfrac1n \textstyle\sum_i L(\theta_b, \theta_{h,i}^K; D_i^{\mathrm{query}}),$$

with the exact derivative with respect to both.
"""

from collections.abc import Callable
from dataclasses import replace

from torch import Generator

from metafunc import tree
from metafunc.algorithms.assembly import gradient_step, step_learner
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import masked
from metafunc.types import MetaLearner, Model, Params, Tree


def _init_with(model: Model, head: str) -> Callable[[Generator], Tree]:
    def init(generator: Generator) -> Tree:
        params = model.init(generator)
        names = tree.paths(params)
        if not any(name.startswith(head) for name in names):
            raise ValueError(
                f"No parameter's name starts with head={head!r}; choose a prefix among {', '.join(names)}."
            )
        return params

    return init


@built
def anil(
    model: Model, likelihood: Likelihood, *, inner_lr: float = 0.01, num_steps: int = 5, head: str = "head."
) -> MetaLearner[Params, Params]:
    """ANIL: MAML whose inner loop adapts the last layer only.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: step size of the inner gradient descent.
        num_steps: inner steps in training.
        head: how the names of the adapted parameters begin.

    Returns:
        The learner; meta-parameters and task parameters are both the model's.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, or `num_steps` is negative; and by `init`, if no
            parameter's name begins with `head`.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.anil(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.1, num_steps=5)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Raghu, Raghu, Bengio, Vinyals (2020), section 4.
    """
    step = masked(gradient_step(model, likelihood, inner_lr), lambda name: name.startswith(head))
    return replace(step_learner(model, likelihood, step, num_steps), init=_init_with(model, head))
