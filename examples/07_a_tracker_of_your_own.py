"""Where a training's numbers go: a tracker is a class with `log(values, step)` and `close()`."""

from collections.abc import Mapping
from typing import Any

from metafunc import Outer, Recording, Validation, algorithms, fit, likelihood, nn
from metafunc.data import sinusoid


class Sparkline:
    """Draws the training loss as one line of text when the run ends."""

    BARS = "▁▂▃▄▅▆▇█"

    def __init__(self) -> None:
        self.losses: list[float] = []

    def log(self, values: Mapping[str, Any], step: int, /) -> None:
        if "loss" in values:
            self.losses.append(values["loss"])
        if "validation" in values:
            scores = (f"{name} {score:.3g}" for name, score in values["validation"].items())
            print(f"step {step:3}: validation", *scores)

    def close(self) -> None:
        low, high = min(self.losses), max(self.losses)
        levels = (round((loss - low) / (high - low or 1.0) * (len(self.BARS) - 1)) for loss in self.losses)
        print("training loss:", "".join(self.BARS[level] for level in levels))


learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.01)
fit(
    learner,
    sinusoid(),
    steps=200,
    outer=Outer(clip=10.0),
    validation=Validation(every=100, num_tasks=50),
    recording=Recording(log_every=10, trackers=(Sparkline(),)),
)
