"""What `metafunc bench` asks for."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from metafunc_cli.settings.options import Switch


@dataclass(frozen=True)
class Benching:
    """Which cells of a suite, how long they train, and what becomes of the result."""

    learners: Annotated[tuple[str, ...], arg(metavar="ALGORITHM ...", help_behavior_hint="")] = ()
    """only these of the suite's learners and references; differences are to the first."""
    families: Annotated[tuple[str, ...], arg(metavar="NAME ...", help_behavior_hint="")] = ()
    """only these of the suite's families."""
    seeds: int | None = None
    """trainings of each learner on each family, with the seeds 0, 1, ...; None: the suite's number."""
    minutes: float | None = None
    """minutes of one processor for all trainings, by the time that steps are seen to take; None: the suite's steps."""
    equal: Literal["seconds", "steps"] = "seconds"
    """what every training has of --minutes: the same seconds, or the same steps."""
    steps: int | None = None
    """the same outer steps for every training, in the place of the suite's or --minutes."""
    test_tasks: int | None = None
    """new tasks of the meta-test, the same for all learners; None: the suite's number."""
    quick: Switch = False
    """to see that it runs: one seed, 5 steps and 10 test tasks, unless others are given."""
    path: Annotated[str | None, arg(metavar="PATH", help_behavior_hint="")] = None
    """what metafunc compare has as --data.path, for all families that need one and name none: a local copy of Omniglot,
    say. By default the hub's."""
    jobs: int = 1
    """trainings at a time, each in a process of its own, with the same table as one by one."""
    scheduler: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """do the trainings on the workers of this Dask scheduler, such as tcp://head:8786, which share the folder."""
    cell: Annotated[int | None, arg(metavar="K", help_behavior_hint="")] = None
    """do the training with this number alone, counted from 0 over all families, and test nothing: for job arrays of a
    batch system. The same command without it then takes all that are done."""
    paper: Switch = False
    """also write the table in LaTeX (booktabs) and the figures as PDF."""
    figures: Switch = False
    """also draw each family's own figures, as metafunc compare does."""
    show: Switch = False
    """print the suite as commands of metafunc, and do nothing."""
    list: Switch = False
    """list the suites that come with metafunc."""
    out: Annotated[str | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """the folder of trainings, tables and figures; by default runs/bench-SUITE, or runs/bench-SUITE-quick."""
    json: Switch = False
    """print the result as one JSON object on stdout, and all else on stderr."""
    quiet: Switch = False
    """no progress."""
