"""Cells on a Dask cluster: how they end there, who is refused, and what becomes of those whose worker is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.cells import cluster
from metafunc_cli.cells.cell import Cell, Ended
from metafunc_cli.cells.cluster import run_there
from metafunc_cli.errors import UsageError

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler, with one worker of two threads in this process."""
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": ":0"}
    with distributed.LocalCluster(protocol="tcp", host="127.0.0.1", **options) as local:
        yield local.scheduler_address


def cells(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> list[Cell]:
    """Two cells, whose program is a script."""
    program = folder / "program"
    program.write_text(f"#!/bin/bash\nshift 2\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return [Cell(name, ("compare", name), str(folder)) for name in "ab"]


def test_each_ends_there_as_here(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = cells(tmp_path, monkeypatch, '[ $2 = a ] && exit 0; echo "metafunc compare: It diverged." >&2; exit 4')
    found = {cell.name: ended for cell, ended in run_there(given, address, lambda: ())}
    assert found == {"a": Ended(0), "b": Ended(4, "It diverged.")}


def test_a_signal_ends_the_processes_of_the_workers(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"trap 'touch {tmp_path}/$2.saved; exit 143' TERM; touch {tmp_path}/$2.began; while :; do sleep 0.05; done"
    given = cells(tmp_path, monkeypatch, script)
    began = [tmp_path / f"{cell.name}.began" for cell in given]

    def asked() -> list[int]:
        return [signal.SIGINT] if all(file.exists() for file in began) else []

    found = {cell.name: ended.code for cell, ended in run_there(given, address, asked)}
    assert found == {"a": 130, "b": 130}
    deadline = time.monotonic() + 30
    while len([*tmp_path.glob("*.saved")]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_with_other_versions_is_refused() -> None:
    found = cluster._run_here(Cell("a", ("compare",)), {"metafunc": "99.0"})
    assert found.code == 2
    assert "and not 99.0: install the same on all machines" in found.message


def test_where_no_scheduler_answers_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT", 0.5)
    with pytest.raises(UsageError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        next(run_there([Cell("a", ("compare",))], "tcp://127.0.0.1:9", lambda: ()))


def test_without_dask_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"metafunc\[dask\]"):
        next(run_there([Cell("a", ("compare",))], "tcp://127.0.0.1:9", lambda: ()))


GRID = (
    "--algorithms maml cnp --tasks sinusoid --model mlp --model.hidden 6 --num-tasks 2 --steps 1500 --compile off "
    "--checkpoint-every 50 --validate-every 500 --test-tasks 12 --test-steps 2 --no-figures --quiet"
)


@pytest.mark.nightly
def test_the_cell_of_a_killed_worker_goes_on_elsewhere_with_the_same_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "metafunc_cli", "compare", *GRID.split(), "--out"]
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
    ) as local:
        process = subprocess.Popen([*command, str(tmp_path / "there"), "--scheduler", local.scheduler_address])
        while not [*(tmp_path / "there").glob("maml-0/checkpoints/*")]:
            assert process.poll() is None
            time.sleep(0.1)
        parents = {_parent_of_cell(0)} & {worker.pid for worker in local.workers.values()}
        assert len(parents) == 1
        os.kill(parents.pop(), signal.SIGKILL)
        assert process.wait(600) == 0
    subprocess.run([*command, str(tmp_path / "here")], check=True)
    for name in ("maml-0", "cnp-0"):
        there, here = (tmp_path / where / name / "metrics.jsonl" for where in ("there", "here"))
        assert there.read_bytes() == here.read_bytes()
    tables = [json.loads((tmp_path / where / "compare.json").read_text())["rows"] for where in ("there", "here")]
    for row in (row for rows in tables for row in rows):
        del row["seconds"], row["cpu_seconds"]
    assert tables[0] == tables[1]


def _parent_of_cell(number: int) -> int:
    """The process that has started a cell."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and f"--cell\0{number}\0" in (entry / "cmdline").read_bytes().decode(errors="replace"):
            return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    raise AssertionError("there is no such process")
