"""What came of the trials of a search."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from metafunc.evaluation.metrics.table import higher_is_better

State: TypeAlias = Literal["complete", "pruned", "diverged", "failed", "running"]
"""How a trial stands: trained, worse than most, not finite, refused, or under way."""


@dataclass(frozen=True)
class Tried:
    """What came of a trial.

    Args:
        number: counted from 0.
        values: by `section.setting`.
        state: how it stands.
        score: of its best validation; None: there was none.
        step: of its last validation.
        run: its folder.
        message: why it has diverged, or was refused.
    """

    number: int
    values: Mapping[str, Any]
    state: State
    score: float | None
    step: int | None
    run: Path
    message: str = ""


class Found(NamedTuple):
    """A study so far.

    Args:
        metric: of the validations.
        tried: all trials, by their numbers.
        importance: by `section.setting`, its share in what makes a trial one of the best tenth (PED-ANOVA); empty where
            fewer than two trials are complete.
    """

    metric: str
    tried: tuple[Tried, ...]
    importance: Mapping[str, float]

    @property
    def ranked(self) -> list[Tried]:
        """The complete trials, from the best to the worst."""
        sign = -1 if higher_is_better(self.metric) else 1
        complete = [(sign * one.score, one) for one in self.tried if one.state == "complete" and one.score is not None]
        return [one for _, one in sorted(complete, key=lambda pair: (pair[0], pair[1].number))]
