"""The program that times a GPU, tried on the CPU; and that what it captures could be captured."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # `benchmarks` is no part of the installed package

from benchmarks.speed import gpu
from benchmarks.speed.workloads import Workload, tiny
from metafunc import tree

from ..execution.one_device import PRETENDED, Creations, OneDevice

QUICK = ["--device", "cpu", "--tiny", "--rounds", "2", "--block", "0.001", "--ways", "captured"]
SLOW = ("W5", "W3-T32", "W3-W20")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.nightly if n in SLOW else ()) for n in gpu.WORKS])
def test_a_gradient_neither_waits_for_the_device_nor_sends_to_it(name: str) -> None:
    """Either of them would end the capture of a CUDA graph."""
    step = gpu.made("eager", tiny(gpu.WORKS[name]), PRETENDED)
    with Creations() as made, OneDevice() as device:
        step()
    assert made.sent == device.sent == []


def test_the_program_times_and_writes_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["W1", "W6", *QUICK, "--out", str(tmp_path / "gpu.json")])
    kept = json.loads((tmp_path / "gpu.json").read_text())
    assert kept["about"] == {"torch": torch.__version__, "cuda": None, "device": "no GPU", "left_out": []}
    for name in ("W1", "W6"):
        ways = kept[name]["ways"]
        assert len(ways["eager"]["seconds"]) == len(kept[name]["matmul"]) == 2
        assert ways["captured"] == {"reason": "a CUDA graph needs a CUDA device"}
        assert "compiled" not in ways
    shown = capsys.readouterr().out
    assert "| W1 | eager | **" in shown
    assert "| W6 | captured | a CUDA graph needs a CUDA device |" in shown


def test_what_there_is_no_time_for_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main([*QUICK, "--minutes", "0", "--out", str(tmp_path / "gpu.json")])
    assert json.loads((tmp_path / "gpu.json").read_text())["about"]["left_out"] == [*gpu.WORKS]
    assert f"0 minutes are over: {', '.join(gpu.WORKS)}." in capsys.readouterr().out


def changed(by: float) -> Callable[[str, Workload, torch.device], gpu.Step]:
    """All ways but the eager one give another gradient."""
    made = gpu.made

    def other(way: str, work: Workload, device: torch.device) -> gpu.Step:
        value, gradient = made("eager", work, device)()
        return lambda: (value, gradient if way == "eager" else tree.scale(gradient, by))

    return other


@pytest.mark.parametrize(("by", "timed"), [(1.0, True), (1.001, False)])
def test_only_the_eager_gradient_is_timed(by: float, timed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "made", changed(by))
    work = tiny(gpu.WORKS["W1"])
    found: dict[str, Any] = gpu.race(work, ["captured"], torch.device("cpu"), number=2, block=0.0, size=8)
    assert ("seconds" in found["ways"]["captured"]) == timed
    assert timed or "its gradient is off by a relative" in found["ways"]["captured"]["reason"]


def test_the_floor_is_operations_over_the_rate() -> None:
    ways = {"eager": {"seconds": [0.004, 0.004], "first": 1.0}, "captured": {"seconds": [0.001, 0.001], "first": 2.0}}
    shown = gpu.table({"W1": {"ways": ways, "flops": 1e9, "matmul": [1e12, 1e12]}})
    assert "| W1 | captured | **1** (1-1) | 4.00× | 1.0 | 2.0 |" in shown


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which is the default")
def test_without_a_gpu_it_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu.main([])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "There is no device 'cuda' here" in said
    assert "--device cpu --tiny" in said


def test_an_unknown_work_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["W9"])
    assert "unknown workload W9; there are W1" in capsys.readouterr().err
