"""Who may import whom: the table of docs/architecture.md, held against the imports in the code."""

import ast
import re
from pathlib import Path

import pytest

from .sources import HOUSE, ROOT, commands, imports, modules, relative

GROUND = {"recipe", "types", "tree", "checks"}
LAZY = {
    "datasets",
    "matplotlib",
    "rich",
    "tyro",
    "pandas",
    "PIL",
    "gymnasium",
    "mujoco",
    "sklearn",
    "tensorboard",
    "trackio",
    "wandb",
    "huggingface_hub",
    "botorch",
    "gpytorch",
    "optuna",
    "distributed",
}

OF_ROOM = {"sklearn": {"sklearn"}, "botorch": {"botorch", "gpytorch"}}
"""The libraries that a room is called as a library for."""


def allowed() -> dict[str, set[str]]:
    """What the page's table lets each package import."""
    page = (ROOT / "docs/architecture.md").read_text()
    section = page.split("## Who may import whom")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", section, flags=re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", text)) for name, text in rows}


ALLOWED = allowed()


def named(path: Path) -> str:
    """The dotted name of a file of the house."""
    base = ROOT if path.is_relative_to(HOUSE) else ROOT / "cli"
    return ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


FILES = {named(path): path for path in (*modules(), *commands())}


def top_level_imports(source: str) -> set[str]:
    return {name.split(".")[0] for node in ast.parse(source).body for name in imports(node) if _at_import(node)}


def _at_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def room(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


ROOMS = {room(path) for path in modules()} - {"__init__", "__main__"}


def forbidden(name: str, source: str) -> set[str]:
    """The rooms that a source of a room imports and may not, wherever the import stands."""
    found = {name for name in imports(ast.parse(source)) if name.split(".")[0] == "metafunc"}
    rooms = {name.split(".")[1] for name in found if "." in name} & ROOMS
    # `from metafunc import tree` names a room; anything else that is taken from there is the face's.
    face = {"the face"} if any("." in name and name.split(".")[1] not in ROOMS for name in found) else set()
    return (rooms - ALLOWED[name] - (GROUND if name not in GROUND else set()) - {name}) | face


def test_the_table_names_every_room_and_no_other() -> None:
    assert set(ALLOWED) == ROOMS | {"cli"}
    assert set().union(*ALLOWED.values()) <= ROOMS


def test_the_top_level_is_short() -> None:
    entries = [path for path in HOUSE.iterdir() if path.name != "__pycache__"]
    assert {path.stem for path in entries if path.suffix == ".py"} == GROUND | {"__init__", "__main__"}
    assert len([path for path in entries if path.is_dir()]) == 13


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_imports_run_downwards(path: Path) -> None:
    if path not in (HOUSE / "__init__.py", HOUSE / "__main__.py"):
        assert not forbidden(room(path), path.read_text())


def test_an_upward_import_is_caught() -> None:
    assert forbidden("transforms", "from metafunc.algorithms import maml") == {"algorithms"}
    assert forbidden("data", "def f():\n    from metafunc.training import fit") == {"training"}
    assert forbidden("types", "from metafunc import tree") == {"tree"}
    assert forbidden("training", "def f():\n    from metafunc import fit") == {"the face"}


def test_the_table_itself_has_no_circle() -> None:
    graph = {name: allowed | (GROUND if name not in GROUND else set()) for name, allowed in ALLOWED.items()}
    assert not circle(graph)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A closed walk through a graph, or none."""
    done: set[str] = set()

    def visit(node: str, trail: list[str]) -> list[str]:
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node not in done:
            for other in sorted(graph.get(node, ())):
                if found := visit(other, [*trail, node]):
                    return found
            done.add(node)
        return []

    return next((found for node in graph if (found := visit(node, []))), [])


def files_imported(path: Path) -> set[str]:
    """The files of the house that a file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in inside}
    return (found & FILES.keys()) - {named(path)}


def test_no_files_import_each_other() -> None:
    assert not circle({name: files_imported(path) for name, path in FILES.items()})


def test_a_circle_is_caught() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


@pytest.mark.parametrize(
    "path", sorted((HOUSE / "algorithms").rglob("*.py")), ids=lambda path: str(path.relative_to(HOUSE))
)
def test_algorithms_do_not_import_each_other(path: Path) -> None:
    if path.stem not in ("__init__", "table", "by_name"):
        shared = {"metafunc.algorithms", "metafunc.algorithms.assembly", "metafunc.algorithms.latent"}
        assert not {name for name in files_imported(path) if name.startswith("metafunc.algorithms")} - shared


def test_execution_knows_no_learner() -> None:
    sources = {path: path.read_text() for path in (HOUSE / "execution").rglob("*.py")}
    assert not [path for path, source in sources.items() if "MetaLearner" in source]


KIT = ("numerics", "problems", "identities", "diagnosis")
"""The rooms of the test kit: each imports those before it."""


def wrong_way(kit_room: str, source: str) -> set[str]:
    """The rooms of the test kit that a source imports and that come after its own."""
    found = {name.split(".")[2] for name in imports(ast.parse(source)) if name.startswith("metafunc.testing.")}
    return found - set(KIT[: KIT.index(kit_room) + 1])


@pytest.mark.parametrize("path", sorted((HOUSE / "testing").glob("*/*.py")), ids=relative)
def test_the_test_kit_imports_one_way(path: Path) -> None:
    assert not wrong_way(path.parent.name, path.read_text())


def test_an_import_against_the_way_of_the_test_kit_is_caught() -> None:
    assert wrong_way("problems", "from metafunc.testing.identities import table") == {"identities"}
    assert wrong_way("identities", "from metafunc.testing import network") == {"network"}
    assert not wrong_way("diagnosis", "from metafunc.testing.numerics.report import Report")


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_heavy_libraries_are_imported_lazily(path: Path) -> None:
    # A room that is called as a library is for those who have asked for that.
    assert not top_level_imports(path.read_text()) & (LAZY - OF_ROOM.get(room(path), set()))
