"""How a value of functions was built: what it is called in print, and how it travels in a pickle.

A learner, a task family or a network holds functions that are defined inside its builder, where pickle cannot find them
again. Its builder can be found: a value remembers it with its arguments, which are its settings, and is rebuilt from
them. What is changed by `dataclasses.replace` is another value, and remembers nothing.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from html import escape
from importlib import import_module
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

import torch
from torch import Tensor

A = ParamSpec("A")
C = TypeVar("C", bound=type)
Rows: TypeAlias = list[tuple[str, str]]
"""What is said of a value: pairs of a name, empty for what needs none, and a text."""
WIDTH, LINES = 100, 12
"""What a value takes in print at most."""
COUNTED = "_num_parameters"
"""Where a value keeps how many parameters it has."""
SIZES = ("input_shape", "hidden", "filters", "num_outputs")
"""The settings that say how large a network is."""


class Recipe(NamedTuple):
    """A call that gives a value.

    Args:
        builder: of the form package.module:name.
        arguments: by position.
        keywords: by name.
    """

    builder: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The builder's own name."""
        return self.builder.rpartition(":")[2]

    def function(self) -> Callable[..., Any]:
        """The builder itself."""
        module, _, name = self.builder.partition(":")
        found: Callable[..., Any] = getattr(import_module(module), name)
        return found

    def settings(self) -> dict[str, Any]:
        """All arguments by name, with the defaults."""
        bound = inspect.signature(self.function()).bind(*self.arguments, **self.keywords)
        bound.apply_defaults()
        return {**bound.arguments}


class Printed:
    """A value that says what it is in at most twelve lines, in print and in a notebook."""

    def _described(self) -> Rows:
        """What is said: the fields of a dataclass."""
        return [(name, short(part)) for name, part in vars(self).items()]

    def __repr__(self) -> str:
        text = ", ".join(value if not name else f"{name}={value}" for name, value in self._described())
        return fill(f"{type(self).__name__}({text})", WIDTH, subsequent_indent="    ", max_lines=LINES)

    def _repr_html_(self) -> str:
        return as_html(type(self).__name__, self._described())


class Built(Printed):
    """A frozen dataclass of functions that may know its recipe."""

    recipe: Recipe | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The arguments of the builder by name, with its defaults; empty for what was put together by hand."""
        return {} if self.recipe is None else self.recipe.settings()

    def _described(self) -> Rows:
        if self.recipe is None:
            functions = {name: part for name, part in vars(self).items() if callable(part)}
            known = [("", str(part)) for name, part in vars(self).items() if name in ("name", "kind")]
            return [*known, ("", "by hand"), *((name, short(part)) for name, part in functions.items())]
        settings = self.settings
        parts = [("", short(part)) for part in settings.values() if isinstance(part, Built)]
        sizes = [("", size)] if (size := _size(self)) else []
        rest = {name: part for name, part in settings.items() if not isinstance(part, Built) and part is not None}
        kind = [("", str(getattr(self, name))) for name in ("kind",) if hasattr(self, name)]
        return [("", self.recipe.name), *kind, *parts, *sizes, *((name, short(part)) for name, part in rest.items())]

    def __copy__(self) -> "Built":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Built":
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.recipe is not None and "<locals>" not in self.recipe.builder:
            return rebuilt, (self.recipe, getattr(self, "info", None))
        inside = [name for name, value in vars(self).items() if "<l" in getattr(value, "__qualname__", "")]
        if inside:
            raise TypeError(
                f"This {type(self).__name__} was put together by hand, and pickle cannot find the functions in "
                f"{', '.join(inside)} again: they are defined inside others. Pickle what it is built from, and build "
                "it again; what a builder of metafunc returned, unchanged, can be pickled as it is."
            )
        return super().__reduce_ex__(protocol)


B = TypeVar("B", bound=Built)


def built(builder: Callable[A, B]) -> Callable[A, B]:
    """Let what a builder returns remember the call.

    Args:
        builder: a function of a module.

    Returns:
        The same, with a recipe in what it returns.

    Examples:
        >>> import pickle
        >>> from metafunc import nn
        >>> model = nn.mlp((1,), 1, hidden=(40, 40))
        >>> model.recipe.name, model.settings["hidden"], pickle.loads(pickle.dumps(model)).settings == model.settings
        ('mlp', (40, 40), True)
    """

    @wraps(builder)
    def made(*arguments: A.args, **keywords: A.kwargs) -> B:
        value = builder(*arguments, **keywords)
        found = object.__new__(type(value))
        owned = {name: _owned(part) for name, part in keywords.items()}
        recipe = Recipe(f"{builder.__module__}:{builder.__qualname__}", tuple(map(_owned, arguments)), owned)
        vars(found).update(vars(value), recipe=recipe)
        return found

    return made


def _owned(value: Any) -> Any:
    """A setting that its giver can no longer change: lists and mappings are copied."""
    if isinstance(value, dict):
        return {name: _owned(part) for name, part in value.items()}
    return [_owned(part) for part in value] if isinstance(value, list) else value


def rebuilt(recipe: Recipe, info: Any) -> Any:
    """The value of a recipe.

    Args:
        recipe: what it was built by.
        info: what a task family recorded of its data; None for anything else.

    Raises:
        ValueError: the data are others now.
    """
    value = recipe.function()(*recipe.arguments, **recipe.keywords)
    if info != getattr(value, "info", None):
        raise ValueError(f"The data of {recipe.name} are not those that it was pickled with: {info} has changed.")
    return value


def short(value: Any) -> str:
    """A setting in a few words."""
    if isinstance(value, Built):
        name = "by hand" if value.recipe is None else value.recipe.name
        widths = [value.settings[size] for size in SIZES if value.settings.get(size) is not None]
        numbers = [*_flat(widths)] if "input_shape" in value.settings else []
        return f"{name} {'-'.join(numbers)}".strip()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Tensor) or hasattr(value, "shape"):
        return f"{type(value).__name__} {'x'.join(map(str, value.shape))}".strip()
    if isinstance(value, int | str | Path) or value is None:
        return str(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(map(str, value))}}}"
    if isinstance(value, tuple | list) and len(value) <= LINES:
        return f"({', '.join(map(short, value))})"
    return str(getattr(value, "__qualname__", type(value).__name__))


def by_shapes(cls: C) -> C:
    """Let a NamedTuple of tensors say their shapes, since numbers would fill pages.

    Examples:
        >>> from metafunc.types import Batch
        >>> Batch(torch.zeros(5, 1), torch.zeros(5, dtype=torch.int64))
        Batch(x=5x1 float32, y=5 int64)
    """

    def described(value: Any) -> Rows:
        fields = [(name, part) for name, part in value._asdict().items() if not isinstance(part, tuple) or part]
        return [(name, _shape(part)) for name, part in fields]

    def text(value: Any) -> str:
        return f"{cls.__name__}({', '.join(f'{name}={said}' for name, said in described(value))})"

    cls.__repr__ = text  # type: ignore[method-assign, assignment]  # a NamedTuple can have no base that has it
    cls._repr_html_ = lambda value: as_html(cls.__name__, described(value))  # type: ignore[attr-defined]  # likewise
    return cls


def as_html(title: str, rows: Rows) -> str:
    """A table of at most twelve lines."""
    shown = rows[: LINES - 1] + ([("", f"and {len(rows) - LINES + 1} more")] if len(rows) >= LINES else [])
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in shown)
    return f"<table><tr><th colspan=2 style='text-align:left'>{escape(title)}</th></tr>{cells}</table>"


def _shape(part: Any) -> str:
    if isinstance(part, Tensor):
        size = "x".join(map(str, part.shape)) or "scalar"
        return f"{size} {str(part.dtype).removeprefix('torch.')}"
    return repr(part) if hasattr(part, "_asdict") else short(part)


def _size(value: Built) -> str:
    """How many numbers the parameters of a network or a learner are, which is found out once: they are made for it."""
    init = getattr(value, "init", None)
    if init is None:
        return ""
    known = vars(value)
    if COUNTED not in known:
        known[COUNTED] = sum(leaf.numel() for leaf in _leaves(init(torch.Generator().manual_seed(0))))
    return f"{known[COUNTED]:,} parameters"


def _leaves(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping | tuple | list):
        for part in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _leaves(part)


def _flat(values: Any) -> Iterator[str]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield str(value)
