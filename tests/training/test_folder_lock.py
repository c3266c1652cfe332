"""A run's folder belongs to one process, and to none once that is dead."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from metafunc.training.folder_lock import locked, one_after_another, wait_until_free

HOLD = """
import sys
from pathlib import Path
from metafunc.training.folder_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_holder_frees_the_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"Another process is training in {tmp_path}; wait for it or stop it"):
            locked(tmp_path).__enter__()
        holder.kill()
        holder.wait()
        with locked(tmp_path):
            assert (tmp_path / ".lock").exists()


def test_a_folder_that_becomes_no_run_is_left_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path / "new"):
        raise RuntimeError
    assert not (tmp_path / "new").exists()
    (tmp_path / "notes.txt").write_text("mine")
    with locked(tmp_path):
        assert (tmp_path / ".lock").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "config.json").write_text("{}")
    with locked(tmp_path):
        pass
    assert (tmp_path / ".lock").exists(), "of a run it stays: another process may be about to lock it"


def test_a_link_is_not_locked(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link"):
        locked(tmp_path / "run").__enter__()
    assert not (tmp_path / "elsewhere").exists()


def test_waiting_ends_with_the_holder_or_with_patience(tmp_path: Path) -> None:
    wait_until_free(tmp_path / "absent", 60)
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        wait_until_free(tmp_path, 0.2)
        with pytest.raises(ValueError, match="Another process"):
            locked(tmp_path).__enter__()
        threading.Timer(0.3, holder.kill).start()
        wait_until_free(tmp_path, 600)
        with locked(tmp_path):
            assert (tmp_path / ".lock").exists()


def test_who_waits_for_another_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    with one_after_another(tmp_path, lambda: said.append("first")):
        pass
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        def waits() -> None:
            said.append("second")
            holder.kill()

        with one_after_another(tmp_path, waits):
            assert said == ["second"]
