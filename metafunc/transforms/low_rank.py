r"""Adapted weights that are never formed: the query loss after K steps, for linear layers and few support rows.

The gradient of a linear layer's weight is a sum of outer products, one for each support row, of the layer's inputs
$x_k$ and the loss's derivatives $d_k$ at its outputs. With few rows it is cheaper to keep the two factors:

$$W_i = W - \alpha \sum_k d_k x_k^\top, \qquad x W_i^\top = x W^\top - \alpha \sum_k (x^\top x_k)\, d_k.$$

All tasks then share one weight, and a batch of tasks is one large matrix product where it was a copy of the weight for
each task. Value and derivatives are those of `query_loss(gradient_descent(...), loss)` up to rounding.

The $d_k$ are the gradient with respect to zeros added to the layer's outputs. A weight qualifies if the support set's
loss uses it only as the weight of `torch.nn.functional.linear`, outside further transforms, and the shapes favour it;
every other leaf is adapted as usual. Where the query set's loss, or what finishes the adaptation, uses the weight
otherwise, it gets the adapted weight, formed there.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor, maybe_current_level
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from metafunc import tree
from metafunc.checks import at_least, not_negative
from metafunc.transforms import objectives
from metafunc.transforms.inner import descend, repeat
from metafunc.transforms.optim import sgd
from metafunc.types import Adapt, Data, FastLoss, Loss, P, Params, Scalar, Task

Factors = Mapping[str, list[tuple[Tensor, Tensor]]]
"""For each factored weight the pairs (inputs (n, in), step size times derivatives (n, out)) of the steps so far."""

SMALLEST = 2**14
"""Weights with fewer numbers fit into the cache, and the bookkeeping costs more than their copies."""

Favour = Callable[[int, torch.Size], bool]
"""From the rows of all steps that a weight's layers see, and its shape, to whether to keep its changes in factors."""


def favour_large(rows: int, shape: torch.Size) -> bool:
    """Where it is cheaper: for weights beyond the cache that are larger than the factors and the work on them."""
    return shape.numel() >= SMALLEST and 2 * rows * sum(shape) <= shape.numel()


class _UsedElsewhere(Exception):  # noqa: N818 - no error: the weights are then formed
    """A factored weight was used in a way that factors do not follow."""


class _Uses(NamedTuple):
    """How the factored weights were used: the inputs of the linear layers, and the weights that something else took."""

    inputs: dict[str, list[Tensor]]
    elsewhere: set[str]


class _Linears(TorchFunctionMode):
    """While entered, `linear` with a factored weight adds the factors and the zeros; `uses` records all uses.

    Whatever else takes such a weight is given the adapted one, formed. Where that would lose a derivative, because a
    transform or a custom function has the weight or no gradient is recorded, `_UsedElsewhere` is raised.
    """

    def __init__(
        self, params: Params, factors: Factors, uses: _Uses, zeros: Mapping[str, list[Tensor]] | None = None
    ) -> None:
        super().__init__()
        self.weights = {name: params[name] for name in factors}
        self.bases = {name: _unwrapped(leaf) for name, leaf in self.weights.items()}
        self.factors = factors
        self.uses = uses
        self.zeros = zeros
        self.surroundings = _surroundings()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Add to a linear layer's outputs, and form the weights that something else takes."""
        kwargs = kwargs or {}
        if not any(self._name(leaf) for leaf in _flat((*args, *kwargs.values()))):
            return func(*args, **kwargs)
        if func is F.linear:
            name = self._name(_weight(*args, **kwargs))
            outputs = func(*args, **kwargs)
            if name is not None and self._is_layer(name, outputs, *args, **kwargs):
                return self._layer(name, outputs, args[0] if args else kwargs["input"])
        return func(*map(self._formed, args), **{key: self._formed(value) for key, value in kwargs.items()})

    def _is_layer(self, name: str, outputs: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
        """Whether a call is a layer's: at the level of the weight, and one whose outputs were foreseen."""
        known, index = None if self.zeros is None else self.zeros[name], len(self.uses.inputs[name])
        foreseen = known is None or (index < len(known) and known[index].shape == outputs.shape)
        alone = weight is self.weights[name] and not any(map(self._name, (input, bias)))
        return foreseen and alone and _surroundings() == self.surroundings

    def _layer(self, name: str, outputs: Tensor, x: Tensor) -> Tensor:
        for inputs, steps in self.factors[name]:
            outputs = outputs - (x @ inputs.T) @ steps
        if self.zeros is not None:
            outputs = outputs + self.zeros[name][len(self.uses.inputs[name])]
        self.uses.inputs[name].append(x)
        return outputs

    def _formed(self, value: Any) -> Any:
        """The adapted weight in a weight's place; of a list or tuple, its items."""
        if isinstance(value, list | tuple):
            items = [self._formed(item) for item in value]
            if all(map(operator.is_, items, value)):
                return value
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        name = self._name(value)
        if name is None:
            return value
        self.uses.elsewhere.add(name)
        if not self.factors[name]:
            return value
        if value is not self.weights[name] or torch.is_grad_enabled() != self.surroundings[1]:
            raise _UsedElsewhere
        for inputs, steps in self.factors[name]:
            value = value - steps.T @ inputs
        return value

    def _name(self, leaf: object) -> str | None:
        """Which weight a tensor is, by itself or as a further transform, or a custom function, sees it."""
        if not isinstance(leaf, Tensor):
            return None
        base = _unwrapped(leaf)
        return next((name for name, weight in self.bases.items() if weight is base), None)


def _unwrapped(leaf: Tensor) -> Tensor:
    """What the transforms of `torch.func` have wrapped."""
    while is_functorch_wrapped_tensor(leaf):
        leaf = get_unwrapped(leaf)
    return leaf


def _surroundings() -> tuple[int, bool]:
    """The transforms of `torch.func` that are under way, and whether gradients are recorded."""
    return maybe_current_level() or 0, torch.is_grad_enabled()


def _unused(names: Iterable[str]) -> _Uses:
    return _Uses({name: [] for name in names}, set())


def _weight(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return weight


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def query_loss(
    loss: Loss[P],
    *,
    lr: float,
    num_steps: int,
    finish: Adapt[P, P] | None = None,
    favour: Favour = favour_large,
) -> FastLoss[P]:
    """The query loss after `num_steps` of gradient descent, adapted weights kept in factors where that is cheaper.

    Args:
        loss: (params, data) to a scalar.
        lr: the inner step size.
        num_steps: inner steps.
        finish: applied to the last parameters, as in `inner.repeat`.
        favour: which weights of linear layers are kept in factors. One that it does not favour for a single row it is
            not asked about again.

    Returns:
        (params, task) to a scalar, with the plain query loss as its definition.

    Raises:
        ValueError: if `lr` is negative or not finite, or `num_steps` is negative.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, Task, likelihood, nn
        >>> from metafunc.transforms import low_rank
        >>> model = nn.mlp((784,), 5)
        >>> task_loss = low_rank.query_loss(likelihood.categorical(5).of(model), lr=0.1, num_steps=1)
        >>> batch = Batch(x=torch.ones(5, 784), y=torch.arange(5))
        >>> task_loss(model.init(torch.Generator().manual_seed(0)), Task(batch, batch)).shape
        torch.Size([])
    """
    not_negative(lr=lr)
    at_least(0, num_steps=num_steps)

    def task_loss(meta: P, task: Task, /) -> Scalar:
        params, whole = tree.partition(meta, lambda path: True)

        def by_path(params: Params, data: Data, /) -> Scalar:
            return loss(whole(params), data)

        outputs = _favoured(by_path, params, task.support, num_steps, favour)
        try:
            return after(params, by_path, whole, outputs, task)
        except _UsedElsewhere:
            return after(params, by_path, whole, {}, task)

    def after(
        params: Params,
        by_path: Loss[Params],
        whole: Callable[[Params], P],
        outputs: Mapping[str, list[torch.Size]],
        task: Task,
    ) -> Scalar:
        factors: Factors = {name: [] for name in outputs}
        for _ in range(num_steps):
            params, factors = _descend(by_path, params, factors, outputs, task.support, lr)
        with _Linears(params, factors, _unused(factors)):
            last = whole(params)
            return loss(finish(last, task.support) if finish else last, task.query)

    adapt = repeat(descend(loss, sgd(lr)), num_steps, finish=finish)
    return FastLoss(task_loss, definition=objectives.query_loss(adapt, loss))


def _descend(
    loss: Loss[Params], params: Params, factors: Factors, outputs: Mapping[str, list[torch.Size]], data: Data, lr: float
) -> tuple[Params, Factors]:
    """One step: a pair of factors more for each factored weight, new values for the other leaves."""

    def differentiated(rest: Params, zeros: dict[str, list[Tensor]]) -> tuple[Scalar, dict[str, list[Tensor]]]:
        uses = _unused(factors)
        with _Linears(params, factors, uses, zeros):
            value = loss({**params, **rest}, data)
        if uses.elsewhere or any(len(uses.inputs[name]) < len(shapes) for name, shapes in outputs.items()):
            raise _UsedElsewhere
        return value, uses.inputs

    rest = {name: leaf for name, leaf in params.items() if name not in factors}
    zeros = {name: [params[name].new_zeros(shape) for shape in shapes] for name, shapes in outputs.items()}
    (gradient, derivatives), inputs = torch.func.grad(differentiated, argnums=(0, 1), has_aux=True)(rest, zeros)
    stepped = {name: leaf - lr * gradient[name] for name, leaf in rest.items()}
    more = {
        name: [
            *pairs,
            *((_as_rows(x), lr * _as_rows(d)) for x, d in zip(inputs[name], derivatives[name], strict=True)),
        ]
        for name, pairs in factors.items()
    }
    return {**params, **stepped}, more


def _as_rows(x: Tensor) -> Tensor:
    """Whatever leads the last axis as one axis, also if nothing does."""
    return x.reshape(-1, x.shape[-1])


def _favoured(
    loss: Loss[Params], params: Params, data: Data, num_steps: int, favour: Favour = favour_large
) -> dict[str, list[torch.Size]]:
    """The weights to factor, with the shapes of the outputs of the layers that use them; one forward pass finds out."""
    # The gradient of a complex weight has conjugate inputs as its factors, which the products above do not take.
    candidates: Factors = {
        name: []
        for name, leaf in params.items()
        if leaf.ndim == 2 and leaf.is_floating_point() and favour(1, leaf.shape)
    }
    if not candidates or num_steps == 0:
        return {}
    uses = _unused(candidates)
    with torch.no_grad(), _Linears(params, candidates, uses):
        loss(params, data)

    def cheaper(name: str) -> bool:
        rows = sum(x.shape[:-1].numel() for x in uses.inputs[name]) * num_steps
        return rows > 0 and favour(rows, params[name].shape)

    return {
        name: [torch.Size((*x.shape[:-1], params[name].shape[0])) for x in uses.inputs[name]]
        for name in candidates
        if name not in uses.elsewhere and cheaper(name)
    }
