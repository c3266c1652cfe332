"""`metafunc eval` on another table: columns go by their names."""

import json
import random
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run


def table(path: Path, columns: str) -> Path:
    """y = 3 a + an offset of the task, beside a column that tells nothing."""
    draw = random.Random(0)
    lines = [columns]
    for task in range(30):
        offset = draw.gauss(0, 1)
        for _ in range(14):
            a, b = draw.gauss(0, 1), draw.gauss(0, 1)
            row = {"task": task, "a": a, "b": b, "y": 3 * a + offset, "note": task}
            lines.append(",".join(str(row[name]) for name in columns.split(",")))
    path.write_text("\n".join(lines) + "\n")
    return path


def scores(folder: Path, *more: str) -> list[float]:
    assert run(["eval", str(folder / "run"), "--num-tasks", "10", "--num-steps", "1", "--json", "--quiet", *more]) == 0
    newest = max(folder.glob("run/meta_test*.json"), key=lambda file: file.stat().st_mtime_ns)
    return [row["mse"]["mean"] for row in json.loads(newest.read_text())["meta_test"]["by_step"]]


def test_columns_go_by_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = table(tmp_path / "first.csv", "task,a,b,y")
    line = f"maml regression --data.path {first} --data.num-shots 5 --data.num-queries 8 --data.num-test-queries 8"
    more = "--steps 30 --num-tasks 4 --outer-lr 0.05 --test-tasks 0 --model.hidden 8 --quiet"
    assert run(["train", *line.split(), *more.split(), "--out", str(tmp_path / "run")]) == 0
    known = scores(tmp_path)
    for columns in ("task,b,a,y", "y,a,task,note,b"):
        other = table(tmp_path / f"{columns}.csv", columns)
        assert scores(tmp_path, "--data.path", str(other)) == known
    absent = table(tmp_path / "absent.csv", "task,a,y")
    capsys.readouterr()
    assert run(["eval", str(tmp_path / "run"), "--data.path", str(absent), "--num-tasks", "10"]) == 2
    assert f"input_columns of {absent} must be one of 'task', 'a', 'y', not 'b'" in capsys.readouterr().err
