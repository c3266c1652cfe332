"""What `metafunc check` was pointed at: a module, a learner, a loss, or what builds one of them."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from metafunc.nn import likelihood
from metafunc.testing import network
from metafunc.testing.diagnosis.checklist import Checklist, examine_loss
from metafunc.testing.diagnosis.inputs import InputsError
from metafunc.testing.diagnosis.learner import examine_algorithm, examine_learner
from metafunc.testing.diagnosis.module import examine_module
from metafunc.testing.numerics.report import described
from metafunc.types import MetaLearner, Task
from metafunc_cli.errors import UsageError
from metafunc_cli.settings.user_builders import is_own, thing

if TYPE_CHECKING:
    from metafunc_cli.settings.checking_options import Checking

OUTPUTS = 5
"""Of a network whose factory asks for a number of outputs."""


def checklist_of(options: "Checking", shape: tuple[int, ...] | None) -> Checklist:
    """The checks of a target.

    Raises:
        UsageError: it is nothing that can be checked, or not with these options.
    """
    if not is_own(options.target):
        _refuse(options, f"{options.target} is checked as it is", "params", "batch", "input_shape", "input_dtype")
        _refuse(options, f"whether {options.target} is first-order is known", "first_order")
        try:
            return examine_algorithm(options.target)
        except ValueError as error:
            raise UsageError(str(error)) from error
    target = thing(options.target)
    if options.params is not None:
        if options.batch is None or not callable(target):
            raise UsageError("a loss needs both --params and --batch: package.module:factory of each.")
        _refuse(options, "a loss is checked on its --batch", "input_shape", "input_dtype", "first_order")
        try:
            return examine_loss(target, _made(options.params), _made(options.batch))
        except ValueError as error:
            raise UsageError(f"{options.target}: {error}") from error
    if not isinstance(target, nn.Module | MetaLearner):
        target = _built(options.target, target, shape)
    try:
        if isinstance(target, MetaLearner):
            _refuse(options, "a learner is checked on random tasks or on those of --batch", "input_dtype")
            tasks = None if options.batch is None else _made(options.batch)
            if not isinstance(tasks, Task | None):
                given = type(tasks).__name__
                raise UsageError(f"--batch: a learner takes a metafunc.Task of stacked tasks, and this is a {given}.")
            return examine_learner(target, input_shape=shape, tasks=tasks, exact=not options.first_order)
        _refuse(options, "a module is checked on random inputs", "batch", "first_order")
        return examine_module(target, input_shape=shape, numbers=options.input_dtype)
    except InputsError as error:
        further = "--batch package.module:tasks" if isinstance(target, MetaLearner) else "--input-dtype int"
        raise UsageError(f"{options.target}: {error} State what it takes with --input-shape, or {further}.") from error
    except ValueError as error:
        raise UsageError(f"{options.target}: {error}") from error


def _made(name: str) -> Any:
    """What a factory makes, from a fixed seed; a value stands for itself."""
    found = thing(name)
    return _seeded(name, found) if callable(found) else found


def _refuse(options: "Checking", why: str, *names: str) -> None:
    """Refuse options that would change nothing."""
    for name in names:
        if getattr(options, name):
            raise UsageError(f"--{name.replace('_', '-')} changes nothing here: {why}. Leave it out.")


def _built(name: str, target: Any, shape: tuple[int, ...] | None) -> Any:
    """What a function or class builds: a module or a learner."""
    if not callable(target):
        raise UsageError(f"{name} is {type(target).__name__}, but a module, a learner, a loss or a factory is needed.")
    needed = [
        argument.name
        for argument in inspect.signature(target).parameters.values()
        if argument.default is argument.empty and argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
    ]
    offered: dict[str, Any] = {"input_shape": shape, "num_outputs": OUTPUTS}
    offered |= {"model": network((2,), 3), "likelihood": likelihood.gaussian(3)}
    if unknown := [argument for argument in needed if argument not in offered]:
        raise UsageError(
            f"{name} needs {', '.join(unknown)}. A module's factory is called without arguments (or with input_shape "
            "and num_outputs), a learner's builder with model and likelihood; a loss needs --params and --batch."
        )
    if "input_shape" in needed and shape is None:
        raise UsageError(f"{name} needs an input shape: give it with --input-shape, for example 3,32,32.")
    built = _seeded(name, lambda: target(**{argument: offered[argument] for argument in needed}))
    if not isinstance(built, nn.Module | MetaLearner):
        raise UsageError(f"{name} built a {type(built).__name__}, but a torch.nn.Module or a MetaLearner is needed.")
    return built


def _seeded(name: str, make: Callable[[], Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        try:
            return make()
        except Exception as error:  # A user-supplied factory raises what it will.
            raise UsageError(f"{name} raised {described(error)}") from error
