"""Warm starts: meta-parameters that begin where another learner's training ended, or with the noise of their tasks."""

from math import log
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.algorithms.post_hoc import as_seen
from metafunc.data.sampling import generator_for
from metafunc.evaluation.noise_of_tasks import noises_of
from metafunc.training import load
from metafunc.types import M, MetaLearner, Task, Tree

NOISE = "log_scale"
"""Where `alpaca`, `mixed`, `dkt`, `empirical_gp` and `versa` have the logarithm of the noise scale that they learn."""
NUM_TASKS = 50
"""Training tasks whose noise a training's start is taken from."""
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


def with_noise_of(meta: M, tasks: Task, learner: MetaLearner[M, Any] | None = None) -> M:
    r"""Meta-parameters whose noise scale starts at that of a task's targets, rather than at a number.

    A start far below the noise takes some thousand steps to leave, in which all else that is learned fits to noise; one
    far above it hides what there is to learn. Support and query of all tasks together are taken for lines and for
    curves, `evaluation.noise_of_tasks`, whose likelier noise is within a factor of 1.5 or 2 of the true one. A learner
    that cannot follow curves needs what they leave of a line as well, so that its own loss decides where it is given.

    Args:
        meta: the learner's own, of one whose likelihood has no noise scale of its own: it would be written over.
        tasks: stacked training tasks, a few dozen; `family.train(generator, 50)` draws them.
        learner: the learner; None: the likelier noise is taken.

    Returns:
        Meta-parameters for `metafunc.fit(..., start=...)`.

    Raises:
        ValueError: if the learner has no such noise scale, or the tasks are no regression.

    Examples:
        >>> import torch
        >>> from metafunc import algorithms, data, nn
        >>> from metafunc.training import warm_start
        >>> learner = algorithms.build("alpaca", nn.mlp, (1,), "regression", 1)
        >>> tasks = data.trend(noise=0.5).train(torch.Generator().manual_seed(0), 20)
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> meta.log_scale.exp() < 0.4 < warm_start.with_noise_of(meta, tasks).log_scale.exp()
        tensor(True)
    """
    if NOISE not in tree.by_path(meta) or not tasks.support.y.is_floating_point():
        raise ValueError(
            f"A noise scale starts from tasks of regression, for meta-parameters with a leaf {NOISE!r}, such as those "
            "of alpaca, mixed, dkt and empirical_gp. Give other learners theirs, where they have one, by noise_scale."
        )
    own = tree.by_path(meta)[NOISE]

    def begun(scale: float) -> M:
        return tree.partition(meta, lambda path: path == NOISE)[1]({NOISE: own.new_full(own.shape, log(scale))})

    seen = tasks if learner is None else as_seen(learner, tasks)
    starts = [begun(each.scale) for each in noises_of(seen) if each.scale > LEAST]
    if learner is None or not starts:
        return starts[0] if starts else meta
    tasks = learner.prepare(meta, tasks, generator_for(0, "noise", 0), step=0, num_steps=1)
    with torch.no_grad():
        losses = [learner.meta_loss(start, tasks).item() for start in starts]
    return min(zip(losses, starts, strict=True), key=lambda each: each[0])[1]


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
