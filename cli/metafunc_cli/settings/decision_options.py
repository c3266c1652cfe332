"""What `metafunc optimise` and `metafunc acquire` ask for besides a run, or the settings of a training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from metafunc_cli.settings.options import Switch


@dataclass(frozen=True)
class Optimising:
    """What to look for, and where."""

    acquisition: Literal["ei", "ucb", "thompson", "random"] = "ei"
    """what a row is worth: its expected improvement, an upper confidence bound, or one joint draw."""
    evaluations: int = 20
    """rows of each test task that are observed."""
    minimise: Switch = False
    """small targets are good; without it large ones are."""
    test_pools: int = 50
    """test tasks, at most."""
    rows: int = 300
    """rows of a task that can be chosen, at most; a larger task offers a random part."""
    pool: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """the table of what can be tried next, beside a table of what has been observed: prints the best rows (--top)."""
    box: Annotated[tuple[str, ...], arg(metavar="COLUMN:LOW..HIGH[:log]", help_behavior_hint="")] = ()
    """instead of a pool, a range for every input, in the unit of the table: prints where in it to evaluate next."""
    evaluated: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """with --box, the table of what has been evaluated; it may have no rows, and without it nothing has been."""
    target: Annotated[tuple[str, ...], arg(metavar="COLUMN", help_behavior_hint="")] = ()
    """the target of these tables; by default that of the training."""
    top: int = 1
    """suggestions to print: the best rows first, or points of a box one after the other, each apart from the others."""
    choice_seed: int = 0
    """of all that is random in the pools and the choices."""


@dataclass(frozen=True)
class Acquiring:
    """Which labels to ask for."""

    acquisition: Literal["entropy", "variance", "bald", "random"] = "entropy"
    """where to ask: where the entropy or the variance of the predictive distribution is largest, or the part of the
    entropy on which the particles disagree."""
    labels: int | None = None
    """labels of each test task in the end; None: 10, or as many as there are."""
    first: int = 1
    """labels to begin with."""
    test_pools: int = 50
    """test tasks."""
    rows: int | None = None
    """rows of a task whose label can be asked for; of a classification, of each class. None: 20, or in a table two
    thirds of the smallest task."""
    choice_seed: int = 0
    """of all that is random in the tasks and the choices."""


@dataclass(frozen=True)
class Shown:
    """What becomes of the result, for a run that is there."""

    imports: Switch = False
    """allow importing the modules that the run names."""
    json: Switch = False
    """print the result as one JSON object on stdout, and all else on stderr."""
    quiet: Switch = False
    """no progress."""
