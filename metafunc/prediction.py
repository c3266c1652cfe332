"""A trained learner put to use: adapt it to a new task and predict, with the spread of every prediction.

`predict` is the function; `predict_files` reads the task from files and writes a row for each row of the query.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metafunc import edge, experiment, metrics, own_task, policy, tree
from metafunc.algorithms import ALGORITHMS, CONTROL
from metafunc.data import own
from metafunc.data.source import at_least, generator_for
from metafunc.own_task import OwnTask
from metafunc.run import Run
from metafunc.types import Batch, Categorical, M, MetaLearner, Normal, P, Predictive, Task

BLOCK = 1024
"""Query rows that are predicted at a time, unless the network looks at all of them together."""


def predict(
    learner: MetaLearner[M, P],
    meta: M,
    support: Batch,
    x: Tensor,
    *,
    num_steps: int | None = None,
    noise_scale: float | None = None,
    seed: int = 0,
) -> Predictive:
    """Adapt a trained learner to one new task, and predict at new inputs.

    Args:
        learner: what was trained.
        meta: its meta-parameters.
        support: the examples of the task, one axis of rows.
        x: the inputs to predict at (n, ...).
        num_steps: steps of adaptation; None: as many as the learner was built with. A learner without inner steps
            takes its one step for any number above 0.
        noise_scale: the observations' standard deviation, for a learner without a noise model.
        seed: of the noise that some learners draw.

    Returns:
        The distribution of the observations, particles first; `metafunc.metrics.mixture` makes one of them.

    Raises:
        ValueError: `num_steps` is negative, or the rows of `x` are not shaped like those of the support set.

    Example:
        >>> import torch, metafunc
        >>> from metafunc import algorithms, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = metafunc.Batch(torch.zeros(5, 1), torch.ones(5, 1))
        >>> metafunc.predict(learner, meta, support, torch.zeros(3, 1), num_steps=2).loc.shape
        torch.Size([1, 3, 1])
    """
    if x.shape[1:] != support.x.shape[1:]:
        given, needed = tuple(x.shape[1:]), tuple(support.x.shape[1:])
        raise ValueError(f"A row of x has the shape {given}, one of the support set {needed}: they have to agree.")
    query = Batch(x, support.y.new_zeros(len(x), *support.y.shape[1:]))
    tasks = tree.map(lambda leaf: leaf[None], Task(support, query))
    with torch.no_grad():
        prepared = learner.prepare(meta, tasks, generator_for(seed, "predict", 0), step=None, num_steps=0)
        examples = tree.map(lambda leaf: leaf[0], prepared.support)
        if num_steps is None:
            params = learner.adapt(meta, examples)
        else:
            at_least(0, num_steps=num_steps)
            params = tree.map(lambda leaf: leaf[-1], learner.path(meta, examples, num_steps))
        blocks = [x] if learner.normalisation == "transductive" else torch.split(x, BLOCK)
        return _joined([_with_noise(learner.predict(params, block), noise_scale) for block in blocks])


def own_steps(config: Mapping[str, Any]) -> int | None:
    """How many steps the learner of a run's configuration takes; None if only its own builder knows.

    Example:
        >>> own_steps({"algorithm": {"name": "maml"}}), own_steps({"algorithm": {"name": "maml", "num_steps": 5}})
        (1, 5)
    """
    algorithm = config.get("algorithm", {})
    row = {**ALGORITHMS, **CONTROL}.get(algorithm.get("name"))
    usual = row.hyperparameters["num_steps"].default if row and row.inner_steps else 1 if row else None
    steps: int | None = algorithm.get("num_steps", usual)
    return steps


def fitted_noise(run: Run) -> tuple[float | None, ...]:
    """The noise scales that a run's meta-test fitted on validation tasks, by step; empty if there are none."""
    if not run.meta_test.exists():
        return ()
    by_step = json.loads(run.meta_test.read_text())["meta_test"]["by_step"]
    return tuple(row["noise_scale"] for row in by_step) if "noise_scale" in by_step[0] else ()


@dataclass(frozen=True)
class Predictions:
    """What was written.

    Args:
        out: the file.
        columns: those that were added to the query's own.
        num_rows: query rows.
        num_steps: steps of adaptation; None if only the learner knows.
        scores: mse (in the squared unit of the target) or accuracy, and nll, where the query says what is right.
        notes: what the reader should know, such as why there is no spread.
    """

    out: Path
    columns: tuple[str, ...]
    num_rows: int
    num_steps: int | None
    scores: dict[str, float]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON can say it."""
        return {
            "out": str(self.out),
            "columns": list(self.columns),
            "num_rows": self.num_rows,
            "num_steps": self.num_steps,
            "scores": self.scores,
            "notes": list(self.notes),
        }


def predict_files(
    run: str | Path,
    *,
    support: str | Path,
    query: str | Path,
    out: str | Path,
    target: Sequence[str] = (),
    num_steps: int | None = None,
    learner: MetaLearner[Any, Any] | None = None,
    seed: int = 0,
    overwrite: bool = False,
    imports: bool = False,
) -> Predictions:
    """Adapt a run's learner to a task of one's own, and write what it predicts.

    Args:
        run: the run's folder.
        support: the examples. For regression a CSV or parquet file; for classification a folder with a folder of images
            for each class, or a table.
        query: what to predict: a table with the same inputs; a folder of images, or such a table. If it says what is
            right (target columns, class folders), predictions are scored.
        out: a CSV or parquet file.
        target: the columns to predict; by default those that the run was trained on, or `y`, or the last ones.
        num_steps: steps of adaptation; by default as many as the learner was built with.
        learner: your own learner, for a run whose configuration does not name one of the table's.
        seed: of the noise that some learners draw.
        overwrite: whether `out` may exist.
        imports: allow importing the modules that the run's configuration names; do so for runs of your own only.

    Returns:
        What was written. For regression TARGET_predicted and, where the noise is known, TARGET_std; for classes
        `predicted`, `entropy` in nats, and the probability of each class as p_CLASS.

    Raises:
        DataUnavailable: a file is not there.
        ValueError: `out` exists, or a file does not fit the run; the message names file, row and column.
    """
    file = Path(out).expanduser()
    own.table_suffix(file)
    if file.exists() and not overwrite:
        raise ValueError(f"{file} exists: choose another name, or allow overwriting it.")
    place = Run(Path(run))
    learner, meta = experiment.load(place.path, learner, imports=imports)
    paths = Path(support).expanduser(), Path(query).expanduser()
    task = own_task.read(place, *paths, target)
    steps = own_steps(place.config) if num_steps is None else num_steps
    noise = dict(enumerate(fitted_noise(place))).get(-1 if steps is None else steps)
    with edge.surroundings(threads=policy.threads_for(meta, Task(task.support, Batch(task.x, task.x)))):
        predicted = predict(learner, meta, task.support, task.x, num_steps=num_steps, noise_scale=noise, seed=seed)
    predicted = task.in_own_units(predicted)
    added, notes = _columns(predicted, task.names, steps)
    if taken := [name for name in added if name in task.frame.columns]:
        raise ValueError(f"{query} has a column {taken[0]!r}, where the predictions would go: rename it.")
    own.write_table(task.frame.assign(**added), file)
    if learner.normalisation == "transductive":
        notes.append("The network normalises by the query rows together: each prediction depends on the other rows.")
    return Predictions(file, tuple(added), len(task.x), steps, _scores(predicted, task), tuple(notes))


def _with_noise(predicted: Predictive, noise_scale: float | None) -> Predictive:
    if isinstance(predicted, Categorical):
        return predicted
    if not isinstance(predicted.scale, tuple):
        return Normal(predicted.loc, predicted.scale.expand_as(predicted.loc))
    return predicted if noise_scale is None else Normal(predicted.loc, torch.full_like(predicted.loc, noise_scale))


def _joined(blocks: list[Predictive]) -> Predictive:
    return tree.map(lambda *leaves: torch.cat(leaves, 1), blocks[0], *blocks[1:])


def _columns(predicted: Predictive, names: Sequence[str], steps: int | None) -> tuple[dict[str, Any], list[str]]:
    """What is added to the query's columns, and what there is to say about it."""
    whole = metrics.mixture(predicted)
    if isinstance(whole, Categorical):
        probabilities = whole.logits[0].softmax(-1)
        entropy = torch.special.entr(probabilities).sum(-1)
        columns = {"predicted": [names[i] for i in probabilities.argmax(-1).tolist()], "entropy": entropy.tolist()}
        return columns | {f"p_{name}": probabilities[:, i].tolist() for i, name in enumerate(names)}, []
    columns = {f"{name}_predicted": whole.loc[0, :, i].tolist() for i, name in enumerate(names)}
    if not isinstance(whole.scale, tuple):
        deviation = whole.scale.expand_as(whole.loc)
        return columns | {f"{name}_std": deviation[0, :, i].tolist() for i, name in enumerate(names)}, []
    after = "" if steps is None else f" after {steps} steps"
    return columns, [
        f"No spread: the learner has no noise model, and the run's meta-test fitted no noise scale{after}."
    ]


def _scores(predicted: Predictive, task: OwnTask) -> dict[str, float]:
    """How good the predictions are where it is known what is right; empty if nothing is."""
    if isinstance(predicted, Categorical):
        known = task.truth >= 0
        mask, y = known.double(), task.truth.clamp(min=0)
        scores = {"accuracy": metrics.accuracy(predicted, y, mask), "nll": metrics.nll(predicted, y, mask)}
    else:
        known = task.truth.isfinite().all(-1)
        mask, y = known.double(), task.truth.nan_to_num()
        scores = {"mse": metrics.mse(predicted, y, mask)}
        if not isinstance(predicted.scale, tuple):
            scores["nll"] = metrics.nll(predicted, y, mask)
    return {name: score.item() for name, score in scores.items()} if bool(known.any()) else {}
