"""What is up to date is not drawn again."""

from pathlib import Path

import pytest

from metafunc.results.drawn import NAME, unless_drawn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert drawn(tmp_path, "1") == (["figures/a.png"], True)
    return tmp_path


def drawn(folder: Path, source: str | None, part: str = "figures") -> tuple[list[str], bool]:
    def draw() -> list[Path]:
        (folder / part).mkdir(exist_ok=True)
        (folder / part / "a.png").write_text(f"from {source}")
        return [folder / part / "a.png"]

    files, now = unless_drawn(folder, part, source, draw)
    return [path.relative_to(folder).as_posix() for path in files], now


def test_the_same_is_drawn_once(folder: Path) -> None:
    assert drawn(folder, "1") == (["figures/a.png"], False)
    assert drawn(folder, "1", "numbers") == (["numbers/a.png"], True)
    assert drawn(folder, "1") == (["figures/a.png"], False), "each part for itself"


@pytest.mark.parametrize("damage", ["change", "delete", "forget", "garble", "other source", "no source"])
def test_what_is_not_known_to_be_the_same_is_drawn(folder: Path, damage: str) -> None:
    file = folder / "figures/a.png"
    if damage == "change":
        file.write_text("by hand")
    if damage == "delete":
        file.unlink()
    if damage == "forget":
        (folder / NAME).unlink()
    if damage == "garble":
        (folder / NAME).write_text('{"parts": {"figures": {"source": "1"}}}')
    source = {"other source": "2", "no source": None}.get(damage, "1")
    assert drawn(folder, source) == (["figures/a.png"], True)
    assert file.read_text() == f"from {source}"
    assert drawn(folder, source)[1] is (source is None)
