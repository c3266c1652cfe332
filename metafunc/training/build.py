"""From a configuration to a learner and its tasks.

Names are looked up in the public tables. A name like `package.module:attribute` is imported, but only where the caller
allows it: reading a run's folder runs no code.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch

from metafunc import algorithms, nn
from metafunc.algorithms import ALGORITHMS, post_hoc
from metafunc.algorithms.by_name import parts
from metafunc.checks import did_you_mean, look_up
from metafunc.data.table import FAMILIES
from metafunc.nn.likelihood import for_kind
from metafunc.rl import Simulator
from metafunc.training.open_settings import found_in
from metafunc.training.renamed import current
from metafunc.training.stack import STACK, stack_of
from metafunc.types import Kind, MetaLearner, Model, TaskFamily

T = TypeVar("T")
Learner: TypeAlias = MetaLearner[Any, Any]
Config: TypeAlias = Mapping[str, Any]
MODELS: Mapping[str, Callable[..., Model]] = {"mlp": nn.mlp, "conv4": nn.conv4, "resnet12": nn.resnet12}
"""Networks by name."""
SECTIONS = ("algorithm", "tasks", "model", "training")


@runtime_checkable
class Rows(Protocol):
    """What tasks look like: a `TaskFamily`, or what a run recorded of one."""

    @property
    def kind(self) -> Kind: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def num_outputs(self) -> int: ...


def build(config: Config, *, imports: bool = False) -> tuple[Learner, TaskFamily]:
    """The learner and the tasks of a configuration.

    Args:
        config: the sections `algorithm`, `tasks` and `model`, each with a `name`; `training` is not looked at but for
            its `seed`, which the parameters of a user-supplied module are drawn with.
        imports: whether a name like `package.module:attribute` may be imported, which runs that module.

    Returns:
        What `metafunc.fit` takes.

    Raises:
        ValueError: a section, a name or a setting is unknown, missing or out of range; or names ask for an import that
            was not allowed.
        DataUnavailable: the family's data cannot be had.

    Examples:
        >>> from metafunc.training.build import build
        >>> learner, family = build({"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}})
        >>> family.name
        'sinusoid'
    """
    family = tasks_of(config, imports=imports)
    return learner_for(config, family, imports=imports), family


def learner_for(config: Config, family: TaskFamily, *, imports: bool = False) -> Learner:
    """The learner of a configuration, for a family that is there already."""
    return learner_of(
        config,
        family.input_shape,
        family.kind,
        family.num_outputs,
        imports=imports,
        simulator=family.simulator,
        optima=family.optima,
        info=family.info,
    )


def tasks_of(config: Config, *, imports: bool = False) -> TaskFamily:
    """The task family of a configuration: its section `tasks`, whose name may be `package.module:family`."""
    name, settings = _section(current(config), "tasks")
    made = _imported(name, imports) if ":" in name else look_up(FAMILIES, name, "task family").builder
    found = _call(made, (), settings, f"tasks ({name})") if callable(made) else made
    if not isinstance(found, TaskFamily):
        raise ValueError(f"{name} gives {type(found).__name__}; a TaskFamily or a function of one is needed.")
    return found


def learner_of(
    config: Config,
    input_shape: tuple[int, ...],
    kind: Kind,
    num_outputs: int,
    *,
    imports: bool = False,
    simulator: Simulator | None = None,
    optima: Mapping[str, Learner] | None = None,
    info: Mapping[str, Any] = MappingProxyType({}),
) -> Learner:
    """The learner of a configuration, for tasks of a kind: its sections `algorithm` and `model`; touches no data.

    A learner of policies needs the simulator of its tasks, and one that knows its tasks their optima: by default those
    of the section `tasks`. The `info` of the tasks says how many there are to train on and what their noise is,
    where that is left open, and whether a learner, of a stack each member, sees them in units of their own.
    """
    if kind == "control" and simulator is None:
        simulator = tasks_of(config, imports=imports).simulator
    table = ALGORITHMS
    name, settings = _section(current(config, table), "algorithm")
    if name == STACK:

        def built(member: Config) -> tuple[Learner, int | None]:
            return learner_of(member, input_shape, kind, num_outputs, imports=imports, info=info), own_steps(member)

        return stack_of(settings, built)
    network = _network(config, kind, imports)
    if ":" not in name:
        row = look_up(table, name, "algorithm")
        _check(settings, row.hyperparameters.values(), f"algorithm ({name})")
        if row.knows_tasks:
            settings["optima"] = tasks_of(config, imports=imports).optima if optima is None else optima
        settings |= found_in(info, settings, row.hyperparameters)
        made = algorithms.build(name, network, input_shape, kind, num_outputs, simulator=simulator, **settings)
        return post_hoc.with_units(made, info)
    model, likelihood = network(input_shape, num_outputs), simulator or for_kind(kind, num_outputs)
    builder = _function(name, imports)
    try:
        inspect.signature(builder).bind_partial(model, likelihood)
    except TypeError as error:
        raise ValueError(f"{name} takes no network and likelihood: name an algorithm before it.") from error
    learner = _call(builder, (model, likelihood), settings, f"algorithm ({name})")
    if not isinstance(learner, MetaLearner):
        raise ValueError(f"{name} returned {type(learner).__name__}; an algorithm has to return a MetaLearner.")
    return post_hoc.with_units(learner, info)


def transformed(
    config: Config, learner: Learner, family: Rows, names: Sequence[str], *, imports: bool = False
) -> Learner:
    """A configuration's learner, changed after its training by the transforms of these names.

    Args:
        config: what the learner was built from.
        learner: the learner.
        family: its tasks, or what they look like.
        names: of `metafunc.algorithms.post_hoc.TRANSFORMS`.
        imports: as in `build`.

    Raises:
        ValueError: there is no such transform, or it does not take this learner.

    Examples:
        >>> from metafunc.training.build import build, transformed
        >>> config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}}
        >>> learner, family = build(config)
        >>> list(transformed(config, learner, family, ["tempered"]).ranges)
        ['temperature']
    """
    if family.kind == "control" and names:
        raise ValueError(
            f"{', '.join(names)}: policies predict no targets, so there is nothing to change after training."
        )
    if not names:
        return learner
    network, kind = _network(config, family.kind, imports), family.kind
    name, settings = _section(current(config, ALGORITHMS), "algorithm")
    shape, outputs = family.input_shape, family.num_outputs
    if ":" in name:
        return post_hoc.transformed(learner, names, [network(shape, outputs)], for_kind(kind, outputs))
    return post_hoc.transformed(learner, names, *parts(name, network, shape, kind, outputs, **settings))


def _section(config: Config, section: str) -> tuple[str, dict[str, Any]]:
    for name in config:
        if name not in SECTIONS:
            raise ValueError(f"The configuration has no section {name!r}.{did_you_mean(name, SECTIONS)}")
    # JSON knows no tuples, and no builder takes a list for anything else.
    given: Any = config.get(section, {})
    if not isinstance(given, Mapping):
        raise ValueError(f"The configuration's section {section!r} must hold settings by name, not {given!r}.")
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
        factory = look_up(MODELS, name, "model")
        return lambda shape, outputs: _call(factory, (shape, outputs), settings, where)
    own = _function(name, imports)
    seed = config.get("training", {}).get("seed", 0)

    def network(shape: tuple[int, ...], outputs: int | None) -> Model:
        known = inspect.signature(own).parameters
        offered = {"input_shape": shape, "num_outputs": outputs}
        given = {name: value for name, value in offered.items() if name in known and name not in settings}
        # A module draws its parameters from torch's global state; with a seed it draws the same ones again.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = _call(partial(own, **given), (), settings, where)
        if isinstance(made, torch.nn.Module):
            return nn.from_module(made)
        if not isinstance(made, Model):
            raise ValueError(f"{name} returned {type(made).__name__}; a torch.nn.Module or a metafunc.Model is needed.")
        return made

    return network


def _function(name: str, allowed: bool) -> Callable[..., Any]:
    found = _imported(name, allowed)
    if not callable(found):
        raise ValueError(f"{name} is {type(found).__name__}; a function or class is needed.")
    return found  # type: ignore[no-any-return]  # getattr knows no type


def _imported(name: str, allowed: bool) -> Any:
    if not allowed:
        raise ValueError(
            f"The configuration names {name}, which would have to be imported, and loading runs no code. Pass your "
            "learner, load(run, learner=...), or, for a configuration that you trust, imports=True."
        )
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"{name} cannot be imported: {error}. The form is package.module:attribute.") from error


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
            raise ValueError(f"{where} has no setting {name!r}.{did_you_mean(name, known)}")
    for name, parameter in known.items():
        required = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
        if required and name not in settings:
            raise ValueError(f"{where} needs the setting {name!r}.")


def own_steps(config: Mapping[str, Any]) -> int | None:
    """How many steps the learner of a run's configuration takes; None if only a user-supplied builder knows.

    Examples:
        >>> from metafunc.training.build import own_steps
        >>> own_steps({"algorithm": {"name": "maml"}}), own_steps({"algorithm": {"name": "maml", "num_steps": 5}})
        (1, 5)
    """
    algorithm = current(config, ALGORITHMS).get("algorithm", {})
    row = ALGORITHMS.get(algorithm.get("name"))
    usual = row.hyperparameters["num_steps"].default if row and row.inner_steps else 1 if row else None
    steps: int | None = algorithm.get("num_steps", usual)
    return steps
