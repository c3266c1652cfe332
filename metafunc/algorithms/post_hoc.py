"""What can be done to a trained learner of the table, by name: `maml+laplace` is MAML, tested with `laplace`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from metafunc.bayes.linearised import laplace
from metafunc.bayes.post_hoc import PostHoc
from metafunc.bayes.task_units import InTaskUnits, in_task_units
from metafunc.bayes.tempered import tempered
from metafunc.checks import look_up
from metafunc.nn.likelihood import Likelihood
from metafunc.types import MetaLearner, Model, Task

Learner: TypeAlias = MetaLearner[Any, Any]


def _of_one_network(
    build: Callable[..., PostHoc[Any, Any]], learner: Learner, networks: Sequence[Model], likelihood: Likelihood
) -> PostHoc[Any, Any]:
    if len(networks) != 1:
        raise ValueError(
            f"laplace needs a learner of one network, such as maml, anil or pretrain; this one has {len(networks)}."
        )
    return build(learner, networks[0], likelihood)


def _tempered(learner: Learner, networks: Sequence[Model], likelihood: Likelihood) -> PostHoc[Any, Any]:
    return tempered(learner)


TRANSFORMS: Mapping[str, Callable[[Learner, Sequence[Model], Likelihood], PostHoc[Any, Any]]] = MappingProxyType(
    {
        "laplace": partial(_of_one_network, laplace),
        "laplace_all": partial(_of_one_network, partial(laplace, layers="all")),
        "tempered": _tempered,
    }
)
"""By name, from (learner, its networks, its likelihood) to the learner that predicts in another way."""


def transformed(learner: Learner, names: Sequence[str], networks: Sequence[Model], likelihood: Likelihood) -> Learner:
    """A learner after the transforms of these names, in their order.

    Raises:
        ValueError: if there is no transform of a name, or it does not take this learner.

    Examples:
        >>> from metafunc import algorithms, likelihood, nn
        >>> from metafunc.algorithms.post_hoc import transformed
        >>> model, observed = nn.mlp((1,), 1), likelihood.gaussian()
        >>> learner = transformed(algorithms.maml(model, observed), ["laplace", "tempered"], [model], observed)
        >>> list(learner.ranges)
        ['prior_precision', 'noise_scale', 'temperature']
    """
    if isinstance(learner, InTaskUnits):
        return in_task_units(transformed(learner.plain, names, networks, likelihood), **asdict(learner.pooled))
    for name in names:
        learner = look_up(TRANSFORMS, name, "transform")(learner, networks, likelihood)
    return learner


def with_units(learner: Learner, info: Mapping[str, Any]) -> Learner:
    """The learner that sees each task in units of its own, where the `info` of a task family asks for it.

    Examples:
        >>> from metafunc import algorithms, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
        >>> asked = {"task_scale": {"scale": [1.0], "rows": [3.0]}}
        >>> with_units(learner, {}).standardises, with_units(learner, asked).standardises
        (False, True)
    """
    return in_task_units(learner, **info["task_scale"]) if "task_scale" in info else learner


def as_seen(learner: Learner, tasks: Task) -> Task:
    """Stacked tasks as the learner sees them: in units of their own, or as they are."""
    return learner.pooled.rescaled(tasks) if isinstance(learner, InTaskUnits) else tasks
