"""`metafunc compare --together`: an algorithm's seeds are trained at once, and are what they are one by one."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.__main__ import run

GRID = (
    "compare --algorithms maml --tasks sinusoid --seeds 2 --model mlp --model.hidden 6 --num-tasks 2 --steps 4 "
    "--validate-every 2 --test-tasks 12 --test-steps 2 --no-figures --quiet"
)


def compared(line: str) -> int:
    return run([*GRID.split(), *line.split()])


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_seeds_together_make_the_table_of_seeds_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert compared("--out alone") == 0
    assert compared("--out many --together") == 0
    tables = [json.loads((tmp_path / out / "compare.json").read_text())["rows"][0] for out in ("alone", "many")]
    assert tables[0]["mse"]["mean"] == pytest.approx(tables[1]["mse"]["mean"], rel=1e-4)
    for seed in (0, 1):
        alone, many = (tmp_path / out / f"maml-{seed}" for out in ("alone", "many"))
        assert json.loads((alone / "config.json").read_text()) == json.loads((many / "config.json").read_text())
        for one, other in zip(lines(alone), lines(many), strict=True):
            assert one.get("loss", math.pi) == pytest.approx(other.get("loss", math.pi), rel=1e-4)
        for one in (alone, many):  # each has its share of what all have taken
            taken = json.loads((one / "seconds.json").read_text())
            assert [each["step"] for each in taken["validations"]] == [2, 4]
            first, last = (each["cpu_seconds"] for each in taken["validations"])
            assert 0 < first < last <= taken["cpu_seconds"]
    # Of those that are there nothing is repeated; the one that is not is trained, alone or together.
    kept = tmp_path / "many" / "maml-0" / "checkpoints"
    before = kept.stat().st_mtime_ns
    shutil.rmtree(tmp_path / "many" / "maml-1")
    assert compared("--out many --together") == 0
    assert kept.stat().st_mtime_ns == before
    assert lines(tmp_path / "many" / "maml-1")[-1]["step"] == 4
    assert compared("--out many") == 0


def test_a_user_supplied_network_is_trained_seed_by_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_together.py").write_text("import torch\n\ndef net():\n    return torch.nn.Linear(1, 1)\n")
    line = GRID.replace("--model mlp --model.hidden 6", "--model own_together:net").replace("--quiet", "")
    assert run([*line.split(), "--together", "--out", "many"]) == 0
    assert "own_together:net may depend on the seed; maml is trained with one seed after the other" in (
        " ".join(capsys.readouterr().err.split())
    )


def test_finished_runs_are_not_trained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "one", "two", "--together"]) == 2
    assert "--together is for trainings" in capsys.readouterr().err
