"""User-supplied algorithms, networks and task families, named `package.module:builder`."""

import importlib
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import MISSING, field, make_dataclass, replace
from typing import Annotated, Any

import tyro

from metafunc_cli.errors import UsageError
from metafunc_cli.settings.rows import Row
from metafunc_cli.settings.signature import hyperparameters, summary


def is_own(name: str) -> bool:
    """Whether a name points into a module."""
    return ":" in name


def look_in_current_folder() -> None:
    """Let modules in the current folder be imported, after everything that is installed, which they cannot shadow."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def load(name: str) -> Callable[..., Any]:
    """The function or class that a name points at.

    Raises:
        UsageError: there is no such module, no such name in it, or it is something else.
    """
    found = thing(name)
    if not callable(found):
        raise UsageError(f"{name} is {type(found).__name__}, but a function or class is needed.")
    return found  # type: ignore[no-any-return]  # getattr knows no type


def thing(name: str) -> Any:
    """The object that a name points at; modules in the current folder are found as well.

    Raises:
        UsageError: there is no such module or no such name in it, or importing it fails.
    """
    module, _, attribute = name.partition(":")
    look_in_current_folder()
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise UsageError(f"{name}: {module} imports {error.name}, which is not installed.") from error
        raise UsageError(f"{name}: there is no module {error.name} in {os.getcwd()} or among the packages.") from error
    except Exception as error:  # A user-supplied module raises what it will.
        from metafunc.testing.numerics.report import described  # Here, because help answers without torch.

        raise UsageError(f"{name}: importing {module} raised {described(error)}") from error
    try:
        return getattr(found, attribute)
    except AttributeError as error:
        raise UsageError(f"{name}: {error}. The form is package.module:builder.") from error


def family(name: str) -> Row:
    """What there is to know of a task family: of a function that returns one, its arguments; its kind shows later.

    Raises:
        UsageError: there is no such thing, it is neither a family nor a function, or it needs an argument that the
            command line cannot read.
    """
    found = thing(name)
    if callable(found):
        return replace(row(name), kinds=())
    if type(found).__name__ != "TaskFamily":  # whose module is not imported for help
        raise UsageError(
            f"{name} is {type(found).__name__}, but a metafunc.TaskFamily is needed, or a function that returns one."
        )
    images = found.kind == "classification" and len(found.input_shape) == 3
    fields = make_dataclass("Own", (), frozen=True, namespace={"__doc__": found.name})
    return Row(fields, found.name, (found.kind,), "conv4" if images else "mlp")


def row(name: str, *, given: int = 0, offered: Collection[str] = ()) -> Row:
    """What there is to know of a builder, as for those of the tables.

    Args:
        name: package.module:builder.
        given: how many leading positional arguments are filled in for it.
        offered: the names of arguments that are filled in for it.

    Raises:
        UsageError: there is no such builder, or it needs an argument that the command line cannot read.
    """
    builder = load(name)
    try:
        found = hyperparameters(builder, given=given, offered=offered)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error
    fields = [
        (
            item.name,
            Annotated[item.type, tyro.conf.arg(help=item.help)],
            *(() if item.default is MISSING else (field(default=item.default),)),
        )
        for item in found
    ]
    first = summary(builder) or name
    return Row(make_dataclass("Own", fields, frozen=True, namespace={"__doc__": first}), first)
