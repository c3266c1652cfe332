"""Early stopping: a training ends where validation has become worse, and stays so.

A validation is worse where its difference to the best one so far, paired by task, is beyond its 95 % interval; the best
may be that of the start. It counts towards the patience; a new best one sets the count to zero, and one that is neither
leaves it as it is. So a training that is of no more use, but of no harm either, goes on.

References:
    Prechelt (1998), "Early stopping - but when?", whose criterion counts rises of the validation error.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from metafunc.evaluation.metrics.table import METRICS
from metafunc.evaluation.validation import worse
from metafunc.types import TaskFamily

USUAL = 3
"""The patience for tasks of a table, whose number is small: many trainings memorise them."""


class Patience(NamedTuple):
    """What validations are held against.

    Args:
        step: that of the best one so far, 0 for the start.
        values: what it found, on every validation task.
        worse: how many were worse since then.
        stopped: whether that has ended the training.

    Examples:
        >>> import torch
        >>> from metafunc import data
        >>> good, bad, family = torch.zeros(3), torch.tensor([1.9, 2.0, 2.1]), data.sinusoid()
        >>> begun = Patience(0, good.tolist())
        >>> begun.after(100, {"nll": bad}, family, seed=0, most=2).worse
        1
        >>> begun.after(100, {"nll": good - 1}, family, seed=0, most=2).step
        100
    """

    step: int
    values: list[float]
    worse: int = 0
    stopped: bool = False

    def after(self, step: int, found: Mapping[str, Tensor], family: TaskFamily, *, seed: int, most: int) -> "Patience":
        """What it is after one more validation, of which so many may be worse."""
        ((metric, values),) = found.items()
        best = torch.tensor(self.values, dtype=values.dtype)
        gain = (values.mean() - best.mean()) * (1 if METRICS[metric].higher_is_better else -1)
        if gain > 0 or not torch.isfinite(best.mean()):
            return Patience(step, values.tolist())
        if torch.isfinite(values.mean()) and worse({metric: best}, {metric: values}, family, seed) is None:
            return self
        return self._replace(worse=self.worse + 1, stopped=self.worse + 1 >= most)

    def says(self, step: int, steps: int) -> str:
        """Why the training ended after a step."""
        best = f"after step {self.step:,}" if self.step else "before training"
        times = "" if self.worse == 1 else f", {self.worse} times since"
        return f"Training stopped after step {step:,} of {steps:,}: validation was better {best}{times}."
