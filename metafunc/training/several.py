"""What each of several trainings at once is: its seed, its learner, its start, its outer update and its folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import at_least, counted, in_place
from metafunc.execution.plan import Execution
from metafunc.training.settings import Outer, Recording
from metafunc.types import FastLoss, MetaLearner, Scalar, Task, TaskLoss, definition_of

Learner: TypeAlias = MetaLearner[Any, Any]
Folders: TypeAlias = Path | str | Sequence[Path | str] | None
Settings: TypeAlias = Mapping[str, float | int]
"""What differs between learners, by the names of their builder's arguments: numbers that a step computes with."""


@dataclass(frozen=True)
class Training:
    """One of several trainings.

    Args:
        seed: its seed.
        learner: what is trained.
        settings: what its learner was built with, where learners differ.
        start: the meta-parameters that it starts from; None: the learner's own draw.
        outer: what becomes of its meta-gradient.
        folder: its run's folder.
        config: what is recorded of it.
    """

    seed: int
    learner: Learner
    settings: Settings
    start: Any | None
    outer: Outer
    folder: Path | None
    config: Mapping[str, Any]


class Tuned(NamedTuple):
    """Meta-parameters beside the settings of their learner, as tensors without axes."""

    meta: Any
    settings: dict[str, Tensor]


def trainings(
    learner: Learner | Callable[..., Learner],
    seeds: Sequence[int],
    settings: Sequence[Settings] | None,
    start: Sequence[Any] | None,
    outer: Outer | Sequence[Outer],
    folders: Sequence[Path | None],
    config: Mapping[str, Any],
) -> list[Training]:
    """The trainings, one for each seed.

    Raises:
        ValueError: there are not as many of something as there are seeds, a setting is no number, or there are
            settings and no builder to give them to.
    """
    if settings is None:
        in_place("fit_many(learner, family, ...)", learner=(learner, MetaLearner))
    elif isinstance(learner, MetaLearner):
        raise ValueError(
            "fit_many with settings builds each learner: give it a builder in the place of the learner, such as "
            "functools.partial(algorithms.maml, model, likelihood)."
        )
    each = _each("settings", [{}] * len(seeds) if settings is None else settings, seeds)
    learners = [learner if isinstance(learner, MetaLearner) else learner(**_numbers(given)) for given in each]
    outers = _each("outer", [outer] * len(seeds) if isinstance(outer, Outer) else outer, seeds)
    starts = _each("start", [None] * len(seeds) if start is None else start, seeds)
    configs = [_config(config, seed, given) for seed, given in zip(seeds, each, strict=True)]
    return [Training(*parts) for parts in zip(seeds, learners, each, starts, outers, folders, configs, strict=True)]


def shared_loss(learner: Learner | Callable[..., Learner], settings: Settings) -> TaskLoss[Tuned]:
    """The task loss of all: of meta-parameters and, where learners differ, of the settings that they are built with.

    Args:
        learner: the learner, or its builder.
        settings: one learner's, by whose names all are built.
    """

    def built(tuned: Tuned) -> Learner:
        return learner if isinstance(learner, MetaLearner) else learner(**tree.detach(tuned.settings))

    def fast(tuned: Tuned, task: Task, /) -> Scalar:
        return built(tuned).task_loss(tuned.meta, task)

    def definition(tuned: Tuned, task: Task, /) -> Scalar:
        return definition_of(built(tuned).task_loss)(tuned.meta, task)

    one = learner if isinstance(learner, MetaLearner) else learner(**settings)
    return FastLoss(fast, definition) if isinstance(one.task_loss, FastLoss) else fast


def own_loss(loss: TaskLoss[Tuned], settings: Settings) -> TaskLoss[Any]:
    """The task loss of one of them."""

    def own(meta: Any, task: Task, /) -> Scalar:
        return loss(tuned(meta, settings), task)

    return own


def tuned(meta: Any, settings: Settings) -> Tuned:
    """Meta-parameters beside their learner's settings, which are of their type and on their device.

    Examples:
        >>> import torch
        >>> from metafunc.training import several
        >>> several.tuned({"w": torch.ones(2)}, {"inner_lr": 0.5}).settings
        {'inner_lr': tensor(0.5000)}
    """
    like = tree.leaves(meta)[0]
    made = {name: torch.tensor(number, dtype=like.dtype, device=like.device) for name, number in settings.items()}
    return Tuned(meta, made)


def folders_of(out: Folders, seeds: Sequence[int], *, resume: bool = False) -> list[Path | None]:
    """Each training's folder.

    Raises:
        ValueError: two would share one, or there is none to resume.

    Examples:
        >>> from metafunc.training import several
        >>> [str(folder) for folder in several.folders_of("runs", [0, 1])]
        ['runs/seed-0', 'runs/seed-1']
    """
    if out is None:
        if resume:
            raise ValueError("resume goes on with runs in folders: give out as well.")
        return [None] * len(seeds)
    if isinstance(out, str | Path):
        folders = [Path(out) / f"seed-{seed}" for seed in seeds]
    else:
        folders = [Path(folder) for folder in _each("out", out, seeds)]
    if len({*folders}) < len(folders):
        raise ValueError("Two trainings would share a folder: give each seed once, or a folder for each as out=[...].")
    return list(folders)


def check(seeds: Sequence[int], steps: int, num_tasks: int, recording: Recording, execution: Execution) -> None:
    """Refuse what several trainings at once cannot have.

    Raises:
        ValueError: there is something of it.
    """
    if isinstance(seeds, int | float | str):
        raise ValueError(f"seeds is {seeds!r}: give a seed for each training, such as seeds=range(2).")
    if not seeds:
        raise ValueError("seeds must name at least one seed.")
    at_least(0, steps=steps)
    at_least(1, num_tasks=num_tasks)
    if execution.shards > 1:
        raise ValueError(
            f"shards={execution.shards} cuts one training's tasks for several ranks, and fit_many is one process: "
            "leave it out, or call fit for each seed."
        )
    if recording.trackers:
        raise ValueError("Trackers follow one training: leave them out, or follow all of them by on_event.")


def _each(name: str, given: Sequence[Any], seeds: Sequence[int]) -> Sequence[Any]:
    if len(given) != len(seeds):
        raise ValueError(
            f"{name} has {counted(len(given), 'entries')} for {counted(len(seeds), 'seeds')}: give one for each."
        )
    return given


def _numbers(settings: Settings) -> Settings:
    for name, number in settings.items():
        if not isinstance(number, float):
            raise ValueError(
                f"settings: {name} must be a number with a point, such as a step size, not {number!r}: what changes "
                "the operations of a step cannot differ between trainings at once."
            )
    return settings


def _config(config: Mapping[str, Any], seed: int, settings: Settings) -> dict[str, Any]:
    """A configuration with a training's own seed and settings; empty where there is none."""
    if not config:
        return {}
    own = {"training": {**config.get("training", {}), "seed": seed}}
    algorithm = {"algorithm": {**config["algorithm"], **settings}} if settings and "algorithm" in config else {}
    return {**config, **algorithm, **own}
