"""`metafunc eval` on another table: columns go by their names."""

import json
import random
from pathlib import Path

import pytest
import torch
from metafunc_cli.__main__ import run
from torch import Tensor

import metafunc
from metafunc import tree
from metafunc.data import redraw
from metafunc.training.build import tasks_of
from metafunc.training.run import Run


def table(path: Path, columns: str, factor: float = 1.0, more: float = 0.0) -> Path:
    """y = 3 a + an offset of the task, beside a column that tells nothing; y in another unit, from another zero."""
    draw = random.Random(0)
    lines = [columns]
    for task in range(30):
        offset = draw.gauss(0, 1)
        for _ in range(14):
            a, b = draw.gauss(0, 1), draw.gauss(0, 1)
            row = {"task": task, "a": a, "b": b, "y": factor * (3 * a + offset) + more, "note": task}
            lines.append(",".join(str(row[name]) for name in columns.split(",")))
    path.write_text("\n".join(lines) + "\n")
    return path


def scores(folder: Path, *more: str) -> list[float]:
    assert run(["eval", str(folder / "run"), "--num-tasks", "10", "--num-steps", "1", "--json", "--quiet", *more]) == 0
    newest = max(folder.glob("run/meta_test*.json"), key=lambda file: file.stat().st_mtime_ns)
    return [row["mse"]["mean"] for row in json.loads(newest.read_text())["meta_test"]["by_step"]]


def trained(folder: Path) -> None:
    first = table(folder / "first.csv", "task,a,b,y")
    line = f"maml regression --data.path {first} --data.num-shots 5 --data.num-queries 8 --data.num-test-queries 8"
    more = "--steps 30 --num-tasks 4 --outer-lr 0.05 --test-tasks 0 --model.hidden 8 --quiet"
    assert run(["train", *line.split(), *more.split(), "--out", str(folder / "run")]) == 0


def test_columns_go_by_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path)
    known = scores(tmp_path)
    for columns in ("task,b,a,y", "y,a,task,note,b"):
        other = table(tmp_path / f"{columns}.csv", columns)
        assert scores(tmp_path, "--data.path", str(other)) == known
    absent = table(tmp_path / "absent.csv", "task,a,y")
    capsys.readouterr()
    assert run(["eval", str(tmp_path / "run"), "--data.path", str(absent), "--num-tasks", "10"]) == 2
    assert f"{absent} has the columns 'task', 'a', 'y', and not 'b'" in capsys.readouterr().err
    for flag, name in (("--data.target-columns", "a"), ("--data.input-columns", "b")):
        assert run(["eval", str(tmp_path / "run"), "--num-tasks", "10", flag, name]) == 2
        assert f"leave out {flag}, and call the columns so in the file" in capsys.readouterr().err


def test_another_table_is_in_the_units_of_the_run(tmp_path: Path) -> None:
    """A table's own moments would hide that its targets are in another unit: eval's error is that of predict."""
    trained(tmp_path)
    known, folder = scores(tmp_path), tmp_path / "run"
    info = Run(folder).columns
    assert info is not None
    other = table(tmp_path / "other.csv", "task,a,b,y", factor=10.0, more=-40.0)
    found = scores(tmp_path, "--data.path", str(other))
    learner, meta = metafunc.load(folder)
    family = tasks_of({"tasks": Run(folder).config["tasks"]})
    mean, scale = info["target_mean"][0], info["target_scale"][0]

    def in_units(y: Tensor) -> Tensor:
        return ((y * scale + mean) * 10 - 40 - mean) / scale

    errors = []
    for i in range(10):
        task = redraw(family.test, 0, "test", 0, i)
        support, y = task.support._replace(y=in_units(task.support.y)), in_units(task.query.y)
        params = tree.unstack(learner.path(meta, support, 1))
        errors.append([float((learner.predict(p, task.query.x).loc[0] - y).square().mean()) for p in params])
    assert found == pytest.approx(torch.tensor(errors).mean(0).tolist(), rel=1e-4)
    assert found[0] > 20 * known[0]


def test_a_test_and_a_comparison_say_their_results_in_the_unit_of_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path)
    capsys.readouterr()
    assert run(["eval", str(tmp_path / "run"), "--num-tasks", "4", "--num-steps", "3", "--quiet"]) == 0
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("RMSE in the unit of y: ")]
    assert [each.split(" ")[1] for each in said.split(": ")[1].split("), ")] == ["adaptation", "1"]  # of steps 0 to 3
    words = ["compare", str(tmp_path / "run"), "--test-tasks", "8", "--test-steps", "1", "--no-figures", "--quiet"]
    assert run([*words, "--out", str(tmp_path / "out")]) == 0
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("RMSE in the unit of y: maml ")]
    assert said in (tmp_path / "out/compare.md").read_text()
    mse = json.loads((tmp_path / "out/compare.json").read_text())["rows"][0]["mse"]["mean"]
    scale = tasks_of(Run(tmp_path / "run").config).info["target_scale"][0]
    assert f"{mse**0.5 * scale:.3g}" in said
