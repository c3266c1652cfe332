"""Conformal intervals, or sets of classes, as columns beside a file's predictions."""

from typing import Any

import torch

from metafunc.checks import counted
from metafunc.evaluation.conformal import calibrate
from metafunc.evaluation.prediction import predict
from metafunc.results.file_task import FileTask
from metafunc.training.build import tasks_of
from metafunc.training.run import Run
from metafunc.types import Categorical, MetaLearner

APART = " | "
"""What stands between the classes of a set."""


def conformal_columns(
    run: Run,
    learner: MetaLearner[Any, Any],
    meta: Any,
    task: FileTask,
    *,
    level: float,
    num_steps: int | None,
    seed: int,
    imports: bool,
) -> tuple[dict[str, Any], str]:
    """Intervals in the units of the file, or sets of classes, that cover a share of rows of new tasks.

    Args:
        run: of the learner, whose validation tasks decide how wide they are.
        learner: the learner, as it predicts.
        meta: its meta-parameters.
        task: the new task.
        level: the share, in (0, 1).
        num_steps: steps of adaptation; None: as many as the learner was built with.
        seed: what the validation tasks are drawn with, and the noise of some learners.
        imports: allow importing the modules that the run's configuration names.

    Returns:
        TARGET_lower_LEVEL and TARGET_upper_LEVEL with the level in per cent, or `set_LEVEL`; and what a reader should
        know of them.

    Raises:
        ValueError: as `calibrate`; or there are too few validation tasks for the level, or other classes than in
            the training.
    """
    if not 0 < level < 1:
        raise ValueError(f"--conformal must lie between 0 and 1, not {level:g}: 0.9 covers nine of ten rows.")
    family = tasks_of(run.config, imports=imports)
    if family.kind == "classification" and len(task.names) != family.num_outputs:
        raise ValueError(
            f"--conformal needs validation tasks like the new one, and theirs have {family.num_outputs} classes, not "
            f"{len(task.names)}: leave it out, or train with as many."
        )
    if not run.same_data(family.info):
        raise ValueError(
            "--conformal needs the validation tasks of the training, and the data, or their division, are no longer "
            "those: put them back, or leave it out."
        )
    found = calibrate(learner, meta, family, level=level, num_steps=num_steps, seed=seed)
    number = found.num_validation_tasks
    if found.value == float("inf"):
        raise ValueError(
            f"--conformal {level:g} needs more validation tasks than {number}: of so many each covers one share in "
            f"{number + 1}. Ask for {int(100 * number / (number + 1)) / 100:g} at most, or keep more of them aside."
        )
    per_cent = f"{100 * level:g}"
    columns_are = "sets" if family.kind == "classification" else "intervals"
    note = (
        f"The {columns_are} hold {per_cent} % of rows of new tasks, on average over tasks: a guarantee whatever the "
        f"learner is, by {number} validation tasks, for new ones like them."
    )
    shots = run.config["tasks"].get("num_shots")
    if family.kind == "regression" and isinstance(shots, int) and len(task.support.y) != shots:
        note += f" Theirs have {counted(shots, 'support rows')}, and this one has {len(task.support.y)}."
    predicted = predict(learner, meta, task.support, task.x, num_steps=num_steps, seed=seed)
    if isinstance(predicted, Categorical):
        rows = found.classes(predicted).tolist()
        names = [APART.join(name for name, there in zip(task.names, row, strict=True) if there) for row in rows]
        return {f"set_{per_cent}": names}, note
    columns: dict[str, Any] = {}
    for end, bound in zip(("lower", "upper"), found.interval(predicted), strict=True):
        own = bound.double() * task.scale + task.mean
        values = own.exp() if task.logged else own
        if not bool(torch.isfinite(values).all()):
            raise ValueError("An end of an interval is beyond double precision: ask for a smaller --conformal.")
        columns |= {f"{name}_{end}_{per_cent}": values[:, i].tolist() for i, name in enumerate(task.names)}
    return columns, note
