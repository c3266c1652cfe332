"""The face of the package: one list for type checkers, one for run time, and what loading them costs."""

import ast
import importlib
import subprocess
import sys

import pytest

import metafunc

from .sources import HOUSE

FACE = ast.parse((HOUSE / "__init__.py").read_text())


def for_type_checkers() -> dict[str, str]:
    """Each name of the TYPE_CHECKING block, and what is imported under it."""
    (block,) = (node for node in FACE.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "A name that is handed on is imported as itself."
            found[alias.name] = f"{node.module}.{alias.name}"
    return found


def at_run_time() -> dict[str, str]:
    """Each name of the run-time tables, and what is loaded for it."""
    return {**metafunc._MODULES, **{name: f"{home}.{name}" for name, home in metafunc._NAMES.items()}}


def test_both_lists_agree_name_by_name_and_home_by_home() -> None:
    assert for_type_checkers() == at_run_time()
    assert not metafunc._MODULES.keys() & metafunc._NAMES.keys()


@pytest.mark.parametrize("name", at_run_time())
def test_every_name_loads(name: str) -> None:
    home, _, last = at_run_time()[name].rpartition(".")
    module = importlib.import_module(home)
    expected = importlib.import_module(f"{home}.{last}") if name in metafunc._MODULES else getattr(module, last)
    assert getattr(metafunc, name) is expected
    assert metafunc.__getattr__(name) is expected


def test_the_version_is_that_of_the_package() -> None:
    assert metafunc.__version__ == importlib.import_module("importlib.metadata").version("metafunc")


def test_a_wrong_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'metafunc' has no attribute 'nope'"):
        metafunc.__getattr__("nope")
    with pytest.raises(AttributeError, match="Did you mean 'gradient_descent'"):
        metafunc.__getattr__("gradient_decent")
    with pytest.raises(ImportError, match="nope"):
        importlib.import_module("metafunc.nope")


def test_the_names_are_listed() -> None:
    assert set(dir(metafunc)) == at_run_time().keys() | {"__version__"}


def loaded_by(line: str) -> set[str]:
    """The modules of the house that a line loads, in a process of its own."""
    code = f"{line}\nimport sys\nprint(*(name for name in sys.modules if name.split('.')[0] == 'metafunc'))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_the_vocabulary_loads_nothing_else() -> None:
    assert loaded_by("import metafunc") == {"metafunc"}
    assert loaded_by("import metafunc.types") == {"metafunc", "metafunc.recipe", "metafunc.types"}
    assert loaded_by("from metafunc import Task") == {"metafunc", "metafunc.recipe", "metafunc.types"}
