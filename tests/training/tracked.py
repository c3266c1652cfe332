"""A small training that is tracked, and what its log has."""

import json
from pathlib import Path
from typing import Any

import metafunc
from metafunc import Recording, Validation, algorithms, data, nn
from metafunc.nn import likelihood
from metafunc.training import tracking
from metafunc.training.events import Event
from metafunc.training.fit import Fit
from metafunc.training.trackers import Tracker

SINUSOID = data.sinusoid(num_shots=5, num_queries=5, num_test_queries=10)


class StopError(Exception):
    """What ends a training in the middle."""


def train(out: Path | None, tracker: Tracker, *, stop: int | None = None, **settings: Any) -> Fit[Any]:
    def watch(event: Event) -> None:
        if event.phase == "train" and event.step == stop:
            raise StopError

    learner = algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian(), inner_lr=0.01)
    recording = Recording(log_every=1, checkpoint_every=2, trackers=(tracker,))
    return metafunc.fit(
        learner,
        SINUSOID,
        steps=6,
        num_tasks=2,
        out=out,
        validation=Validation(every=3, num_tasks=2),
        recording=recording,
        on_event=watch,
        **settings,
    )


def points(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The log by flat name."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        step = values.pop("step")
        for name, value in tracking.flat(values).items():
            found.setdefault(name, []).append((step, value))
    return found
