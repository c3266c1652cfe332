"""The options of `metafunc compare`."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from metafunc_cli.settings.options import Formats, Switch


@dataclass(frozen=True)
class Comparison:
    """What to compare, and what becomes of the result."""

    algorithms: Annotated[tuple[str, ...], arg(metavar="ALGORITHM ...", help_behavior_hint="")] = ()
    """the algorithms to train; differences are to the first. maml+laplace, maml+laplace_all and maml+tempered are maml,
    trained once and tested as Bayesian in its last layer, in all, or at the best temperature."""
    tasks: Annotated[str | None, arg(metavar="TASKS", help_behavior_hint="")] = None
    """the task family, or a TABLE.csv or .parquet, whose columns are guessed."""
    seeds: int = 1
    """trainings of each algorithm, with the seeds 0, 1, ...; one leaves intervals over tasks only."""
    together: Switch = False
    """train an algorithm's seeds at once, their gradients by one evaluation: the same trainings but for rounding, and
    sooner where networks are small."""
    steps: int | None = None
    """outer steps of each training; None: each algorithm's own preset."""
    test_tasks: int = 600
    """new tasks of the meta-test, the same for all."""
    test_steps: int = 5
    """adaptation steps that the curves show; the table has each learner after its own number."""
    test_seed: int = 0
    """what the new tasks are drawn with."""
    split: str = "test"
    """test, validation, train, or a variant of the family."""
    shots: Annotated[tuple[int, ...], arg(metavar="K ...", help_behavior_hint="")] = ()
    """compare with so many support rows (of each class) as well, as by_shots in compare.json."""
    train_tasks: Annotated[tuple[int, ...], arg(metavar="N ...", help_behavior_hint="")] = ()
    """compare trainings on so many fixed tasks, of a family that has a number of them (trend, cauchy,
    few_task_sinusoid), as by_train_tasks in train_tasks.json."""
    folds: Annotated[int | None, arg(metavar="K", help_behavior_hint="")] = None
    """of a table: leave each of so many parts of its tasks out in turn, so that every task is tested on, by learners
    that never saw it. --test-tasks are of all folds together."""
    out: Annotated[str | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """the folder of trainings, tables and figures; by default runs/compare-TASKS."""
    jobs: int = 1
    """trainings at a time, each in a process of its own, with the same table as one by one. Large networks take all
    cores by themselves: give --threads 1 too."""
    scheduler: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """do the trainings on the workers of this Dask scheduler, such as tcp://head:8786, which share the folder."""
    cell: Annotated[int | None, arg(metavar="K", help_behavior_hint="")] = None
    """do the training with this number alone, counted from 0, and test nothing: for job arrays of a batch system. The
    same command without it then takes all that are done."""
    ranks: int = 1
    """processes on this machine that share the tests of finished runs; on several machines torchrun starts them."""
    coherence: Switch = False
    """measure also how far predictions are from those of one exchangeable model, on the same tasks."""
    no_gap: Switch = False
    """do not compare with the best prediction that can be had, where that is known."""
    no_figures: Switch = False
    """draw nothing."""
    format: Formats = ("png",)
    """the formats of the pictures, such as svg pdf for a paper."""
    imports: Switch = False
    """allow importing the modules that a RUN names."""
    json: Switch = False
    """print the result as one JSON object on stdout, and all else on stderr."""
    quiet: Switch = False
    """no progress."""
