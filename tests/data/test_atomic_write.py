"""Files that are replaced as a whole, and never through what somebody else has laid in the way."""

import errno
import fcntl
import os
import secrets
from pathlib import Path

import pytest

from metafunc.data.atomic_write import BUILDING, replace_file, sweep, write_text


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    for text in ("one", "two"):
        write_text(path, text)
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_old_file_and_no_remnant(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    write_text(path, "old")

    def half(building: Path) -> None:
        building.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("planted", ["file", "link"])
def test_what_lies_at_the_new_file_s_name_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    path, victim = tmp_path / "note.txt", tmp_path / "victim"
    victim.write_text("precious")
    building = tmp_path / f".guessed{BUILDING}note.txt"

    def guessed(_: int) -> str:
        building.hardlink_to(victim) if planted == "file" else building.symlink_to(victim)
        return "guessed"

    monkeypatch.setattr(secrets, "token_hex", guessed)
    with pytest.raises(FileExistsError):
        write_text(path, "new")
    assert victim.read_text() == "precious"
    assert not path.exists()


def test_a_file_that_is_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    path, victim = tmp_path / "note.txt", tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    write_text(path, "new")
    assert (victim.read_text(), path.read_text(), path.is_symlink()) == ("precious", "new", False)


def test_what_a_dead_writer_left_is_deleted_and_what_a_live_one_writes_is_not(tmp_path: Path) -> None:
    path, other = tmp_path / "note.txt", tmp_path / f".1{BUILDING}other.txt"
    remnant = tmp_path / f".0{BUILDING}note.txt"
    for left in (remnant, other):
        left.write_text("half of i")
    with remnant.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        write_text(path, "new")
        assert remnant.exists()
    write_text(path, "newer")
    assert sorted(tmp_path.iterdir()) == sorted([path, other]), "or what belongs to another file is gone too"
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_reported_with_the_file_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        write_text(tmp_path / "note.txt", "new")
    assert raised.value.filename == str(tmp_path / "note.txt")
