"""Where the house's sources are, and what they import."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOUSE = ROOT / "metafunc"
GENERATED = ROOT / "cli/metafunc_cli/settings/generated.py"


def modules() -> list[Path]:
    """The files of the library."""
    return sorted(HOUSE.rglob("*.py"))


def commands() -> list[Path]:
    """The files of the command line."""
    return sorted((ROOT / "cli").rglob("*.py"))


def relative(path: Path) -> str:
    """The name of a file in a test's own name."""
    return str(path.relative_to(ROOT))


def imports(tree: ast.AST) -> Iterator[str]:
    """What a tree imports, wherever the import stands: modules, and names in them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
