"""Predictions for tables of classes: by the names of columns, with the classes and units of the training."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from metafunc_cli.__main__ import run as command

import metafunc
from metafunc.evaluation.conformal import calibrate
from metafunc.results import file_task
from metafunc.results.predict_files import predict_files
from metafunc.training.config import build
from metafunc.training.run import Run


def table(tasks: int, rows: int, seed: int) -> pandas.DataFrame:
    rng = np.random.default_rng(seed)
    x, z = rng.normal(50, 10, (2, tasks * rows))
    label = np.where(x > 50, "high", np.where(z > 50, "mid", "low"))
    return pandas.DataFrame({"task": np.arange(tasks).repeat(rows), "x": x, "z": z, "label": label})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    table(20, 12, 0).to_csv(folder / "t.csv", index=False)
    config = {
        "algorithm": {"name": "maml", "num_steps": 2, "inner_lr": 0.1},
        "model": {"name": "mlp", "hidden": [6]},
        "tasks": {"name": "classification", "path": str(folder / "t.csv"), "num_shots": 6, "num_test_queries": 6},
    }
    metafunc.fit(*build(config), steps=5, out=folder / "run", recording=metafunc.Recording(config=config))
    return folder / "run"


def test_a_table_is_predicted_in_the_classes_of_the_training(run: Path, tmp_path: Path) -> None:
    given, asked = table(1, 7, 1), table(1, 5, 2)
    asked.loc[2, "label"] = "unheard of"
    given[["z", "label", "x"]].to_csv(tmp_path / "s.csv", index=False)
    asked[["x", "z", "label"]].to_parquet(tmp_path / "q.parquet")
    done = predict_files(run, support=tmp_path / "s.csv", query=tmp_path / "q.parquet", out=tmp_path / "o.csv")
    assert done.columns == ("predicted", "entropy", "p_high", "p_low", "p_mid")
    task = file_task.read(Run(run), tmp_path / "s.csv", tmp_path / "q.parquet")
    info = json.loads((run / "env.json").read_text())["data"]["info"]
    expected = (asked[["x", "z"]].to_numpy() - np.array(info["input_mean"])) / np.array(info["input_scale"])
    np.testing.assert_allclose(task.x.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert task.support.y.tolist() == [["high", "low", "mid"].index(name) for name in given["label"]]
    assert task.truth[2] == -1
    assert any("1 row of a class that the run does not know, such as 'unheard of'" in note for note in done.notes)
    learner, meta = metafunc.load(run)
    p = metafunc.predict(learner, meta, task.support, task.x).logits[0].softmax(-1)
    written = pandas.read_csv(tmp_path / "o.csv")
    np.testing.assert_allclose(written[["p_high", "p_low", "p_mid"]].to_numpy(), p.numpy(), rtol=1e-4, atol=1e-6)
    right = (p.argmax(-1) == task.truth)[task.truth >= 0].double().mean().item()
    assert done.scores["accuracy"] == pytest.approx(right)


def test_conformal_sets_hold_the_classes_that_are_likely_enough(run: Path, tmp_path: Path) -> None:
    files = {"support": tmp_path / "s.csv", "query": tmp_path / "q.csv"}
    for seed, file in enumerate(files.values()):
        table(1, 8, seed).to_csv(file, index=False)
    done = predict_files(run, **files, out=None, conformal=0.6)
    learner, meta = metafunc.load(run)
    least = 1 - calibrate(learner, meta, build(Run(run).config)[1], level=0.6).value
    for _, row in done.table.iterrows():
        likely = [name for name in ("high", "low", "mid") if row[f"p_{name}"] >= least]
        assert row["set_60"].split(" | ") == likely
    assert any("on average over tasks: a guarantee" in note for note in done.notes)


def test_a_support_set_may_lack_classes_but_have_no_others(run: Path, tmp_path: Path) -> None:
    given = table(1, 7, 1).assign(label="mid")
    given.to_csv(tmp_path / "s.csv", index=False)
    given.drop(columns="label").to_csv(tmp_path / "q.csv", index=False)
    files = {"support": tmp_path / "s.csv", "query": tmp_path / "q.csv"}
    assert predict_files(run, **files, out=tmp_path / "o.csv").scores == {}
    given.assign(label=["mid"] * 6 + ["top"]).to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(
        ValueError, match=r"s\.csv, row 7, column 'label' is 'top', a class of no training task.*any classes: protonet"
    ):
        predict_files(run, **files, out=tmp_path / "o2.csv")


def test_it_is_tested_on_another_table_with_columns_in_another_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table(20, 12, 0).to_csv(tmp_path / "t.csv", index=False)
    table(20, 12, 0)[["label", "z", "task", "x"]].to_csv(tmp_path / "other.csv", index=False)
    small = "--data.num-shots 5 --data.num-test-queries 5 --steps 2 --num-tasks 2 --test-tasks 4 --test-steps 1 --quiet"
    out = str(tmp_path / "run")
    assert command(["train", "maml", "classification", str(tmp_path / "t.csv"), *small.split(), "--out", out]) == 0
    found = []
    for name in ("t.csv", "other.csv"):
        capsys.readouterr()
        more = ["--data.path", str(tmp_path / name), "--num-tasks", "5", "--num-steps", "1", "--quiet", "--json"]
        assert command(["eval", out, *more]) == 0
        found.append(json.loads(capsys.readouterr().out)["meta_test"]["by_step"])
    assert found[0] == found[1]


def test_classes_are_what_the_environment_says(run: Path) -> None:
    columns = Run(run).columns
    assert columns is not None
    assert columns["classes"] == ["high", "low", "mid"]
    assert torch.tensor(columns["target_scale"]).tolist() == [1.0]


@pytest.mark.parametrize("algorithm", ["protonet", "pcoc", "versa"])
def test_a_head_made_of_the_support_set_tells_any_classes_apart(algorithm: str, tmp_path: Path) -> None:
    table(20, 12, 0).to_csv(tmp_path / "t.csv", index=False)
    config = {
        "algorithm": {"name": algorithm},
        "model": {"name": "mlp", "hidden": [6]},
        "tasks": {"name": "classification", "path": str(tmp_path / "t.csv"), "num_shots": 6, "num_test_queries": 6},
    }
    metafunc.fit(*build(config), steps=2, out=tmp_path / "run", recording=metafunc.Recording(config=config))
    names = ["a", "b", "c", "d", "high"]
    given = table(1, 10, 1).assign(label=names * 2)
    given.to_csv(tmp_path / "s.csv", index=False)
    asked = table(1, 4, 2).assign(label=["d", "high", "low", ""])
    asked.to_csv(tmp_path / "q.csv", index=False)
    files = {"support": tmp_path / "s.csv", "query": tmp_path / "q.csv"}
    done = predict_files(tmp_path / "run", **files, out=tmp_path / "o.csv")
    assert done.columns == ("predicted", "entropy", *(f"p_{name}" for name in names))
    task = file_task.read(Run(tmp_path / "run"), *files.values())
    assert task.truth.tolist() == [3, 4, -1, -1]
    learner, meta = metafunc.load(tmp_path / "run", num_classes=5)
    p = metafunc.predict(learner, meta, task.support, task.x).logits.double().softmax(-1).mean(0)
    written = pandas.read_csv(tmp_path / "o.csv")[[f"p_{name}" for name in names]].to_numpy()
    np.testing.assert_allclose(written, p.numpy(), rtol=1e-4, atol=1e-6)
