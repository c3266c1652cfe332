"""What `metafunc train` and `metafunc eval` ask for besides an algorithm's, a family's and a network's own settings."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from tyro.conf import FlagCreatePairsOff, arg

from metafunc_cli.settings.generated import OUTER, OuterOptimiser, Schedule

OUTER_HELP = f"the outer optimiser. {' '.join(f'{name}: {summary}.' for name, summary in OUTER.items())}"
Switch: TypeAlias = Annotated[bool, FlagCreatePairsOff, arg(help_behavior_hint="")]
Layers: TypeAlias = Annotated[Literal["last", "all"] | None, arg(help_behavior_hint="")]


Formats: TypeAlias = Annotated[tuple[Literal["png", "svg", "pdf"], ...], arg(metavar="png|svg|pdf ...")]


class AfterTraining:
    """What is done to a trained learner before it predicts, for options that have the two fields."""

    laplace: Layers
    tempered: Switch

    @property
    def transforms(self) -> tuple[str, ...]:
        """The same by the names that compare has for it."""
        laplace = {None: (), "last": ("laplace",), "all": ("laplace_all",)}[self.laplace]
        return (*laplace, *(["tempered"] if self.tempered else []))


@dataclass(frozen=True)
class Training:
    """The outer loop and the meta-test; recorded in config.json."""

    steps: int = 10_000
    """outer steps."""
    num_tasks: int = 25
    """tasks of one outer step."""
    outer_lr: float = 1e-3
    """step size of the outer optimiser."""
    outer_optimiser: Annotated[OuterOptimiser, arg(help=OUTER_HELP)] = "adam"
    repeats: int = 1
    """steps of the outer optimiser on the same tasks."""
    schedule: Schedule = "constant"
    """how the outer step size falls: not at all, or to zero at the last step."""
    clip: float | None = None
    """bound on every element of the meta-gradient."""
    prior_scale: float | None = None
    """standard deviation of a Gaussian prior on every meta-parameter, weighed against a table's training tasks."""
    seed: int = 0
    """decides the initial parameters and all tasks."""
    init_from: Annotated[str | None, arg(metavar="RUN", help_behavior_hint="")] = None
    """start from what another run's meta-parameters have to give, such as PLATIPUS from MAML's."""
    noise_from: Annotated[Literal["data", "setting"] | None, arg(help_behavior_hint="")] = None
    """start of a learned noise scale: the tasks' (data) or --noise-scale's; None: data for a table, unless given."""
    test_tasks: int = 600
    """new tasks of the meta-test; 0 leaves it out."""
    test_steps: int = 10
    """adaptation steps in the meta-test."""
    validate_every: int | None = 1000
    """outer steps between validations; None: never."""
    validate_by: str | None = None
    """the metric of the best validation; None: nll of a regression with a spread, else mse, accuracy or return."""
    patience: int | None = None
    """end the training after so many validations clearly worse than the best; 0: never. None: 3 for a table, else 0."""
    checkpoint_every: int = 1000
    """outer steps between checkpoints."""
    chunk_size: int | None = None
    """tasks whose graphs are in memory at the same time; None: as many as fit into a gigabyte."""
    compile: Literal["auto", "on", "off"] = "auto"
    """compile the whole step before the first one; auto: where the steps pay for it, and while they go on."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for an accelerator if there is one."""
    threads: int | None = None
    """torch's threads; None: one for small networks, else torch's own choice."""
    deterministic: bool = False
    """use deterministic algorithms only."""
    shards: int = 1
    """equal parts of a step's tasks, which ranks share: the result depends on them, and not on how many ranks."""
    reduce: Literal["ordered", "sum"] = "ordered"
    """how ranks add gradients: shard by shard, or, quicker where they are large, with bits that depend on the ranks."""


@dataclass(frozen=True)
class Output:
    """Where the settings come from, and what becomes of the result."""

    network: Annotated[str | None, arg(name="model", metavar="NAME", help_behavior_hint="")] = None
    """the network: mlp, conv4, resnet12, or package.module:factory of yours."""
    preset: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """start from this preset (see `metafunc list`) instead of the one that fits."""
    quick: Switch = False
    """a first look that ends within a minute on two cores: the same, made small."""
    config: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """start from a run's config.json."""
    resume: Annotated[str | None, arg(metavar="RUN", help_behavior_hint="")] = None
    """go on with an interrupted run."""
    imports: Switch = False
    """allow importing the modules that a FILE or RUN names."""
    out: Annotated[str | None, arg(metavar="RUN", help_behavior_hint="")] = None
    """the run's folder; by default a new one under runs/."""
    overwrite: Switch = False
    """delete the run that --out names, if there is one."""
    go_on: Switch = False
    """go on with the run that --out names, if there is one: the same command begins and goes on."""
    ranks: int = 1
    """processes on this machine that share the training; on several machines torchrun starts them."""
    log: Annotated[tuple[str, ...], arg(metavar="NAME ...", help_behavior_hint="")] = ()
    """send the numbers of the log to these as well: tensorboard, trackio, wandb."""
    dry_run: Switch = False
    """show the settings, the parameter count and one task; write nothing."""
    json: Switch = False
    """print the result as one JSON object on stdout, and all else on stderr."""
    quiet: Switch = False
    """no progress."""


@dataclass(frozen=True)
class Testing(AfterTraining):
    """The meta-test; by default as after the run's training."""

    num_tasks: int = 600
    """new tasks."""
    num_steps: int = 10
    """adaptation steps."""
    split: str = "test"
    """test, validation, train, or a variant of the family: amplitude or phase for sinusoid."""
    checkpoint: Literal["best", "last"] = "best"
    """the checkpoint of the best validation, or the last one."""
    seed: int = 0
    """what the tasks are drawn with."""
    shots: Annotated[tuple[int, ...], arg(metavar="K ...", help_behavior_hint="")] = ()
    """test with so many support rows (of each class) as well: the same tasks, whose support sets are nested."""
    joint: Literal["own", "autoregressive"] = "own"
    """how the rows of a query set are predicted together: as the learner has it, or one after the other as well, each
    from the support set and the rows before it."""
    joint_rows: int | None = None
    """query rows of a task that are predicted one after the other; None: all."""
    chunk_size: int | None = None
    """tasks that are adapted at the same time; None: as memory allows."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for an accelerator if there is one."""
    no_gap: Switch = False
    """do not compare with the best prediction that can be had, where that is known: on many tasks it takes a while."""
    laplace: Layers = None
    """let the adapted parameters of the last layer, or all of them, be uncertain: linearised Laplace, whose two scalars
    are fitted on validation tasks."""
    tempered: Switch = False
    """fit one temperature on validation tasks."""
    conformal: Annotated[float | None, arg(metavar="LEVEL", help_behavior_hint="")] = None
    """also report intervals, or sets of classes, that cover this share of rows of new tasks, such as 0.9."""


@dataclass(frozen=True)
class Report:
    """What becomes of the result."""

    ranks: int = 1
    """processes on this machine that share the tasks; on several machines torchrun starts them."""
    imports: Switch = False
    """allow importing the modules that the run names."""
    json: Switch = False
    """print the result as one JSON object on stdout, and all else on stderr."""
    quiet: Switch = False
    """no progress."""


@dataclass(frozen=True)
class Plotting(AfterTraining):
    """What to draw."""

    format: Formats = ("png",)
    """the formats of the pictures, such as svg pdf for a paper."""
    seed: int = 0
    """of the new tasks that are drawn."""
    laplace: Layers = None
    """draw predictions with uncertain parameters of the last layer, or of all, as metafunc eval RUN --laplace has
    fitted them."""
    tempered: Switch = False
    """draw predictions at the temperature that metafunc eval RUN --tempered has fitted."""
    imports: Switch = False
    """allow importing the modules that the run names."""
    json: Switch = False
    """print the files as one JSON object on stdout, and all else on stderr."""


@dataclass(frozen=True)
class Reporting:
    """What becomes of the report."""

    out: Annotated[str | None, arg(metavar="FILE.html", help_behavior_hint="")] = None
    """the file; by default report.html in the folder. An older report is replaced, and no other file."""
    seed: int = 0
    """of the new functions that the report of a run shows."""
    imports: Switch = False
    """allow importing the modules that the run names."""
    json: Switch = False
    """print the file as one JSON object on stdout, and all else on stderr."""


@dataclass(frozen=True)
class Serving:
    """Where the page is served."""

    port: int = 0
    """of 127.0.0.1, which no other machine reaches; 0: one that is free."""
    no_browser: Switch = False
    """do not open a browser."""
    imports: Switch = False
    """allow importing the modules that the run names."""


@dataclass(frozen=True)
class Prediction(AfterTraining):
    """The task, as files."""

    support: Annotated[str, arg(metavar="FILE")]
    """the examples: a CSV or parquet file, or a folder with a folder of images for each class."""
    query: Annotated[str, arg(metavar="FILE")]
    """what to predict: such a table, or a folder of images; if it has the right answers, they are scored."""
    out: Annotated[str, arg(metavar="FILE")]
    """the CSV or parquet file to write; - prints the rows."""
    target: Annotated[tuple[str, ...], arg(metavar="COLUMN ...", help_behavior_hint="")] = ()
    """the columns to predict; by default those of the training, or y, or the last ones."""
    num_steps: int | None = None
    """steps of adaptation; None: as many as in training."""
    seed: int = 0
    """of the noise that some learners draw."""
    laplace: Layers = None
    """predict with uncertain parameters of the last layer, or of all, as metafunc eval RUN --laplace has fitted
    them."""
    tempered: Switch = False
    """predict at the temperature that metafunc eval RUN --tempered has fitted."""
    conformal: Annotated[float | None, arg(metavar="LEVEL", help_behavior_hint="")] = None
    """also write intervals, or sets of classes, that cover this share of rows of new tasks, such as 0.9: by the run's
    validation tasks, whatever the learner is."""
    overwrite: Switch = False
    """replace --out if it exists."""
    imports: Switch = False
    """allow importing the modules that the run names."""
    json: Switch = False
    """print what was written as one JSON object on stdout, and all else on stderr."""


@dataclass(frozen=True)
class Pushing:
    """How a run is handed on."""

    private: Switch = False
    """make a new repository private."""
    license: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """the licence of what is put there, as the hub names it, such as apache-2.0; by default none is stated."""
    json: Switch = False
    """print what was pushed as one JSON object on stdout, and all else on stderr."""


@dataclass(frozen=True)
class Choosing:
    """How a learner is chosen for a table."""

    minutes: float = 5.0
    """what the choice and the last training may take together: learners are trained for as long as there is time."""
    folds: int = 5
    """parts of the tasks, each of which is left out once to test on."""
