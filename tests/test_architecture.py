"""Who may import whom: the plan of the house, held against the imports in the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = {"nn", "likelihood", "optim", "curvature", "posterior", "conjugate"}
METHODS = {
    "meta",
    "graph",
    "native",
    "looped",
    "inner",
    "factored",
    "implicit",
    "laplace",
    "ensemble",
    "objectives",
    "variational",
    "rl",
}
LEAVES = {"data", "metrics", "checkpoint", "figures"}
SHELL = {
    "active",
    "allocator",
    "comparison",
    "comparison_tables",
    "control",
    "edge",
    "evaluation",
    "events",
    "experiment",
    "own_task",
    "policy",
    "prediction",
    "recorder",
    "run",
    "scoring",
    "start",
    "state",
    "train",
}
GROUND = {"types", "tree"}

ALLOWED: dict[str, set[str]] = {
    "types": set(),
    "tree": {"types"},
    **dict.fromkeys(CORE, CORE | GROUND),
    **dict.fromkeys(METHODS, METHODS | CORE | GROUND),
    **dict.fromkeys(LEAVES, GROUND),
    "data": GROUND | {"rl"},
    "algorithms": METHODS | CORE | GROUND,
    **dict.fromkeys(SHELL, SHELL | {"algorithms", "data", "metrics", "checkpoint"} | METHODS | CORE | GROUND),
    "plotting": SHELL | {"data", "metrics", "figures"} | GROUND,
    "comparison_figures": SHELL | {"plotting", "data", "metrics", "figures"} | GROUND,
}
GENERATED = ROOT / "cli/metafunc_cli/config.py"
LAZY = {"datasets", "matplotlib", "rich", "tyro", "pandas", "PIL", "gymnasium", "mujoco"}


def modules() -> list[Path]:
    return sorted((ROOT / "metafunc").rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_level_imports(source: str) -> set[str]:
    return {name.split(".")[0] for node in ast.parse(source).body for name in imports(node) if _at_import(node)}


def _at_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def room(path: Path) -> str:
    return path.relative_to(ROOT / "metafunc").parts[0].removesuffix(".py")


def ours(source: str) -> set[str]:
    """The rooms of metafunc that a source imports, wherever the import stands."""
    names = {name for name in imports(ast.parse(source)) if name.startswith("metafunc.")}
    return {name.split(".")[1] for name in names} & {room(path) for path in modules()}


def forbidden(name: str, source: str) -> set[str]:
    return ours(source) - ALLOWED[name] - {name}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path: Path) -> None:
    name = room(path)
    if name not in ("__init__", "testing"):
        assert not forbidden(name, path.read_text())


def test_an_upward_import_is_caught() -> None:
    assert forbidden("inner", "from metafunc.algorithms import maml") == {"algorithms"}
    assert forbidden("data", "def f():\n    from metafunc import train") == {"train"}


@pytest.mark.parametrize("path", sorted((ROOT / "metafunc/algorithms").glob("*.py")), ids=lambda path: path.stem)
def test_algorithms_do_not_import_each_other(path: Path) -> None:
    others = {other.stem for other in path.parent.glob("*.py")} - {path.stem, "table", "checks", "__init__"}
    if path.stem not in ("__init__", "table"):
        named = {name.removeprefix("metafunc.algorithms.") for name in imports(ast.parse(path.read_text()))}
        assert not named & others


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_are_imported_lazily(path: Path) -> None:
    assert not top_level_imports(path.read_text()) & LAZY


@pytest.mark.parametrize(
    "path", [*modules(), *sorted((ROOT / "cli").rglob("*.py"))], ids=lambda path: str(path.relative_to(ROOT))
)
def test_files_stay_small_and_safe(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= 300 or path == GENERATED
    used = set(imports(ast.parse(source)))
    assert not used & {"pickle", "dill", "yaml", "marshal", "shelve"}
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}
    assert not calls & {"torch.load", "torch.save", "eval", "exec"}


def test_only_tree_knows_the_private_pytree() -> None:
    users = {room(path) for path in modules() if "_pytree" in path.read_text()}
    assert users == {"tree"}
