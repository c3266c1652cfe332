"""The pages of the Python reference: a page for each algorithm, each task family and each module of the public names.

Which these are is read from the public tables and from the blocks of `docs/api.md`; what stands on a page is read from
the docstrings when the site is built.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import metafunc
from metafunc.algorithms import ALGORITHMS
from metafunc.data import FAMILIES

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "mkdocs.yml"
FACES = ("data", "evaluation.metrics", "nn", "results.figures", "rl", "sklearn", "testing", "transforms.inner")
"""Packages whose own names are public."""
OWN_PAGES = ("metafunc.algorithms", "metafunc.data.families")
"""Packages whose builders have a page each."""
OPTIONS = """    options:
      heading_level: 2
      show_root_heading: {heading}
      show_root_toc_entry: {heading}
"""


def pages() -> dict[str, str]:
    """The pages by their place on the site."""
    found = {"reference/metafunc.md": face()}
    for title, table in (("algorithms", ALGORITHMS), ("tasks", FAMILIES)):
        found |= {f"reference/{title}/{name}.md": builder(name, row.builder) for name, row in table.items()}
    return found | {place(name): module(name) for name in modules()}


def face() -> str:
    """The names of `metafunc` itself, and where each is described."""
    lines = [
        "# metafunc\n",
        "The names that `import metafunc` has. Each is loaded when it is first asked for.\n",
        "| name | what it is | described in |",
        "| --- | --- | --- |",
    ]
    described_in = modules()
    for name, room in sorted({**metafunc._NAMES, **metafunc._MODULES}.items()):
        found = getattr(metafunc, name)
        first = (found.__doc__ or "").strip().split("\n")[0].replace("|", r"\|")
        home = _home(found, room)
        link = place(home) if home in described_in else ""
        described = f"[`{home}`]({Path(link).relative_to('reference').as_posix()})" if link else f"`{home}`"
        lines.append(f"| `{name}` | {first} | {described} |")
    return "\n".join(lines) + "\n"


def builder(name: str, function: Any) -> str:
    """The page of an algorithm or a task family: its paper and equation, then the builder."""
    path = f"{function.__module__}.{function.__name__}"
    about = f"\n::: {function.__module__}\n{OPTIONS.format(heading='false')}      members: false\n"
    return f"# {name}\n{about}\n::: {path}\n{OPTIONS.format(heading='true')}"


def module(name: str) -> str:
    """The page of a module: all that is public in it."""
    return f"# {name}\n\n::: {name}\n{OPTIONS.format(heading='false')}"


def place(name: str) -> str:
    """The page of a module on the site.

    Examples:
        >>> place("metafunc.transforms.inner.step")
        'reference/transforms/inner.step.md'
        >>> place("metafunc.tree")
        'reference/ground/tree.md'
    """
    parts = name.split(".")[1:]
    room, rest = (parts[0], parts[1:]) if len(parts) > 1 else ("ground", parts)
    return f"reference/{room}/{'.'.join(rest)}.md"


@cache
def modules() -> list[str]:
    """The modules in which the public names are at home, in alphabetical order."""
    found = {*metafunc._NAMES.values(), *metafunc._MODULES.values(), *_of_the_page()}
    for name in FACES:
        found |= set(_of_the_face(import_module(f"metafunc.{name}")))
    own = {name for name in found if name.startswith(OWN_PAGES)}
    return sorted(name for name in found - own if name and not _is_package(name))


def _of_the_face(face: ModuleType) -> Iterator[str]:
    """The homes of what a room's face imports; a module of the room that somebody else imported is no name of it."""
    for node in ast.parse(inspect.getsource(face)).body:
        if isinstance(node, ast.ImportFrom):
            yield from (_home(getattr(face, alias.asname or alias.name), "") for alias in node.names)


def _of_the_page() -> Iterator[str]:
    """The homes of what the blocks of `docs/api.md` import."""
    text = (ROOT / "docs/api.md").read_text()
    for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module:
                yield from (_home(_found(node.module, alias.name), node.module) for alias in node.names)


def _found(home: str, name: str) -> Any:
    try:
        return getattr(import_module(home), name)
    except AttributeError:
        return import_module(f"{home}.{name}")


def _home(value: Any, otherwise: str) -> str:
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return name if isinstance(name, str) and name.startswith("metafunc.") else otherwise


def _is_package(name: str) -> bool:
    return hasattr(import_module(name), "__path__")


def navigation() -> str:
    """The reference's part of the site's navigation, as `mkdocs.yml` has it."""
    every = pages()
    rooms: dict[str, list[str]] = {}
    for name in every:
        parts = Path(name).parts
        if len(parts) == 3:
            rooms.setdefault(parts[1], []).append(name)
    lines = ["          - metafunc: reference/metafunc.md"]
    for room, names in rooms.items():
        lines.append(f"          - {room}:")
        lines += [f"              - {Path(name).stem}: {name}" for name in names]
    return "\n".join(lines) + "\n"
