"""From a run's folder back to the trained learner, without running any code that is stored or named there."""

import warnings
from pathlib import Path
from typing import Any, Literal

from metafunc.data.sampling import generator_for
from metafunc.training import checkpoint, hub
from metafunc.training.build import learner_of
from metafunc.training.checkpoint import Checkpoint, CheckpointError
from metafunc.training.run import Run
from metafunc.training.state import saved_state, stopped_early
from metafunc.types import M, MetaLearner

ANY_WAYS = ("protonet", "pcoc", "metaqda", "versa", "dkt")
"""The learners of the table whose parameters do not depend on how many classes there are."""
WOULD = f"Learners whose head is made of the support set take any classes: {', '.join(ANY_WAYS)}."


def load(
    run: str | Path,
    learner: MetaLearner[M, Any] | None = None,
    *,
    which: Literal["best", "last"] = "best",
    imports: bool = False,
    num_classes: int | None = None,
) -> tuple[MetaLearner[M, Any], M]:
    """A trained learner, rebuilt from its run's folder without running any code that is stored or named there.

    Args:
        run: the folder, or `hf://user/name@revision` on the Hugging Face hub (the newest without `@revision`).
        learner: your own learner, for a run whose configuration does not name one of the table's.
        which: the meta-parameters of the best validation, or the last ones; a run that was never validated has only
            the latter.
        imports: allow importing the modules that the configuration names; only do so for runs that you trust.
        num_classes: how many classes a classifier has to tell apart, if not as many as in its training.

    Returns:
        The learner and its meta-parameters, on the CPU. A damaged checkpoint is passed over for the newest whole one,
        with a `UserWarning`; there is one as well where that is not of the last step.

    Raises:
        ValueError: the folder is no run or has no whole checkpoint, its learner is not in the table, the checkpoint
            belongs to another learner, or its parameters are for another number of classes.
        FileError: one of its files is not what was recorded; the message names what differs. Or it lies on the hub, and
            holds pickles or names modules.
        DataUnavailable: it lies on the hub, and there is no such repository, or no way to it.

    Examples:
        >>> import tempfile, metafunc
        >>> from metafunc.training.config import train
        >>> config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "training": {"steps": 2}}
        >>> folder = tempfile.mkdtemp()
        >>> _ = train(config, out=folder)
        >>> learner, meta = metafunc.load(folder)
    """
    place = Run(hub.local(run, imports=imports))
    config, env = place.config, place.env
    if learner is None:
        if "algorithm" not in config:
            raise ValueError(f"{run} does not state which algorithm it was made with: pass it, load(run, learner=...).")
        seen = env["data"]
        outputs = seen["num_outputs"] if num_classes is None else num_classes
        shape, info = tuple(seen["input_shape"]), seen.get("info", {})
        learner = learner_of(config, shape, seen["kind"], outputs, imports=imports, info=info)
    saved = chosen(place, which)
    like = learner.init(generator_for(0, "init", 0))
    try:
        return learner, checkpoint.restore(like, saved.tensors, "meta")
    except CheckpointError as error:
        trained = env["data"]["num_outputs"]
        if num_classes in (None, trained):
            raise
        raise ValueError(
            f"{run} was trained to tell {trained} classes apart, and its network has an output for each, so that it "
            f"cannot tell {num_classes} apart: test it with --data.num-ways {trained}, or train it with "
            f"--data.num-ways {num_classes}. {WOULD}"
        ) from error


def chosen(place: Run, which: str) -> Checkpoint:
    """The checkpoint of a run that is taken: of the best validation or of the last step, with warnings about damage.

    Raises:
        ValueError: there is no whole one.
    """
    saved, damaged = checkpoint.newest(place.checkpoints)
    if saved is None:
        raise ValueError(f"{place.path} has no whole checkpoint to load. {' '.join(damaged)}".rstrip())
    state = saved_state(saved)
    best, steps = state["best"], state["plan"].get("steps")
    if steps is not None and saved.step < steps and not damaged and not stopped_early(saved):
        damaged.append(f"{place.path} is not finished, or its last checkpoint is gone: it was to take {steps:g} steps.")
    if which == "best" and best and best["step"] != saved.step:
        try:
            saved = checkpoint.read(checkpoint.at(place.checkpoints, best["step"]))
        except CheckpointError as error:
            damaged.append(str(error))
    if saved.record is None and "format" not in place.env:
        warnings.warn(f"{place.path} was recorded in format 1, without sums: it is taken as it is.", stacklevel=3)
    for message in damaged:
        warnings.warn(f"{message} The checkpoint of step {saved.step} is taken instead.", stacklevel=3)
    return saved
