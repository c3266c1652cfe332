"""What to try next in a box, for a user-supplied task: a run's learner, and botorch to search with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metafunc.checks import at_least, no_such
from metafunc.data import files
from metafunc.data.encoding import Encoding
from metafunc.evaluation.metrics.quantiles import quantile
from metafunc.evaluation.metrics.scores import mixture
from metafunc.evaluation.prediction import predict
from metafunc.results import file_task
from metafunc.results.optimise import Trained
from metafunc.training.record import Columns
from metafunc.training.run import Run
from metafunc.training.search_space import Range
from metafunc.types import Batch, Categorical, Normal

if TYPE_CHECKING:
    from metafunc.botorch.box import Axis

INTERVAL = (0.05, 0.95)
"""The quantiles between which nine in ten observations are expected."""


def suggest_in_box(
    found: Trained,
    *,
    box: Mapping[str, Range],
    evaluated: str | Path | None = None,
    acquisition: str = "ei",
    minimise: bool = False,
    target: Sequence[str] = (),
    top: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """Where in a box to evaluate next, given what has been evaluated. It needs `pip install 'metafunc[botorch]'`.

    Args:
        found: the run, which was trained on a table of numbers with one target.
        box: by input column, its range in the unit of the table.
        evaluated: a table of what has been evaluated, with the target; it may have no rows. None: nothing has been.
        acquisition: of `ACQUISITIONS`.
        minimise: whether small targets are good.
        target: the column; by default that of the training.
        top: how many points; each is chosen as if those before it had turned out as predicted, and apart from them.
        seed: of all that is random.

    Returns:
        {"suggestions": [{"inputs", "mean", "sd", "q05", "q95"}], ...} in the units of the table, or where the run has
        learned logarithms of the target, with "mean" and "sd" of these and quantiles of the target itself.

    Raises:
        ValueError: the run or the file does not fit, or the box has an unknown column, or lacks one.
        ModuleNotFoundError: botorch is not installed.
    """
    at_least(1, top=top)
    run = Run(found.path)
    axes = _axes(run, box)
    task = _known(run, evaluated, target)
    from metafunc.botorch import propose

    method = found.method
    points = propose(
        method.learner,
        method.meta,
        task.support,
        axes,
        acquisition=acquisition,
        sign=-1 if minimise else 1,
        num_points=top,
        noise_scale=method.noise_scale,
        seed=seed,
    )
    x = points.inputs.to(task.support.x.dtype)
    support = task.support if len(task.support.x) else _no_row(x)
    predicted = predict(method.learner, method.meta, support, x, noise_scale=method.noise_scale, seed=seed)
    here = task.in_units_of_file(predicted)
    if isinstance(here, Categorical):
        raise ValueError("Classes have no largest value: take a run of a regression.")
    return {
        "run": str(found.path),
        "acquisition": acquisition,
        "minimise": minimise,
        "target": task.names[0],
        "logarithm": task.logged,
        "evaluated": len(task.support.x),
        "box": {name: side.to_json() for name, side in box.items()},
        "suggestions": _suggestions(_columns(run)["inputs"], points.values, here, logged=task.logged),
    }


def _columns(run: Run) -> Columns:
    """The columns of a run whose inputs are numbers, and which has one target.

    Raises:
        ValueError: it has none.
    """
    columns = run.columns
    if columns is None or "classes" in columns:
        what = run.config["tasks"]["name"]
        raise ValueError(f"{run.path} was trained on {what}, and a box is of the columns of a table of a regression.")
    if len(columns["targets"]) != 1:
        named = ", ".join(columns["targets"])
        raise ValueError(f"The run predicts {named}, and one target has to be the best: train on one.")
    coded = [code["name"] for code in columns.get("encoding", []) if code["kind"] != "number" or code["missing"]]
    if coded:
        raise ValueError(
            f"Column {coded[0]!r} of {run.path} has dates, categories or empty cells, and a box is of numbers: search "
            "a table of candidates with --pool."
        )
    return columns


def _axes(run: Run, box: Mapping[str, Range]) -> "list[Axis]":
    """The sides of the box in the order of the run's inputs."""
    columns = _columns(run)
    names = columns["inputs"]
    for name in box:
        if name not in names:
            raise ValueError(no_such("input column", name, names))
    if lacking := [name for name in names if name not in box]:
        raise ValueError(f"The box has no range for the input {lacking[0]!r}: give one, such as {lacking[0]}:0..1.")
    from metafunc.botorch import Axis

    each = zip(names, columns["input_mean"], columns["input_scale"], strict=True)
    return [Axis(box[name].low, box[name].high, box[name].log, mean, scale) for name, mean, scale in each]


def _known(run: Run, evaluated: str | Path | None, target: Sequence[str]) -> file_task.FileTask:
    """What has been evaluated, as the learner takes it."""
    if evaluated is not None and not _is_empty(Path(evaluated)):
        return file_task.read(run, Path(evaluated), Path(evaluated), target)
    import pandas as pd

    columns = _columns(run)
    if target and [*target] != columns["targets"]:
        raise ValueError(f"The target of the run is {columns['targets'][0]!r}, and not {', '.join(target)}.")
    inputs = torch.zeros(0, len(Encoding.of_run(columns, columns["inputs"]).features))
    mean, scale = (torch.tensor(each).double() for each in (columns["target_mean"], columns["target_scale"]))
    nothing, frame = torch.zeros(0, 1), pd.DataFrame(columns=[*columns["inputs"], *columns["targets"]])
    logged = columns.get("log_targets", False)
    return file_task.FileTask(
        Batch(inputs, nothing), inputs, nothing.double(), columns["targets"], frame, mean, scale, logged
    )


def _is_empty(file: Path) -> bool:
    """Whether a file has no row: nothing at all, or a header alone."""
    if file.is_file() and not file.stat().st_size:
        return True
    try:
        files.read_table(file)
    except files.NoRows:
        return True
    return False


def _no_row(x: Tensor) -> Batch:
    """A support set of a row that does not count: learners adapt to rows of which none counts, and not to no rows."""
    return Batch(torch.zeros_like(x[:1]), x.new_zeros(1, 1), x.new_zeros(1))


def _suggestions(names: Sequence[str], values: Tensor, here: Normal, *, logged: bool) -> list[dict[str, Any]]:
    whole = mixture(here)
    assert isinstance(whole, Normal)
    spread = not isinstance(here.scale, tuple)
    found = []
    for row, point in enumerate(values.tolist()):
        shown: dict[str, Any] = {"inputs": dict(zip(names, point, strict=True)), "mean": float(whole.loc[0, row, 0])}
        shown["sd"] = float(whole.scale.expand_as(whole.loc)[0, row, 0]) if spread else None
        for level in INTERVAL:
            end = quantile(here, level)[row, 0] if spread else None
            shown[f"q{100 * level:02.0f}"] = None if end is None else float(end.exp() if logged else end)
        found.append(shown)
    return found
