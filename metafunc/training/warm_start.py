"""Warm starts: meta-parameters that begin where another learner's training ended."""

from pathlib import Path
from typing import Any

from torch import Tensor

from metafunc import tree
from metafunc.data.sampling import generator_for
from metafunc.training import load
from metafunc.types import M, MetaLearner, Tree


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

    Example:
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
