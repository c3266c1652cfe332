"""Warm starts: meta-parameters that begin where another learner's training ended, or with the noise of their tasks."""

from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.algorithms.post_hoc import as_seen
from metafunc.data.sampling import generator_for
from metafunc.evaluation.noise_of_tasks import noises_of
from metafunc.evaluation.scoring import score
from metafunc.training import load
from metafunc.types import M, MetaLearner, Task, TaskFamily, Tree

NUM_TASKS = 50
"""Training tasks whose noise a training's start is taken from."""
BEGIN = 100
"""Training tasks that a learner begins with, where it has a way to."""
LEAST = 1e-6
"""Targets whose noise is less, in units of y, do not vary: a learned noise scale stays where it was."""


def transfer(learner: MetaLearner[M, Any], meta: M, other: MetaLearner[Any, Any], trained: Tree) -> M:
    """Meta-parameters with what another learner's have to give.

    Learners whose meta-parameters agree in names and shapes give all. Otherwise the parameters of the network are
    taken, or their means where they are random, each learner stating by its `network_prefix` where it has them;
    whatever else the learner has, such as scales and step sizes, stays as it is.

    Args:
        learner: the one to start.
        meta: its own meta-parameters, such as its initial ones.
        other: the learner whose training is taken over.
        trained: the other's meta-parameters.

    Returns:
        Meta-parameters of `learner`.

    Raises:
        ValueError: if the two networks differ in a parameter's name or shape.

    Examples:
        >>> import torch
        >>> from metafunc import algorithms, likelihood, nn
        >>> from metafunc.training import warm_start
        >>> parts = nn.mlp((1,), 1), likelihood.gaussian()
        >>> maml, platipus = algorithms.maml(*parts), algorithms.platipus(*parts)
        >>> trained = maml.init(torch.Generator().manual_seed(1))
        >>> begun = warm_start.transfer(platipus, platipus.init(torch.Generator().manual_seed(0)), maml, trained)
        >>> torch.equal(begun.prior.mean["head.weight"], trained["head.weight"])
        True
    """
    if _shapes(tree.by_path(meta)) == _shapes(tree.by_path(trained)):
        return tree.partition(meta, lambda _: True)[1](tree.by_path(trained))
    own, given = _network(meta, learner.network_prefix), _network(trained, other.network_prefix)
    _check(_shapes(own), _shapes(given))
    taken = {learner.network_prefix + name: given[name] for name in own}
    return tree.partition(meta, lambda path: path in taken)[1](taken)


def from_run(learner: MetaLearner[M, Any], run: str | Path, *, seed: int = 0, imports: bool = False) -> M:
    """A learner's initial meta-parameters for a seed, with what a run's best ones have to give.

    Args:
        learner: the one to start.
        run: the folder of a finished or interrupted run.
        seed: decides what the run does not give.
        imports: allow importing the modules that the run's configuration names.

    Returns:
        Meta-parameters for `metafunc.fit(..., start=...)`.

    Raises:
        ValueError: the folder is no run or has no whole checkpoint, or its network is another one.
    """
    loaded: tuple[MetaLearner[Any, Any], Any] = load.load(run, imports=imports)
    try:
        return transfer(learner, learner.init(generator_for(seed, "init", 0)), *loaded)
    except ValueError as error:
        raise ValueError(f"{run} is no start for this learner. {error}") from error


def beginning(learner: MetaLearner[M, Any], family: TaskFamily, seed: int) -> M:
    """The meta-parameters that a training starts from where it is given none: the learner's own for a seed.

    A learner that has a way to begin takes it, on some of the training tasks.

    Args:
        learner: the learner.
        family: whose training tasks it begins with.
        seed: of the initial draw, and of the tasks.

    Examples:
        >>> from metafunc import algorithms, data, nn
        >>> from metafunc.training import warm_start
        >>> learner = algorithms.build("empirical_gp", nn.mlp, (1,), "regression", 1, start="em")
        >>> warm_start.beginning(learner, data.trend(), 0).mean.abs().max() > 0.1  # at the kernel's own it is 0
        tensor(True)
    """
    meta = learner.init(generator_for(seed, "init", 0))
    return meta if learner.begin is None else learner.begin(meta, family.train(generator_for(seed, "begin", 0), BEGIN))


def with_noise_of(learner: MetaLearner[M, Any], meta: M, tasks: Task) -> M:
    r"""Meta-parameters whose noise scale starts at that of a task's targets, rather than at a number.

    A start far below the noise takes some thousand steps to leave, in which all else that is learned fits to noise; one
    far above it hides what there is to learn. Support and query of all tasks together are taken for lines and for
    curves, `evaluation.noise_of_tasks`, whose likelier noise is within a factor of 1.5 or 2 of the true one. A learner
    that cannot follow curves needs what they leave of a line as well, so that its own predictions decide, by their NLL
    on the tasks' query rows; where a start makes them diverge, as it may the steps of a learner whose steps are longer
    the less noise there is, that start is left out.

    Args:
        learner: one that learns a noise scale, which its `noise_leaf` names.
        meta: its meta-parameters, such as its initial ones.
        tasks: stacked training tasks, a few dozen; `family.train(generator, 50)` draws them.

    Returns:
        Meta-parameters for `metafunc.fit(..., start=...)`.

    Raises:
        ValueError: if the learner learns no noise scale, or the tasks are no regression.

    Examples:
        >>> import torch
        >>> from metafunc import algorithms, data, nn
        >>> from metafunc.training import warm_start
        >>> learner = algorithms.build("alpaca", nn.mlp, (1,), "regression", 1)
        >>> tasks = data.trend(noise=0.5).train(torch.Generator().manual_seed(0), 20)
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> meta.log_scale.exp() < 0.4 < warm_start.with_noise_of(learner, meta, tasks).log_scale.exp()
        tensor(True)
    """
    if learner.noise_leaf is None or not tasks.support.y.is_floating_point():
        raise ValueError(
            "A noise scale starts from tasks of regression, for a learner that learns one, such as alpaca, mixed, dkt, "
            "pacoh_gp, bmaml, and platipus if its noise is learned. This one has none: leave out noise_from='data'."
        )
    name, at_scale = learner.noise_leaf
    own = tree.by_path(meta)[name]

    def begun(scale: float) -> M:
        return tree.partition(meta, lambda path: path == name)[1]({name: torch.full_like(own, at_scale(scale))})

    starts = [begun(each.scale) for each in noises_of(as_seen(learner, tasks)) if each.scale > LEAST]
    if not starts:
        return meta
    prepared = learner.prepare(meta, tasks, generator_for(0, "noise", 0), step=None, num_steps=0)
    surprises = [_surprise(learner, start, prepared) for start in starts]
    found = [(nll, start) for nll, start in zip(surprises, starts, strict=True) if isfinite(nll)]
    return min(found, key=lambda each: each[0])[1] if found else meta


def _surprise(learner: MetaLearner[M, Any], meta: M, tasks: Task) -> float:
    """The mean NLL of the query rows of prepared tasks, in nats."""

    def of_task(task: Task) -> Tensor:
        return score(learner.predict(learner.adapt(meta, task.support), task.query.x), task.query)["nll"]

    with torch.no_grad():
        return float(torch.vmap(of_task)(tasks).mean())


def _network(meta: Tree, prefix: str) -> dict[str, Tensor]:
    leaves = tree.by_path(meta)
    return {path.removeprefix(prefix): leaf for path, leaf in leaves.items() if path.startswith(prefix)}


def _shapes(leaves: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in leaves.items()}


def _check(own: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]]) -> None:
    for name in [*own, *given]:
        if own.get(name) != given.get(name):
            sizes = (str(side.get(name, "absent")) for side in (given, own))
            raise ValueError(
                "Its network differs from the one that is to be trained: {name} is {} there and {} here. Give both the "
                "same network, by the same --model settings.".format(*sizes, name=name)
            )
