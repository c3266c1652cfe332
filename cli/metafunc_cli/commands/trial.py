"""One training of a comparison."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metafunc.training.run import Run


@dataclass(frozen=True)
class Trial:
    """A trained learner and where its tasks come from."""

    run: "Run"
    learner: Any
    meta: Any
    family: Any
    seed: int
