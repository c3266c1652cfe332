"""A trained learner that adapts to support points as they come, for a page that shows what it predicts of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import counted
from metafunc.data.sampling import generator_for
from metafunc.evaluation.metrics import mixture
from metafunc.evaluation.prediction import predict
from metafunc.execution.device import surroundings
from metafunc.results.explorer import MOST_STEPS, rounded, some_steps
from metafunc.results.figures.functions import MAX_PARTICLES
from metafunc.results.shown import Shown, noise_of
from metafunc.training import schema
from metafunc.training.build import own_steps, tasks_of
from metafunc.training.load import load
from metafunc.training.recorded_noise import fitted_noise
from metafunc.training.run import Run
from metafunc.training.schema import Count
from metafunc.types import Batch, Categorical, MetaLearner, Normal, Task

NUM_POINTS = 160
"""Inputs at which a function is predicted."""
SIDE = 32
"""Of the grid at which classes in the plane are predicted."""
MOST_POINTS = 100
FARTHEST = 1e6
"""Of a coordinate."""
NUM_EXAMPLES = 8
MARGIN = 0.15
"""Around what tasks look like, as a share of their range."""


class Asked(TypedDict):
    """A request: support points (x, y) of a function or (x, y, class) in the plane, and steps of adaptation."""

    points: list[list[float]]
    steps: Count


@dataclass(frozen=True)
class Live:
    """A learner and the part of the plane in which points may be set.

    Args:
        title: what the page is of.
        learner: the learner.
        meta: its meta-parameters.
        num_classes: 0 for a function.
        own: the steps of adaptation that it was trained with.
        steps: the numbers of steps that can be chosen.
        noise: by step, the noise scale that was fitted on validation tasks.
        x: the least and the largest first coordinate.
        y: the same of the second.
        examples: support points of new tasks.
    """

    title: str
    learner: MetaLearner[Any, Any]
    meta: Any
    num_classes: int
    own: int
    steps: tuple[int, ...]
    noise: tuple[float | None, ...]
    x: tuple[float, float]
    y: tuple[float, float]
    examples: tuple[list[list[float]], ...]

    def adapt(self, asked: Any) -> dict[str, Any]:
        """What the learner predicts once it has adapted to the points.

        Args:
            asked: a request, as JSON gave it.

        Returns:
            For a function "x" and "mean", "low" and "high" two standard deviations from it where the scale is known,
            and "particles" where there are several; for classes "side", and line by line from below the most probable
            "label" and its "probability". "ms" is the time that it took.

        Raises:
            ValueError: the request is malformed, or the prediction is not finite.
        """
        support, step = self._checked(asked)
        return _timed(lambda: self._classes(support, step) if self.num_classes else self._function(support, step))

    def draw(self, asked: Any) -> dict[str, Any]:
        """Functions drawn as wholes, given the points.

        Raises:
            ValueError: the request is malformed, or has no point, or another number of steps than in training; or the
                learner draws none.
        """
        support, step = self._checked(asked)
        if not self.draws or not asked["points"] or step != self.own:
            raise ValueError(f"Functions are drawn by some learners, given points, after {counted(self.own, 'steps')}.")
        return _timed(lambda: self._drawn(support))

    @property
    def draws(self) -> bool:
        """Whether the learner draws functions."""
        if self.num_classes:
            return False
        grid = self._line()
        return self._shown.draws_rows(predict_normal(self, _nowhere(1, 0), grid, 0))

    @property
    def settings(self) -> dict[str, Any]:
        """What the page has to know before the first point."""
        return {
            "kind": "classification" if self.num_classes else "regression",
            "numClasses": self.num_classes,
            "steps": list(self.steps),
            "ownSteps": self.own,
            "x": list(self.x),
            "y": list(self.y),
            "mostPoints": MOST_POINTS,
            "examples": list(self.examples),
            "draws": self.draws,
        }

    @property
    def _shown(self) -> Shown:
        noise = noise_of({"noise_scale": self.noise}, self.own)
        return Shown(self.learner, self.meta, self.own, noise, self.own)

    def _line(self) -> Tensor:
        return torch.linspace(*self.x, NUM_POINTS)[:, None]

    def _checked(self, asked: Any) -> tuple[Batch, int]:
        """The points as a support set, and the steps: none without a point."""
        schema.check(Asked, asked, "The request")
        points, width = asked["points"], 3 if self.num_classes else 2
        if asked["steps"] not in self.steps:
            raise ValueError(f"Steps of adaptation here are one of {', '.join(map(str, self.steps))}.")
        if len(points) > MOST_POINTS:
            raise ValueError(f"There are {len(points)} points, and {MOST_POINTS} at most can be set.")
        for point in points:
            if len(point) != width or any(abs(value) > FARTHEST for value in point):
                raise ValueError(
                    f"A point here has {width} numbers between {-FARTHEST:g} and {FARTHEST:g}, not {point}."
                )
            if self.num_classes and point[2] not in range(self.num_classes):
                raise ValueError(f"Classes are 0 to {self.num_classes - 1}, not {point[2]:g}.")
        if not points:
            return _nowhere(width - 1 if self.num_classes else 1, self.num_classes), 0
        rows = torch.tensor(points, dtype=torch.get_default_dtype())
        if self.num_classes:
            return Batch(rows[:, :2], rows[:, 2].long()), asked["steps"]
        return Batch(rows[:, :1], rows[:, 1:]), asked["steps"]

    def _function(self, support: Batch, step: int) -> dict[str, Any]:
        grid = self._line()
        predicted = predict_normal(self, support, grid, step)
        found = mixture(predicted)
        assert isinstance(found, Normal)
        mean = _finite(found.loc[0, :, 0])
        answer = {"x": rounded(grid[:, 0]), "mean": rounded(mean)}
        if not isinstance(predicted.scale, tuple):
            scale = _finite(torch.as_tensor(found.scale).expand_as(found.loc)[0, :, 0])
            answer |= {"low": rounded(mean - 2 * scale), "high": rounded(mean + 2 * scale)}
        if predicted.loc.shape[0] > 1 and isinstance(predicted.log_weight, tuple):
            answer |= {"particles": [rounded(_finite(one)) for one in predicted.loc[:MAX_PARTICLES, :, 0]]}
        return answer

    def _classes(self, support: Batch, step: int) -> dict[str, Any]:
        across, up = (_middles(*ends) for ends in (self.x, self.y))
        grid = torch.stack(torch.meshgrid(across, up, indexing="xy"), -1).reshape(-1, 2)
        found = mixture(predict(self.learner, self.meta, support, grid, num_steps=step))
        assert isinstance(found, Categorical)
        best = _finite(found.logits[0].softmax(-1)).max(-1)
        return {"side": SIDE, "label": best.indices.tolist(), "probability": rounded(best.values)}

    def _drawn(self, support: Batch) -> dict[str, Any]:
        grid = self._line()
        found = self._shown.functions(Task(support, Batch(grid, torch.zeros_like(grid))), seed=0)
        return {"x": rounded(found.x), "functions": [rounded(_finite(one)) for one in found.y]}


def predict_normal(live: Live, support: Batch, x: Tensor, step: int) -> Normal:
    """A regression's prediction, with the noise scale that was fitted for the step, if one was."""
    noise = noise_of({"noise_scale": live.noise}, step)
    found = predict(live.learner, live.meta, support, x, num_steps=step, noise_scale=noise)
    assert isinstance(found, Normal)
    return found


def live(run: str | Path, learner: MetaLearner[Any, Any] | None = None, *, imports: bool = False) -> Live:
    """A run's learner, ready to adapt: it has done so once, so that the first point does not wait.

    Args:
        run: the run's folder.
        learner: your own learner, for a run whose configuration does not name one of the table's.
        imports: allow importing the modules that the run's configuration names; do so for runs of your own only.

    Raises:
        ValueError: the run is no regression from one input to one output and no classification in the plane, it has no
            checkpoint, or it needs `learner` or `imports`.
        DataUnavailable: the family's data cannot be had.

    Examples:
        >>> import tempfile, metafunc
        >>> from metafunc.training.config import build
        >>> config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}}
        >>> folder = tempfile.mkdtemp()
        >>> _ = metafunc.fit(*build(config), steps=2, out=folder, recording=metafunc.Recording(config=config))
        >>> len(live(folder).adapt({"points": [[0.0, 1.0]], "steps": 1})["mean"])
        160
    """
    place = Run(Path(run))
    seen, config = place.env["data"], place.config
    num_classes = seen["num_outputs"] if seen["kind"] == "classification" else 0
    if "tasks" not in config or (seen["kind"], seen["input_shape"], 1 if num_classes else seen["num_outputs"]) not in (
        ("regression", [1], 1),
        ("classification", [2], 1),
    ):
        raise ValueError(
            f"{run} was trained for {seen['kind']} with inputs of the shape {tuple(seen['input_shape'])}: points can "
            "be set for functions with one input and one output, such as sinusoid, and for classes in the plane, such "
            "as circles."
        )
    loaded, meta = load(place.path, learner, imports=imports)
    tasks = tasks_of(config, imports=imports).test(generator_for(0, "figures", 0), NUM_EXAMPLES)
    own = own_steps(config) or 1
    with torch.no_grad():
        one = tree.at(loaded.prepare(meta, tasks, generator_for(0, "predict", 0), step=None, num_steps=0), 0)
        rows = len(tree.unstack(loaded.path(meta, one.support, max(own, MOST_STEPS)))) - 1
    second = tasks.support.x[..., 1] if num_classes else tasks.support.y
    others = tasks.query.x[..., 1] if num_classes else tasks.query.y
    found = Live(
        title=f"{config.get('algorithm', {}).get('name', 'A learner')} on {seen['name']}",
        learner=loaded,
        meta=meta,
        num_classes=num_classes,
        own=min(own, rows),
        steps=tuple(some_steps(rows)),
        noise=fitted_noise(place),
        x=_around(torch.cat([tasks.support.x[..., 0].flatten(), tasks.query.x[..., 0].flatten()]), 0.0),
        y=_around(torch.cat([second.flatten(), others.flatten()]), 0.0 if num_classes else MARGIN),
        examples=tuple(_points(task, num_classes) for task in tree.unstack(tasks)),
    )
    for number in (0, 1):
        found.adapt({"points": found.examples[0][:number], "steps": found.own})
    return found


def _points(task: Task, num_classes: int) -> list[list[float]]:
    """The support points of a task that count."""
    rows = task.support
    counted = slice(None) if isinstance(rows.mask, tuple) else rows.mask == 1
    y = rows.y[counted].reshape(-1, 1)
    return [[float(f"{v:.4g}") for v in row] for row in torch.cat([rows.x[counted], y.to(rows.x)], 1).tolist()]


def _around(values: Tensor, margin: float) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    extra = margin * (high - low) if high > low else 1.0
    return low - extra, high + extra


def _middles(low: float, high: float) -> Tensor:
    """The middles of a line's cells."""
    return low + (high - low) * (torch.arange(SIDE) + 0.5) / SIDE


def _nowhere(width: int, num_classes: int) -> Batch:
    """A support set that is not looked at: a learner that takes no step predicts what it does of any task."""
    return Batch(torch.zeros(1, width), torch.zeros(1, dtype=torch.long) if num_classes else torch.zeros(1, 1))


def _finite(values: Tensor) -> Tensor:
    if not bool(values.isfinite().all()):
        raise ValueError("the prediction is not finite after so many steps on these points.")
    return values


def _timed(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    begun = time.perf_counter()
    with surroundings(threads=1):
        answer = work()
    return {**answer, "ms": 1000 * (time.perf_counter() - begun)}
