"""The inner loop: a step taken K times on a support set, and what it visits."""

from collections.abc import Sequence

from metafunc import tree
from metafunc.checks import at_least
from metafunc.transforms.inner.step import Step, descend
from metafunc.transforms.optim import sgd
from metafunc.types import Adapt, Data, Loss, M, P, Path


def repeat(step: Adapt[P, P], num_steps: int, *, finish: Adapt[P, P] | None = None) -> Adapt[P, P]:
    """Take a step K times on the same support set.

    Args:
        step: one update; a `Step` carries its optimiser's state along.
        num_steps: K; 0 is the identity.
        finish: applied once to the last parameters, such as a model's `condition`.

    Returns:
        (params, support) to the parameters after K steps.

    Raises:
        ValueError: if `num_steps` is negative.

    Examples:
        >>> import torch
        >>> from metafunc import inner, optim
        >>> step = inner.descend(lambda params, _: params.square().sum(), optim.sgd(0.25))
        >>> inner.repeat(step, 3)(torch.tensor([8.0]), ())
        tensor([1.])
    """
    at_least(0, num_steps=num_steps)

    def adapt(params: P, support: Data, /) -> P:
        last = trajectory(step, params, [support] * num_steps)[-1]
        return finish(last, support) if finish else last

    return adapt


def path(step: Adapt[P, P], *, finish: Adapt[P, P] | None = None) -> Path[P, P]:
    """The parameters after 0, 1, ..., `num_steps` steps, on a leading axis; row K is bitwise `repeat(step, K)`.

    Args:
        step: one update; a `Step` carries its optimiser's state along.
        finish: applied once to the parameters of every row, such as a model's `condition`.

    Returns:
        (params, support, num_steps) to a tree like the parameters with `num_steps` + 1 rows.

    Examples:
        >>> import torch
        >>> from metafunc import inner, optim
        >>> step = inner.descend(lambda params, _: params.square().sum(), optim.sgd(0.25))
        >>> inner.path(step)(torch.tensor(8.0), (), 3)
        tensor([8., 4., 2., 1.])
    """

    def rows(params: P, support: Data, num_steps: int, /) -> P:
        visited = trajectory(step, params, [support] * num_steps)
        return tree.stack([finish(row, support) for row in visited] if finish else visited)

    return rows


def conditioning_path(adapt: Adapt[M, P]) -> Path[M, P]:
    """The path of an adaptation without steps, whatever their number: given no support row, and given all of them.

    Args:
        adapt: (meta, support) to a task's parameters; a row whose mask is 0 must not count.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, inner
        >>> support = Batch(torch.zeros(2, 1), torch.ones(2, 1), torch.ones(2))
        >>> inner.conditioning_path(lambda meta, rows: meta + rows.mask.sum())(1.0, support, 5)
        tensor([1., 3.])
    """

    def rows(meta: M, support: Data, num_steps: int, /) -> P:
        absent = support._replace(mask=support.x.new_zeros(support.x.shape[0]))
        return tree.stack([adapt(meta, absent), adapt(meta, support)])

    return rows


def settling_path(step: Adapt[P, P], trained: int, *, finish: Adapt[P, P] | None = None) -> Path[P, P]:
    r"""A path whose steps shrink beyond those that were trained.

    $$\theta_{K+k} = \theta_{K+k-1} + \frac{1}{1 + k} \big( \mathrm{step}(\theta_{K+k-1}) - \theta_{K+k-1} \big),
    \qquad k = 1, 2, \dots$$

    An initialisation trained through K steps may sit where the K + 1st is too long for some tasks.

    Args:
        step: one update without an optimiser's state.
        trained: K; up to there the path is `path`'s.
        finish: applied once to the parameters of every row.

    Raises:
        ValueError: if `trained` is negative.

    Examples:
        >>> import torch
        >>> from metafunc import inner, optim
        >>> step = inner.descend(lambda params, _: params.square().sum(), optim.sgd(0.25))  # halves
        >>> inner.settling_path(step, 1)(torch.tensor(8.0), (), 3)  # then by a quarter and by a sixth
        tensor([8.0000, 4.0000, 3.0000, 2.5000])
    """
    at_least(0, trained=trained)

    def rows(params: P, support: Data, num_steps: int, /) -> P:
        visited = trajectory(step, params, [support] * min(num_steps, trained))
        for k in range(1, num_steps - trained + 1):
            last = visited[-1]
            visited.append(tree.add_scaled(last, 1 / (1 + k), tree.sub(step(last, support), last)))
        return tree.stack([finish(row, support) for row in visited] if finish else visited)

    return rows


def trajectory(step: Adapt[P, P], params: P, data: Sequence[Data]) -> list[P]:
    """The parameters before and after a step on each data set in turn: one more than there are data sets.

    A `Step` carries its optimiser's state from one to the next. `repeat` and `path` walk over copies of one support
    set, a learner that sees minibatches over different ones.
    """
    rows = [params]
    state = step.optimiser.init(params) if isinstance(step, Step) else ()
    for batch in data:
        if isinstance(step, Step):
            params, state = step.update(params, state, batch)
        else:
            params = step(params, batch)
        rows.append(params)
    return rows


def gradient_descent(loss: Loss[P], *, lr: float, num_steps: int = 1) -> Adapt[P, P]:
    r"""K steps of gradient descent, MAML's inner loop: $\theta_{k+1} = \theta_k - \alpha \nabla L(\theta_k)$.

    Args:
        loss: (params, data) to a scalar.
        lr: $\alpha$, the inner step size.
        num_steps: K.

    Returns:
        (params, support) to adapted params.

    Raises:
        ValueError: if `lr` is negative or not finite, or `num_steps` is negative.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, gradient_descent
        >>> def loss(params, batch):
        ...     return (batch.x @ params["w"] - batch.y).square().mean()
        >>> support = Batch(x=torch.ones(1, 1), y=torch.ones(1))
        >>> gradient_descent(loss, lr=0.25, num_steps=2)({"w": torch.zeros(1)}, support)
        {'w': tensor([0.7500])}

    References:
        Finn, Abbeel, Levine (2017), "Model-Agnostic Meta-Learning", equation 1.
    """
    return repeat(descend(loss, sgd(lr)), num_steps)
