"""Cells on a Dask cluster: how they end there, who is refused, and what becomes of those whose worker is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
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
    "--algorithms maml cnp --tasks sinusoid --model mlp --model.hidden 6 --num-tasks 2 --steps 1500 "
    "--compile off --checkpoint-every 50 --validate-every 500 --test-tasks 12 --test-steps 2 --no-figures"
)
SUITE = """
about = "Sines."
learners = ["maml", "cnp"]
metric = "mse"
seeds = 1
test-tasks = 12
test-steps = 2

[settings]
steps = 1500
num-tasks = 2
model.hidden = [6]
compile = "off"
checkpoint-every = 50
validate-every = 500

[families.sines]
tasks = "sinusoid"
"""


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("words", "family"),
    [(["compare", *GRID.split()], "."), (["bench", "suite.toml"], "sines")],
    ids=["compare", "bench"],
)
def test_the_cell_of_a_killed_worker_goes_on_elsewhere_with_the_same_table(
    tmp_path: Path, words: list[str], family: str
) -> None:
    (tmp_path / "suite.toml").write_text(SUITE)
    command = [sys.executable, "-m", "metafunc_cli", *words, "--quiet", "--out"]
    with two_workers() as local:
        arguments = ["there", "--scheduler", local.scheduler_address]
        process = subprocess.Popen([*command, *arguments], cwd=tmp_path)
        while not [*(tmp_path / "there" / family).glob("maml-0/checkpoints/*")]:
            assert process.poll() is None
            time.sleep(0.1)
        parents = {_parent(cell) for cell in _processes("--cell", "0")} & _workers(local)
        assert len(parents) == 1
        os.kill(parents.pop(), signal.SIGKILL)
        assert process.wait(1200) == 0
    subprocess.run([*command, "here"], check=True, cwd=tmp_path)
    there, here = (tmp_path / where / family for where in ("there", "here"))
    for name in ("maml-0", "cnp-0"):
        assert (there / name / "metrics.jsonl").read_bytes() == (here / name / "metrics.jsonl").read_bytes()
    tables = [json.loads((each / "compare.json").read_text())["rows"] for each in (there, here)]
    for row in (row for rows in tables for row in rows):
        del row["seconds"], row["cpu_seconds"]
    assert tables[0] == tables[1]


TUNED = (
    "maml sinusoid --space inner_lr:1e-3..0.1:log --no-pruning --model.hidden 6 --num-tasks 2 --steps 1200 "
    "--compile off --checkpoint-every 50 --validate-every 400 --trials 3 --no-figures --quiet"
)


@pytest.mark.nightly
def test_the_trial_of_a_machine_that_is_lost_is_adopted_and_the_study_ends_as_with_one_worker(tmp_path: Path) -> None:
    """The worker's own process is killed as well, so that nothing is saved, and its trial is left as running."""
    pytest.importorskip("optuna")
    command = [sys.executable, "-m", "metafunc_cli", "tune", *TUNED.split(), "--out"]
    there = tmp_path / "there"
    with two_workers() as local:
        process = subprocess.Popen([*command, str(there), "--jobs", "2", "--scheduler", local.scheduler_address])
        while len([*there.glob("trial-*/checkpoints")]) < 2 or not [*there.glob("trial-00000/checkpoints/*")]:
            assert process.poll() is None
            time.sleep(0.1)
        owner = next(each for each in _processes("--worker") if _holds(each, there / ".locks" / "0"))
        parent = _parent(owner)
        assert parent in _workers(local)
        for number in (parent, owner):
            os.kill(number, signal.SIGKILL)
        assert process.wait(600) == 0
    subprocess.run([*command, str(tmp_path / "here")], check=True)
    reports = [json.loads((tmp_path / where / "tune.json").read_text()) for where in ("there", "here")]
    assert [one["state"] for one in reports[0]["trials"]] == ["complete"] * 3
    for report in reports:
        for one in report["trials"]:
            one.pop("run")
    assert reports[0]["trials"] == reports[1]["trials"]
    for number in range(3):
        logs = [tmp_path / where / f"trial-{number:05d}" / "metrics.jsonl" for where in ("there", "here")]
        assert logs[0].read_bytes() == logs[1].read_bytes()
    started = (there / "journal.log").read_text()
    assert re.search(r'"started at": ?\[0, ?[1-9]', started), "it went on from a checkpoint"


def two_workers() -> Any:  # a cluster of distributed, whose classes have no types
    """A cluster of two workers, which are processes of a thread each."""
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    return distributed.LocalCluster(host="127.0.0.1", **options)


def _workers(local: Any) -> set[int]:
    """The processes of a cluster's workers."""
    return {worker.pid for worker in local.workers.values()}


def _processes(*words: str) -> list[int]:
    """The processes whose commands have some words, one after the other."""
    wanted, found = "\0".join(["", *words, ""]).encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if wanted in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def _parent(number: int) -> int:
    """The process that has started another."""
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])


def _holds(number: int, file: Path) -> bool:
    """Whether a process has a file open."""
    found = set()
    for link in Path(f"/proc/{number}/fd").iterdir():
        with suppress(OSError):  # it has just closed it
            found.add(os.readlink(link))
    return str(file) in found
