"""Cells side by side: how they end, in what numbers, what signals do to them, and that none is left alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from metafunc_cli.cells import cell
from metafunc_cli.cells.cell import Cell, Ended
from metafunc_cli.cells.spread import spread

PYTHON = sys.executable


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in the place of this program: it is given the words after `-m metafunc_cli`."""
    script = tmp_path / "program"
    script.write_text(f"#!/bin/bash\nshift 2\n. {tmp_path}/do\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    return tmp_path / "do"


def cells(*names: str, folder: Path) -> list[Cell]:
    return [Cell(name, ("compare", name), str(folder)) for name in names]


def ignore(*_: object) -> None:
    """Of those that end."""


def test_each_ends_by_itself_and_says_why(program: Path, tmp_path: Path) -> None:
    program.write_text(
        'case $2 in a) echo "warning: slow" >&2; exit 0;; b) echo "metafunc compare: It diverged." >&2; exit 4;; esac\n'
        "exit 2\n"
    )
    order: list[str] = []
    ended = spread(cells("a", "b", "c", folder=tmp_path), jobs=2, on_end=lambda one, _: order.append(one.name))
    assert ended["a"] == Ended(0, "", ("slow",))
    assert ended["b"] == Ended(4, "It diverged.")
    assert ended["c"] == Ended(2, "It said nothing.")
    assert sorted(order) == ["a", "b", "c"]


def test_so_many_run_at_a_time_and_no_more(program: Path, tmp_path: Path) -> None:
    program.write_text(
        f"mkdir -p {tmp_path}/on; touch {tmp_path}/on/$2; ls {tmp_path}/on | wc -l >> {tmp_path}/counts\n"
        f"sleep 0.4; rm {tmp_path}/on/$2\n"
    )
    spread(cells(*"abcdef", folder=tmp_path), jobs=2, on_end=ignore)
    counts = [int(line) for line in (tmp_path / "counts").read_text().split()]
    assert len(counts) == 6
    assert max(counts) == 2


def test_one_that_is_killed_is_started_again_and_not_for_ever(program: Path, tmp_path: Path) -> None:
    program.write_text(f"echo x >> {tmp_path}/$2; [ $2 = b -o $(wc -l < {tmp_path}/$2) = 1 ] && kill -9 $$; exit 0\n")
    ended = spread(cells("a", "b", folder=tmp_path), jobs=1, on_end=ignore)
    assert ended["a"] == Ended(0)
    assert ended["b"] == Ended(128 + 9, f"Its process was ended by signal 9, {cell.ATTEMPTS} times.")
    assert (tmp_path / "b").read_text().count("x") == cell.ATTEMPTS


def test_a_folder_that_this_machine_does_not_have_is_named(tmp_path: Path) -> None:
    found = cell.run(Cell("a", ("compare",), str(tmp_path / "absent")), lambda: [])
    assert found.code == 2
    assert "absent" in found.message


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_stops_all_and_starts_no_other(
    number: signal.Signals, error: type[BaseException], program: Path, tmp_path: Path
) -> None:
    program.write_text(
        f"trap 'touch {tmp_path}/$2.saved; exit 130' INT TERM; touch {tmp_path}/$2.began\n"
        "while :; do sleep 0.05; done\n"
    )

    def send() -> None:
        while len([*tmp_path.glob("*.began")]) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(error):
        spread(cells("a", "b", "c", folder=tmp_path), jobs=2, on_end=ignore)
    assert {path.name for path in tmp_path.glob("*.*")} == {"a.began", "b.began", "a.saved", "b.saved"}


def test_none_is_left_alone_where_their_parent_is_killed(tmp_path: Path) -> None:
    module = tmp_path / "metafunc_cli_child.py"
    module.write_text(
        f"import os, time\nfrom metafunc_cli import tied\ntied.tie()\nopen({str(tmp_path / 'pid')!r}, 'w').write("
        "str(os.getpid()) + '\\n')\ntime.sleep(60)\n"
    )
    script = tmp_path / "program"
    script.write_text(f"#!/bin/bash\nexec {PYTHON} {module}\n")
    script.chmod(0o755)
    parent = (
        f"import sys\nsys.executable = {str(script)!r}\nfrom metafunc_cli.cells.cell import Cell\n"
        "from metafunc_cli.cells.spread import spread\nspread([Cell('a', ('train',))], on_end=print)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([PYTHON, "-c", parent], env=environment, cwd=tmp_path)
    pid = _when_written(tmp_path / "pid")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while _runs(pid):
        assert time.monotonic() < deadline, "the cell goes on without the one that has started it"
        time.sleep(0.05)


def _when_written(file: Path) -> int:
    while not (file.exists() and file.read_text().endswith("\n")):
        time.sleep(0.02)
    return int(file.read_text())


def _runs(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
