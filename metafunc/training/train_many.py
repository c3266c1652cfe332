"""From a configuration to finished trainings with several seeds, which are taken at once."""

from collections.abc import Sequence
from functools import partial

from metafunc.training import warm_start
from metafunc.training.build import Config, Learner, build
from metafunc.training.config import Trained, asked_of_fit, begun, checked, start_of
from metafunc.training.events import Diverged
from metafunc.training.fit_many import OfSeed, fit_many
from metafunc.training.several import Folders, folders_of
from metafunc.types import TaskFamily


def train_many(
    config: Config,
    *,
    seeds: Sequence[int],
    out: Folders = None,
    resume: bool = False,
    overwrite: bool = False,
    imports: bool = False,
    on_event: OfSeed = lambda position, event: None,
    built: tuple[Learner, TaskFamily] | None = None,
) -> tuple[Trained | Diverged, ...]:
    """Meta-train what a configuration describes with several seeds at once: `train` with each, as `fit_many` does it.

    Args:
        config: as in `train`; its seed is of no matter.
        seeds: of the trainings.
        out: as in `fit_many`.
        resume: as in `train`, for each seed.
        overwrite: delete the runs first.
        imports: as in `train`.
        on_event: called with the position among the seeds and every `Event` of each.
        built: the learner and the tasks, where the caller has built them already.

    Raises:
        ValueError: as `train`; or the network or the algorithm is a user-supplied one, which may depend on the seed in
            more than where it starts.
        Interrupted: a signal asked to stop.

    Examples:
        >>> from metafunc.training.train_many import train_many
        >>> config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "training": {"steps": 3}}
        >>> [one.fit.step for one in train_many(config, seeds=[0, 1])]
        [3, 3]
    """
    if own := user_supplied(config):
        raise ValueError(f"{own} may depend on the seed, so that its seeds are not one batch: train each by itself.")
    settings = checked(config.get("training", {}))
    learner, family = built or build(config, imports=imports)
    folders = folders_of(out, seeds, resume=resume)
    starts = []
    for position, (seed, folder) in enumerate(zip(seeds, folders, strict=True)):
        said = partial(on_event, position)
        own_settings = {**settings, "seed": seed}
        start = None if begun(folder, resume) else start_of(learner, family, config, own_settings, imports, said)
        starts.append(warm_start.beginning(learner, family, seed) if start is None else start)
    asked = asked_of_fit(learner, family, config, overwrite=overwrite)
    found = fit_many(learner, family, seeds=seeds, start=starts, out=out, resume=resume, on_event=on_event, **asked)
    return tuple(one if isinstance(one, Diverged) else Trained(learner, family, one) for one in found)


def user_supplied(config: Config) -> str | None:
    """The name of a configuration's network or algorithm that is imported, if one is.

    Examples:
        >>> from metafunc.training.train_many import user_supplied
        >>> user_supplied({"algorithm": {"name": "maml"}, "model": {"name": "package.module:network"}})
        'package.module:network'
    """
    names = [config.get(section, {}).get("name", "") for section in ("model", "algorithm")]
    return next((name for name in names if ":" in name), None)
