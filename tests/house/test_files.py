"""What is true of every file: short, of short functions, and free of what runs code that it reads."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .sources import GENERATED, HOUSE, ROOT, commands, imports, modules, relative

LINES = 300
FUNCTION = 60
"""Lines of a function, without its docstring."""
BUILDER = 110
"""Of an algorithm's builder, whose inner functions are the paper's equations."""
TABLE = HOUSE / "algorithms/table.py"
DRIVERS = sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
every_file = pytest.mark.parametrize("path", [*modules(), *commands()], ids=relative)


@pytest.mark.parametrize("path", [*modules(), *commands(), *DRIVERS], ids=relative)
def test_files_are_short(path: Path) -> None:
    assert path == GENERATED or len(path.read_text().splitlines()) <= LINES


def functions(source: str) -> Iterator[tuple[str, int]]:
    """The functions of a source, and how many lines they have without their docstrings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            first = node.body[0]
            docstring = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(node) is not None else 0
            yield node.name, node.end_lineno - node.lineno + 1 - docstring


def builders(table: str) -> set[tuple[str, str]]:
    """The builders of the table's rows, each by its file and name: what the table imports from its folders."""
    return {
        (f"{node.module.replace('.', '/')}.py", alias.name)
        for node in ast.walk(ast.parse(table))
        if isinstance(node, ast.ImportFrom)
        and node.module
        and re.match(r"metafunc\.algorithms\.\w+\.\w+$", node.module)
        for alias in node.names
    }


BUILDERS = builders(TABLE.read_text())


def long(path: str, source: str) -> dict[str, int]:
    """The functions of a file that are too long, and how long they are."""
    return {
        name: length
        for name, length in functions(source)
        if length > (BUILDER if (path, name) in BUILDERS else FUNCTION)
    }


@every_file
def test_functions_are_short(path: Path) -> None:
    assert not long(relative(path), path.read_text())


def test_only_builders_may_be_longer() -> None:
    path = "metafunc/algorithms/bayesian/pacoh.py"
    assert (path, "pacoh") in BUILDERS
    for name, length, allowed in (
        ("pacoh", BUILDER, True),
        ("pacoh", BUILDER + 1, False),
        ("own", FUNCTION + 1, False),
    ):
        source = f"def {name}():\n" + "    x = 1\n" * (length - 1)
        assert long(path, source) == ({} if allowed else {name: length})
        assert long("metafunc/algorithms/assembly.py", source) == {name: length}


def test_a_long_function_is_caught() -> None:
    short = 'def f():\n    """One.\n\n    Two.\n    """\n' + "    x = 1\n" * (FUNCTION - 1)
    assert dict(functions(short)) == {"f": FUNCTION}
    assert dict(functions(short + "    x = 1\n")) == {"f": FUNCTION + 1}


@every_file
def test_files_are_safe(path: Path) -> None:
    source = path.read_text()
    used = set(imports(ast.parse(source)))
    assert not used & {"pickle", "dill", "yaml", "marshal", "shelve"}
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}
    assert not calls & {"torch.load", "torch.save", "eval", "exec"}


def test_only_tree_knows_the_private_pytree() -> None:
    users = {relative(path) for path in modules() if "_pytree" in path.read_text()}
    assert users == {"metafunc/tree.py"}
