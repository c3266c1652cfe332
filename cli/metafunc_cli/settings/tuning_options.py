"""What `metafunc tune` asks for besides the options of a training."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from metafunc_cli.settings.options import Switch


@dataclass(frozen=True)
class Tuning:
    """What is searched, by how many, and what becomes of the result."""

    space: Annotated[
        tuple[str, ...], arg(metavar="NAME:LOW..HIGH[:log] | NAME:VALUE,VALUE ...", help_behavior_hint="")
    ] = ()
    """the settings to search, by the names of their flags: inner_lr:1e-4..0.3:log num_steps:1..3
    model.hidden:40x40,100x100."""
    trials: int = 50
    """trials in all, those that the study has already included."""
    out: Annotated[str | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """the study's folder, with a run for each trial; by default runs/tune-ALGORITHM-TASKS. The same command goes on."""
    storage: Annotated[str | None, arg(metavar="URL", help_behavior_hint="")] = None
    """keep the study in a database, such as sqlite:///study.db; None: in a file of the folder."""
    search_seed: int = 0
    """decides what trials try; --seed is that of their trainings."""
    no_pruning: Switch = False
    """let every trial go on to its end, even where its validations are worse than the median."""
    jobs: int = 1
    """workers, each a process of its own."""
    scheduler: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """let so many workers (--jobs) run on this Dask scheduler's, such as tcp://head:8786, which share the folder."""
    worker: Switch = False
    """take trials until there are enough, and leave the report to the command without this: for job arrays, and for
    further machines that share the folder."""
    no_figures: Switch = False
    """draw nothing."""
    json: Switch = False
    """print the result as one JSON object on stdout, and all else on stderr."""
    quiet: Switch = False
    """no progress."""
