"""The gate on public signatures notices what breaks callers, and lets through what does not."""

import shutil
from pathlib import Path

import griffe
import pytest

from .public_api import broken, load, public
from .sources import HOUSE


@pytest.fixture(scope="module")
def package() -> griffe.Module:
    return load(HOUSE.parent)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A package with a face like the house's."""
    source = tmp_path / "old/metafunc"
    (source / "rooms").mkdir(parents=True)
    (source / "__init__.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from metafunc import rooms as rooms\n    from metafunc.rooms.inside import fit as fit\n"
    )
    (source / "rooms/__init__.py").write_text("from metafunc.rooms.inside import maml as maml\n")
    (source / "rooms/inside.py").write_text(
        "def fit(x, *, steps=1, seed=0): ...\ndef maml(model, *, inner_lr=0.01): ...\ndef helper(x): ...\n"
    )
    return tmp_path / "old"


def changed(small: Path, file: str, old: str, new: str) -> list[str]:
    after = small.parent / "new"
    shutil.copytree(small, after)
    text = (after / "metafunc" / file).read_text()
    assert old in text
    (after / "metafunc" / file).write_text(text.replace(old, new))
    return broken(load(small), load(after))


@pytest.mark.parametrize(
    ("file", "old", "new", "name"),
    [
        ("__init__.py", "    from metafunc.rooms.inside import fit as fit\n", "", "metafunc.fit"),
        ("rooms/__init__.py", "import maml as maml", "import maml as _maml", "metafunc.rooms.maml"),
        ("rooms/inside.py", "steps=1, seed=0", "steps=1", "metafunc.fit"),
        ("rooms/inside.py", "steps=1, seed=0", "steps=1, seeds=0", "metafunc.fit"),
        ("rooms/inside.py", "inner_lr=0.01", "inner_lr=0.1", "metafunc.rooms.maml"),
        ("rooms/inside.py", "inner_lr=0.01", "inner_lr", "metafunc.rooms.maml"),
        ("rooms/inside.py", "(model, *, ", "(model, loss, *, ", "metafunc.rooms.maml"),
    ],
)
def test_what_breaks_callers_is_named(small: Path, file: str, old: str, new: str, name: str) -> None:
    found = changed(small, file, old, new)
    assert found
    assert all(line.startswith(f"{name}: ") for line in found)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("rooms/inside.py", "def helper(x)", "def helper()"),
        ("rooms/inside.py", "seed=0)", "seed=0, out=None)"),
        ("rooms/__init__.py", "maml as maml\n", "maml as maml\nfrom metafunc.rooms.inside import helper as helper\n"),
    ],
)
def test_what_breaks_no_caller_passes(small: Path, file: str, old: str, new: str) -> None:
    assert not changed(small, file, old, new)


def test_the_public_names_are_those_of_the_face(package: griffe.Module) -> None:
    import metafunc

    found = public(package)
    assert {name for name in dir(metafunc) if not name.startswith("_")} == {
        name.removeprefix("metafunc.") for name in found if name.count(".") == 1
    }
    assert found["metafunc.fit"] == "metafunc.training.fit.fit"
    assert found["metafunc.algorithms.maml"] == "metafunc.algorithms.gradient_based.maml.maml"
