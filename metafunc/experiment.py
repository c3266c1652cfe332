"""From a configuration to a learner and its tasks, and from a run's folder back to the trained learner.

A configuration is what `config.json` holds: `algorithm`, `tasks` and `model`, each a name with its settings, and
`training`, whose names are those of `metafunc.fit` and of `outer_loop`. Names are looked up in the public tables.
A name like `package.module:attribute` is imported, but only where the caller says so: reading a run's folder runs no
code.
"""

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import torch

from metafunc import algorithms, checkpoint, nn
from metafunc.algorithms import ALGORITHMS, CONTROL
from metafunc.checkpoint import Checkpoint, CheckpointError
from metafunc.data import FAMILIES
from metafunc.data.source import generator_for
from metafunc.likelihood import for_kind
from metafunc.rl import World
from metafunc.run import Run
from metafunc.state import Optimise, Schedule
from metafunc.types import Kind, M, MetaLearner, Model, TaskFamily

T = TypeVar("T")
Learner: TypeAlias = MetaLearner[Any, Any]
Config: TypeAlias = Mapping[str, Any]
MODELS: Mapping[str, Callable[..., Model]] = {"mlp": nn.mlp, "conv4": nn.conv4}
"""Networks by name."""
SECTIONS = ("algorithm", "tasks", "model", "training")


def build(config: Config, *, imports: bool = False) -> tuple[Learner, TaskFamily]:
    """The learner and the tasks of a configuration.

    Args:
        config: the sections `algorithm`, `tasks` and `model`, each with a `name`; `training` is not looked at but for
            its `seed`, which the parameters of a module of one's own are drawn with.
        imports: whether a name like `package.module:attribute` may be imported, which runs that module.

    Returns:
        What `metafunc.fit` takes.

    Raises:
        ValueError: a section, a name or a setting is unknown, missing or out of range; or names ask for an import that
            was not allowed.
        DataUnavailable: the family's data cannot be had.

    Example:
        >>> from metafunc import experiment
        >>> learner, family = experiment.build({"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}})
        >>> family.name
        'sinusoid'
    """
    family = tasks_of(config)
    learner = learner_of(
        config, family.input_shape, family.kind, family.num_outputs, imports=imports, world=family.world
    )
    return learner, family


def tasks_of(config: Config) -> TaskFamily:
    """The task family of a configuration: its section `tasks`."""
    name, settings = _section(config, "tasks")
    family: TaskFamily = _call(_row(FAMILIES, name, "task family"), (), settings, f"tasks ({name})")
    return family


def learner_of(
    config: Config,
    input_shape: tuple[int, ...],
    kind: Kind,
    num_outputs: int,
    *,
    imports: bool = False,
    world: World | None = None,
) -> Learner:
    """The learner of a configuration, for tasks of a kind: its sections `algorithm` and `model`; touches no data.

    Tasks of control are played, so that the learner needs their world: by default that of the section `tasks`.
    """
    if kind == "control" and world is None:
        world = tasks_of(config).world
    name, settings = _section(config, "algorithm")
    network = _network(config, kind, imports)
    if ":" not in name:
        row = _row({**ALGORITHMS, **CONTROL}, name, "algorithm")
        _check(settings, row.hyperparameters.values(), f"algorithm ({name})")
        return algorithms.build(name, network, input_shape, kind, num_outputs, world=world, **settings)
    model, likelihood = network(input_shape, num_outputs), world or for_kind(kind, num_outputs)
    learner = _call(_imported(name, imports), (model, likelihood), settings, f"algorithm ({name})")
    if not isinstance(learner, MetaLearner):
        raise ValueError(f"{name} returned {type(learner).__name__}; an algorithm has to return a MetaLearner.")
    return learner


def load(
    run: str | Path,
    learner: MetaLearner[M, Any] | None = None,
    *,
    which: Literal["best", "last"] = "best",
    imports: bool = False,
) -> tuple[MetaLearner[M, Any], M]:
    """A trained learner, rebuilt from its run's folder without running any code that is stored or named there.

    Args:
        run: the folder.
        learner: your own learner, for a run whose configuration does not name one of the table's.
        which: the meta-parameters of the best validation, or the last ones; a run that was never validated has only
            the latter.
        imports: allow importing the modules that the configuration names; do so for runs of your own only.

    Returns:
        The learner and its meta-parameters, on the CPU. A damaged checkpoint is passed over for the newest whole one,
        with a `UserWarning`.

    Raises:
        ValueError: the folder is no run or has no whole checkpoint, its learner is not in the table, or the checkpoint
            belongs to another learner.

    Example:
        >>> import tempfile, metafunc
        >>> from metafunc import experiment
        >>> config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}}
        >>> folder = tempfile.mkdtemp()
        >>> _ = metafunc.fit(*experiment.build(config), steps=2, out=folder, config=config)
        >>> learner, meta = metafunc.load(folder)
    """
    place = Run(Path(run))
    config = place.config
    if learner is None:
        if "algorithm" not in config:
            raise ValueError(f"{run} does not say which algorithm it was made with: pass it, load(run, learner=...).")
        seen = place.env["data"]
        learner = learner_of(config, tuple(seen["input_shape"]), seen["kind"], seen["num_outputs"], imports=imports)
    saved = _saved(place, which)
    return learner, checkpoint.restore(learner.init(generator_for(0, "init", 0)), saved.tensors, "meta")


def outer_loop(
    *,
    steps: int,
    outer_lr: float = 1e-3,
    outer_optimiser: str = "adam",
    schedule: str = "constant",
) -> tuple[Optimise, Schedule | None]:
    """The outer optimiser and its schedule by name, as `metafunc.fit` takes them.

    Args:
        steps: outer steps in all; a schedule ends with them.
        outer_lr: the step size at the start.
        outer_optimiser: "adam", "sgd", or "sign", Adam without memory: every number moves by the step size, in the
            direction of its gradient's sign.
        schedule: "constant", or "cosine" or "linear", which fall to zero.

    Raises:
        ValueError: a name is unknown or `outer_lr` is not positive.

    Example:
        >>> from metafunc import experiment
        >>> optimiser, schedule = experiment.outer_loop(steps=100, outer_lr=0.1, schedule="cosine")
    """
    if not outer_lr > 0:
        raise ValueError(f"outer_lr is a step size and has to be above 0, not {outer_lr}.")
    optimisers: dict[str, Optimise] = {
        "adam": partial(torch.optim.Adam, lr=outer_lr, fused=True),
        "sgd": partial(torch.optim.SGD, lr=outer_lr),
        "sign": partial(torch.optim.Adam, lr=outer_lr, betas=(0.0, 0.0), fused=True),
    }
    schedules: dict[str, Schedule | None] = {
        "constant": None,
        "cosine": partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=max(1, steps)),
        "linear": partial(
            torch.optim.lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.0, total_iters=max(1, steps)
        ),
    }
    return _row(optimisers, outer_optimiser, "outer optimiser"), _row(schedules, schedule, "schedule")


def _saved(place: Run, which: str) -> Checkpoint:
    saved, complaints = checkpoint.newest(place.checkpoints)
    if saved is None:
        raise ValueError(f"{place.path} has no whole checkpoint to load. {' '.join(complaints)}".rstrip())
    best = saved.state["best"]
    if which == "best" and best and best["step"] != saved.step:
        try:
            saved = checkpoint.read(checkpoint.at(place.checkpoints, best["step"]))
        except CheckpointError as error:
            complaints.append(str(error))
    for complaint in complaints:
        warnings.warn(f"{complaint} The checkpoint of step {saved.step} is taken instead.", stacklevel=3)
    return saved


def _section(config: Config, section: str) -> tuple[str, dict[str, Any]]:
    for name in config:
        if name not in SECTIONS:
            raise ValueError(f"The configuration has no section {name!r}.{_meant(name, SECTIONS)}")
    # JSON knows no tuples, and no builder takes a list for anything else.
    given: Mapping[str, Any] = config.get(section, {})
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    if not isinstance(settings.get("name"), str):
        raise ValueError(f"The configuration's section {section!r} has no name.")
    return settings.pop("name"), settings


def _network(config: Config, kind: Kind, imports: bool) -> Callable[[tuple[int, ...], int | None], Model]:
    """A factory of networks: (input shape, number of outputs) to a model.

    Where none is named, images to classify go through convolutions and everything else through a perceptron.
    """
    if "model" not in config:

        def usual(shape: tuple[int, ...], outputs: int | None) -> Model:
            return nn.conv4(shape, outputs) if kind == "classification" and len(shape) == 3 else nn.mlp(shape, outputs)

        return usual
    name, settings = _section(config, "model")
    where = f"model ({name})"
    if ":" not in name:
        factory = _row(MODELS, name, "model")
        return lambda shape, outputs: _call(factory, (shape, outputs), settings, where)
    own = _imported(name, imports)
    seed = config.get("training", {}).get("seed", 0)

    def network(shape: tuple[int, ...], outputs: int | None) -> Model:
        known = inspect.signature(own).parameters
        offered = {"input_shape": shape, "num_outputs": outputs}
        given = {name: value for name, value in offered.items() if name in known and name not in settings}
        # A module draws its parameters from torch's global state; what it cannot draw again has to be reproducible.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = _call(partial(own, **given), (), settings, where)
        if isinstance(made, torch.nn.Module):
            return nn.from_module(made)
        if not isinstance(made, Model):
            raise ValueError(f"{name} returned {type(made).__name__}; a torch.nn.Module or a metafunc.Model is needed.")
        return made

    return network


def _imported(name: str, allowed: bool) -> Callable[..., Any]:
    if not allowed:
        raise ValueError(
            f"The configuration names {name}, which would have to be imported, and loading runs no code. Pass your "
            "learner, load(run, learner=...), or, for a configuration of your own, imports=True."
        )
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"{name} cannot be imported: {error}. The form is package.module:attribute.") from error
    if not callable(found):
        raise ValueError(f"{name} is {type(found).__name__}; a function or class is needed.")
    return found  # type: ignore[no-any-return]  # getattr knows no type


def _call(builder: Callable[..., Any], given: tuple[Any, ...], settings: Mapping[str, Any], where: str) -> Any:
    parameters = list(inspect.signature(builder).parameters.values())
    _check(settings, parameters[len(given) :], where)
    return builder(*given, **settings)


def _check(settings: Mapping[str, Any], parameters: Iterable[inspect.Parameter], where: str) -> None:
    known = {parameter.name: parameter for parameter in parameters}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for name in settings:
        if name not in known:
            raise ValueError(f"{where} has no setting {name!r}.{_meant(name, known)}")
    for name, parameter in known.items():
        if (
            parameter.default is parameter.empty
            and name not in settings
            and parameter.kind is not parameter.VAR_POSITIONAL
        ):
            raise ValueError(f"{where} needs the setting {name!r}.")


def _row(table: Mapping[str, T], name: str, what: str) -> T:
    if name not in table:
        raise ValueError(f"There is no {what} {name!r}.{_meant(name, table)}")
    return table[name]


def _meant(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = get_close_matches(name, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" There are: {', '.join(names) or 'none'}."
