"""One learner of a comparison: its meta-tests, its trainings, and what predicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metafunc.algorithms.table import ALGORITHMS, Algorithm
from metafunc.results.comparison import Entry
from metafunc.results.shown import Shown, noise_of
from metafunc.training.run import Run
from metafunc.types import MetaLearner


@dataclass(frozen=True)
class Compared:
    """What is drawn of one learner.

    Args:
        entry: its meta-tests.
        runs: its trainings.
        learner: the learner.
        meta: the meta-parameters of its first training.
        clocks: of each training, the CPU seconds that it had taken when it was validated, by step; none where they are
            not known, or where it was not this learner that was validated, but one that was changed since.
    """

    entry: Entry
    runs: tuple[Run, ...]
    learner: MetaLearner[Any, Any]
    meta: Any
    clocks: tuple[Mapping[int, float], ...] = ()

    @property
    def shown(self) -> Shown:
        """The learner as it is judged, with the noise scale that was fitted for its first training."""
        entry = self.entry
        noise = noise_of(entry.evaluations[0].pooled, entry.row)
        return Shown(self.learner, self.meta, entry.row, noise, entry.steps)

    @property
    def exact(self) -> bool:
        """Whether it is the exact prediction of test tasks itself."""
        row = self._algorithm
        return row is not None and row.knows_tasks and self.runs[0].config["algorithm"].get("prior", "test") == "test"

    @property
    def trains(self) -> bool:
        """Whether it has a training, which takes time."""
        row = self._algorithm
        return row is None or row.trains

    @property
    def _algorithm(self) -> Algorithm | None:
        """Its row in the table, where it is one of the table's."""
        return ALGORITHMS.get(self.runs[0].config["algorithm"]["name"]) if self.runs else None
