"""A learner as pictures show it: what it predicts of a task, whole functions that it draws, and the exact answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch

from metafunc import tree
from metafunc.data.sampling import generator_for
from metafunc.evaluation import metrics
from metafunc.evaluation.autoregressive import draw_functions, pooled
from metafunc.evaluation.prediction import predict
from metafunc.results.figures.several import Draws
from metafunc.training.build import tasks_of
from metafunc.types import Batch, MetaLearner, Normal, Task

NUM_DRAWS = 3
NUM_PLACES = 40
"""Inputs at which a function is drawn: each costs an adaptation."""
NUM_POINTS = 200
"""Inputs at which its mean is shown."""
MANY_STEPS = 10
"""Of adaptation: a learner that takes more draws no functions, which would take it minutes."""


@dataclass(frozen=True)
class Shown:
    """What is needed of a learner to show its predictions.

    Args:
        learner: the learner.
        meta: its meta-parameters.
        row: the row of its path that it is judged by.
        noise_scale: what was fitted on validation tasks for that row; None where nothing was, or where that is no
            number.
        steps: of adaptation that the learner was built with.
    """

    learner: MetaLearner[Any, Any]
    meta: Any
    row: int = 1
    noise_scale: float | None = None
    steps: int = 1

    def predict(self, task: Task) -> Normal:
        """The prediction at a prepared task's query inputs, given its support set."""
        with torch.no_grad():
            path = tree.unstack(self.learner.path(self.meta, task.support, self.row))
            found = self.learner.predict(path[min(self.row, len(path) - 1)], task.query.x)
        assert isinstance(found, Normal)
        return found.with_noise(self.noise_scale)

    def draws_rows(self, predicted: Normal) -> bool:
        """Whether rows are drawn one after the other: not where the network looks at rows that do not count, nor where
        there is no noise scale, nor by a learner that takes long."""
        has_scale = not isinstance(predicted.scale, tuple)
        return self.learner.normalisation == "none" and has_scale and self.steps <= MANY_STEPS

    def functions(self, task: Task, *, seed: int) -> Draws:
        """Functions drawn as wholes between the least and the largest query input.

        A draw of observations by `draw_functions` is noisy: shown is the mean of what is predicted given it, as the
        authors of the method have it. They also let the places come in a random order: from left to right draws drift.
        """
        x = task.query.x if isinstance(task.query.mask, tuple) else task.query.x[task.query.mask == 1]
        low, high = float(x.min()), float(x.max())
        order = torch.randperm(NUM_PLACES, generator=generator_for(seed, "places", 0))
        places = torch.linspace(low, high, NUM_PLACES).to(x)[order, None]
        drawn = draw_functions(
            self.learner, self.meta, task.support, places,
            num_draws=NUM_DRAWS, noise_scale=self.noise_scale, seed=seed,
        )  # fmt: skip
        fine = torch.linspace(low, high, NUM_POINTS).to(x)
        means = []
        for one in drawn:
            rows = pooled(task.support, Batch(places, one))
            predicted = metrics.mixture(predict(self.learner, self.meta, rows, fine[:, None], seed=seed))
            assert isinstance(predicted, Normal)
            means.append(predicted.loc[0, :, 0])
        return Draws(fine, torch.stack(means))


def exact(tasks: Mapping[str, Any], *, imports: bool = False) -> Shown | None:
    """The learner that knows how test tasks are drawn; None where that is not known.

    Args:
        tasks: a configuration's section of that name.
        imports: allow importing the module that it names.

    Examples:
        >>> exact({"name": "sine_or_line"}) is None, exact({"name": "sinusoid"}) is None
        (False, True)
    """
    learner = tasks_of({"tasks": {**tasks}}, imports=imports).optima.get("test")
    return None if learner is None else Shown(learner, learner.init(generator_for(0, "init", 0)))


def noise_of(fitted: Mapping[str, Any], row: int) -> float | None:
    """The noise scale that a result records for a row of a path; None where none was fitted, or it is no number.

    Examples:
        >>> noise_of({"noise_scale": [0.5, None]}, 0), noise_of({"noise_scale": [0.5, None]}, 1), noise_of({}, 0)
        (0.5, None, None)
    """
    scales = fitted.get("noise_scale")
    scale = None if scales is None or row >= len(scales) else scales[row]
    return scale if scale is not None and isfinite(scale) else None
