"""Poor surroundings: what only shows ends nothing, and SIGHUP, links and other processes lose nothing of a run."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run as command

TRAIN = ["train", "maml", "sinusoid", "--steps", "3", "--num-tasks", "2", "--test-tasks", "4", "--test-steps", "1"]
PROGRAM = "from metafunc_cli.__main__ import main; main()"


def started(folder: Path, *words: str, shell: str = "", **environment: str) -> "subprocess.Popen[str]":
    """A command line in a shell, with redirections."""
    line = " ".join([f'exec "{sys.executable}" -c "{PROGRAM}"', *words, shell])
    where = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        **environment,
    }
    return subprocess.Popen(
        ["bash", "-c", line], cwd=folder, env=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(folder: Path, *words: str, shell: str = "", **environment: str) -> tuple[int, str]:
    process = started(folder, *words, shell=shell, **environment)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def is_announced(err: str) -> bool:
    """Whether the two lines that come before a training are all that there is; without them there is nothing."""
    assert not err or (err.startswith("maml on sinusoid: ") and err.count("\n") == 2)
    return bool(err)


@pytest.mark.parametrize("shell", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full"])
def test_a_stream_that_is_closed_or_full_ends_no_training(tmp_path: Path, shell: str) -> None:
    code, err = finished(tmp_path, *TRAIN, "--out", "run", shell=shell)
    assert code == 0
    assert is_announced(err) == ("2>" not in shell)
    assert (tmp_path / "run/meta_test.json").exists()


def test_characters_that_a_terminal_cannot_show_are_replaced(tmp_path: Path) -> None:
    code, err = finished(tmp_path, *TRAIN, "--out", "run", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert code == 0
    assert is_announced(err)


def test_the_meta_test_is_kept_before_it_is_shown(tmp_path: Path) -> None:
    code, _ = finished(tmp_path, *TRAIN, "--out", "run", shell=">/dev/full")
    assert code != 0
    assert (tmp_path / "run/meta_test.json").exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_stops_a_training_as_sigterm_does(tmp_path: Path, number: signal.Signals) -> None:
    process = started(tmp_path, *TRAIN[:3], "--steps", "1000000", "--num-tasks", "2", "--out", "run")
    log = tmp_path / "run/metrics.jsonl"
    while process.poll() is None and not log.exists():
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "can be resumed" in err
    assert list((tmp_path / "run/checkpoints").iterdir())


def test_a_run_that_is_under_way_is_not_touched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert command([*TRAIN, "--out", str(out), "--quiet"]) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with (out / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert command([*TRAIN, "--out", str(out), "--overwrite", "--quiet"]) == 2
    assert "Another process is training" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", ".lock", "config.json"])
def test_links_in_a_run_s_folder_are_refused(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    out, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    assert command([*TRAIN, "--out", str(out), "--quiet"]) == 0
    (out / name).rename(elsewhere)
    (out / name).symlink_to(elsewhere)
    kept = elsewhere.read_bytes() if elsewhere.is_file() else sorted(elsewhere.iterdir())
    assert command([*TRAIN, "--out", str(out), "--overwrite", "--quiet"]) == 2
    assert "is a link" in capfd.readouterr().err
    assert (elsewhere.read_bytes() if elsewhere.is_file() else sorted(elsewhere.iterdir())) == kept


@pytest.mark.parametrize("words", [["plot", "run"], ["compare", "run", "--test-tasks", "2", "--out", "compared"]])
def test_figures_are_not_drawn_through_a_link(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command([*TRAIN, "--out", "run", "--quiet"]) == 0
    Path("elsewhere").mkdir()
    Path("compared").mkdir()
    for name in ("run", "compared"):
        (tmp_path / name / "figures").symlink_to(tmp_path / "elsewhere")
    assert command(words) == 2
    assert "figures is a link" in capfd.readouterr().err
    assert not list(Path("elsewhere").iterdir())


def test_a_folder_that_does_not_become_a_run_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.png").write_bytes(b"cat")
    assert command([*TRAIN, "--out", str(tmp_path / "photos"), "--quiet"]) == 2
    assert command([*TRAIN, "--clip", "0", "--out", str(tmp_path / "new"), "--quiet"]) == 2
    assert [path.name for path in tmp_path.rglob("*")] == ["photos", "cat.png"]


def test_more_threads_than_a_machine_can_have_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert command([*TRAIN, "--threads", "100000", "--out", str(tmp_path / "run")]) == 2
    assert f"this machine has {os.cpu_count()}" in capfd.readouterr().err


def test_the_current_folder_shadows_no_installed_package(tmp_path: Path) -> None:
    assert command([*TRAIN, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    (tmp_path / "matplotlib.py").write_text("open('planted', 'w')")
    (tmp_path / "json.py").write_text("open('planted', 'w')")
    where = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    program = f"import sys; sys.path[:] = [p for p in {sys.path!r} if p]; {PROGRAM}"
    subprocess.run([sys.executable, "-c", program, "plot", "run"], cwd=tmp_path, env=where, check=True, timeout=120)
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("planted", ["text.usetex: True", "FIFO", "\udcff"])
def test_the_current_folder_does_not_set_matplotlib_up(tmp_path: Path, planted: str) -> None:
    """By `text.usetex` the names of columns and classes would be run by TeX, which here says that it was."""
    assert command([*TRAIN, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    if planted == "FIFO":
        os.mkfifo(tmp_path / "matplotlibrc")
    else:
        (tmp_path / "matplotlibrc").write_bytes(planted.encode(errors="surrogateescape"))
    (tmp_path / "bin").mkdir()
    for name in ("latex", "kpsewhich", "dvipng"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/ran\nexit 1\n")
        (tmp_path / "bin" / name).chmod(0o755)
    where = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    assert finished(tmp_path, "plot", "run", PATH=where, MPLCONFIGDIR="settings") == (0, "")
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "run/figures/adaptation.png").exists()
    assert (tmp_path / "settings").is_dir()


def test_the_user_s_own_settings_of_matplotlib_run_no_tex(tmp_path: Path) -> None:
    assert command([*TRAIN, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings/matplotlibrc").write_text("text.usetex: True")
    assert finished(tmp_path, "plot", "run", MPLCONFIGDIR="settings") == (0, "")


def test_what_keeps_torch_from_starting_is_named(tmp_path: Path) -> None:
    code, err = finished(tmp_path, *TRAIN, "--out", "run", TORCH_LOGS="nonsense")
    assert code == 3
    assert "nonsense" in err
    assert "TORCH_LOGS" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("columns", ["0", "00", "1", "wide"])
def test_a_terminal_of_no_width_shows_results_all_the_same(tmp_path: Path, columns: str) -> None:
    process = started(tmp_path, *TRAIN, "--out", "run", COLUMNS=columns)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "metafunc plot run" in out


def test_a_current_folder_that_has_been_deleted_is_said(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    line = f'cd gone; rmdir ../gone; exec "{sys.executable}" -c "{PROGRAM}" plot run'
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=where, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("metafunc plot: The current folder has been deleted")
