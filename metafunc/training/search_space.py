"""What a search chooses from: for each setting of a configuration a range, or some values."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from metafunc.checks import counted, no_such

if TYPE_CHECKING:
    from optuna import Trial

SECTIONS = ("algorithm", "model", "training")
"""The sections of a configuration that can be searched; another task family would be another yardstick."""
MEASURE = ("seed", "validate_every", "validation_tasks", "validate_by", "test_tasks", "test_steps", "init_from")
"""Settings of `training` that decide what trials are measured by, or start from, and are the same for all."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Args:
        low: the least.
        high: the greatest.
        log: whether the logarithm is what is spread evenly.
        whole: whether these are whole numbers.

    Raises:
        ValueError: it is empty or not finite, or a logarithmic one does not begin above zero.

    Examples:
        >>> from metafunc.training.search_space import Range
        >>> Range(1e-4, 0.3, log=True).ends
        (0.0001, 0.3)
    """

    low: float | int
    high: float | int
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"A range goes from a number to a greater one, not from {self.low} to {self.high}.")
        if self.log and self.low <= 0:
            raise ValueError(f"A logarithmic range begins above zero, not at {self.low}.")

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are tried before a search begins."""
        return self.low, self.high

    def of(self, kept: Any) -> Any:
        """The value from what a study keeps: itself."""
        return kept

    def suggested(self, trial: "Trial", name: str) -> Any:
        """The value for a trial."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def to_json(self) -> dict[str, Any]:
        """As `study.json` has it."""
        return {"low": self.low, "high": self.high, "log": self.log, "whole": self.whole}


@dataclass(frozen=True)
class Choice:
    """One of some values, of which none is between two others.

    Raises:
        ValueError: there are fewer than two.

    Examples:
        >>> from metafunc.training.search_space import Choice
        >>> Choice(((32, 32), (64, 64))).ends
        ((32, 32), (64, 64))
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise ValueError(
                f"There is nothing to choose between {counted(len(self.values), 'values')}: give two or more."
            )

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are tried before a search begins: all."""
        return self.values

    def of(self, kept: Any) -> Any:
        """The value from what a study keeps: its place among all."""
        return self.values[kept]

    def suggested(self, trial: "Trial", name: str) -> Any:
        """The value for a trial."""
        return self.of(trial.suggest_categorical(name, [*range(len(self.values))]))

    def to_json(self) -> dict[str, Any]:
        """As `study.json` has it."""
        return {"values": [list(value) if isinstance(value, tuple) else value for value in self.values]}


Dimension: TypeAlias = Range | Choice
Space: TypeAlias = Mapping[str, Dimension]
"""By `section.setting`, such as `algorithm.inner_lr`, `model.hidden` or `training.outer_lr`."""


def check(space: Space) -> None:
    """Refuse a space whose settings cannot be searched.

    Raises:
        ValueError: it is empty, or a name has no such section, or is what trials are measured by.
    """
    if not space:
        raise ValueError("There is nothing to search: the space is empty.")
    for name in space:
        section, _, setting = name.partition(".")
        if section not in SECTIONS:
            raise ValueError(no_such("section that can be searched", section, SECTIONS))
        if section == "training" and setting in MEASURE:
            raise ValueError(f"{setting} is the same for all trials, which could not be compared otherwise.")


def configured(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the values of a trial.

    Args:
        config: what is the same for all.
        values: by `section.setting`.

    Examples:
        >>> from metafunc.training.search_space import configured
        >>> configured({"training": {"steps": 3, "outer_lr": 1.0}}, {"training.outer_lr": 0.1})
        {'training': {'steps': 3, 'outer_lr': 0.1}}
    """
    found = {section: dict(settings) for section, settings in config.items()}
    for name, value in values.items():
        section, _, setting = name.partition(".")
        found.setdefault(section, {})[setting] = list(value) if isinstance(value, tuple) else value
    return found


def corners(space: Space) -> Iterator[dict[str, Any]]:
    """Values that between them have every end of every range, and every choice: as few as have them all."""
    ends: Mapping[str, Sequence[Any]] = {name: dimension.ends for name, dimension in space.items()}
    for number in range(max(map(len, ends.values()))):
        yield {name: each[min(number, len(each) - 1)] for name, each in ends.items()}
