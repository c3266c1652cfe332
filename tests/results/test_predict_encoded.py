"""Predictions for files with dates, categories and empty cells: coded as in training; logarithms are taken back."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from scipy.stats import norm

import metafunc
from metafunc.evaluation import meta_test
from metafunc.results import file_task
from metafunc.results.predict_files import predict_files
from metafunc.training.config import build
from metafunc.training.json_file import FileError
from metafunc.training.run import Run


def table(rows: int, *, tasks: int, seed: int) -> pandas.DataFrame:
    rng = np.random.default_rng(seed)
    n = tasks * rows
    shift, x = rng.choice(["day", "night"], n), rng.normal(3.0, 2.0, n)
    day = [f"2024-{month:02d}-11" for month in rng.integers(1, 13, n)]
    y = np.exp(0.3 * x + (shift == "day") + rng.normal(size=tasks).repeat(rows))
    x = np.where(rng.random(n) < 0.2, np.nan, x)
    return pandas.DataFrame({"task": np.arange(tasks).repeat(rows), "day": day, "shift": shift, "x": x, "y": y})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoded")
    table(12, tasks=20, seed=0).to_csv(folder / "t.csv", index=False)
    config = {
        "algorithm": {"name": "maml", "num_steps": 2},
        "model": {"name": "mlp", "hidden": [6]},
        "tasks": {"name": "regression", "path": str(folder / "t.csv"), "num_shots": 4, "log_targets": True},
    }
    learner, family = build(config)
    fit = metafunc.fit(learner, family, steps=5, out=folder / "run", recording=metafunc.Recording(config=config))
    test = meta_test.evaluate(learner, fit.best, family, num_tasks=10, num_steps=2, num_validation_tasks=10)
    report = meta_test.report(test, algorithm="maml", tasks="regression", run=None, seed=0, steps=5)
    Run(folder / "run").write("meta_test.json", report)
    return folder / "run"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    frames = {"support": table(6, tasks=1, seed=1), "query": table(5, tasks=1, seed=2)}
    frames["query"].loc[[1, 2], "shift"] = "dusk", "day"
    for name, frame in frames.items():
        frame.drop(columns="task").to_csv(tmp_path / f"{name}.csv", index=False)
    return {name: tmp_path / f"{name}.csv" for name in frames}


def test_new_files_are_coded_as_in_training(run: Path, files: dict[str, Path]) -> None:
    info = json.loads((run / "env.json").read_text())["data"]["info"]
    found = file_task.read(Run(run), files["support"], files["query"])
    asked = pandas.read_csv(files["query"])
    fill = next(code["fill"] for code in info["encoding"] if code["name"] == "x")
    known = pandas.DataFrame(
        {
            "day": (pandas.to_datetime(asked["day"]) - pandas.Timestamp("2024-01-11")).dt.days,
            **{f"shift={level}": asked["shift"] == level for level in ("day", "night")},
            "another": asked["shift"] == "dusk",
            "x": asked["x"].fillna(fill),
            "missing": asked["x"].isna(),
        }
    ).to_numpy(dtype=float)
    expected = (known - np.array(info["input_mean"])) / np.array(info["input_scale"])
    np.testing.assert_allclose(found.x.numpy(), expected, rtol=1e-5, atol=1e-6)
    given = pandas.read_csv(files["support"])
    logs = (np.log(given["y"]) - info["target_mean"][0]) / info["target_scale"][0]
    np.testing.assert_allclose(found.support.y[:, 0].numpy(), logs, rtol=1e-5, atol=1e-6)


def test_medians_and_quantiles_are_in_the_unit_of_the_file(run: Path, files: dict[str, Path], tmp_path: Path) -> None:
    done = predict_files(run, **files, out=tmp_path / "out.csv")
    assert done.columns == ("y_predicted", "y_q05", "y_q95")
    assert "logarithms" in done.notes[0]
    written = pandas.read_csv(tmp_path / "out.csv")
    info = json.loads((run / "env.json").read_text())["data"]["info"]
    learner, meta = metafunc.load(run)
    task = file_task.read(Run(run), files["support"], files["query"])
    loc = metafunc.predict(learner, meta, task.support, task.x).loc[0, :, 0].double().numpy()
    noise = json.loads((run / "meta_test.json").read_text())["meta_test"]["by_step"][2]["noise_scale"]
    for end, level in (("predicted", 0.5), ("q05", 0.05), ("q95", 0.95)):
        logs = info["target_mean"][0] + info["target_scale"][0] * (loc + noise * norm.ppf(level))
        np.testing.assert_allclose(written[f"y_{end}"], np.exp(logs), rtol=1e-5)
    assert (written["y_predicted"] < written["y_q95"]).all()
    assert not np.allclose(written["y_predicted"], info["target_mean"][0] + info["target_scale"][0] * loc)


def test_what_does_not_fit_is_named(run: Path, files: dict[str, Path], tmp_path: Path) -> None:
    for name, cell, message in (
        ("day", "May", r"wrong\.csv, row 2, column 'day' is 'May'; a date is needed"),
        ("shift", "", r"wrong\.csv, row 2, column 'shift' is empty; a category is needed"),
        ("y", "-1", r"wrong\.csv, row 2, column 'y' is -1, which has no logarithm"),
    ):
        wrong = pandas.read_csv(files["query"], dtype=str)
        wrong.loc[1, name] = cell
        wrong.to_csv(tmp_path / "wrong.csv", index=False)
        with pytest.raises(ValueError, match=message):
            predict_files(run, support=files["support"], query=tmp_path / "wrong.csv", out=tmp_path / "o.csv")


def test_an_encoding_that_is_not_of_the_inputs_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = json.loads((run / "env.json").read_text())
    info = env["data"]["info"]
    monkeypatch.setattr("metafunc.training.record.env", lambda folder: env)
    assert Run(run).columns is not None
    for change, message in (
        ({"encoding": info["encoding"][1:]}, "an encoding of other columns"),
        ({"input_mean": info["input_mean"][1:]}, "another number of input_mean"),
        ({"encoding": [{**code, "kind": "word"} for code in info["encoding"]]}, "kind"),
    ):
        env["data"]["info"] = {**info, **change}
        with pytest.raises(FileError, match=message):
            _ = Run(run).columns


def test_a_parquet_file_gives_the_same(run: Path, files: dict[str, Path], tmp_path: Path) -> None:
    first = file_task.read(Run(run), files["support"], files["query"])
    for name, file in files.items():
        frame = pandas.read_csv(file)
        frame.assign(day=pandas.to_datetime(frame["day"])).to_parquet(tmp_path / f"{name}.parquet")
    second = file_task.read(Run(run), tmp_path / "support.parquet", tmp_path / "query.parquet")
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.support.x, second.support.x)


def test_levels_that_were_never_trained_on_are_named(run: Path, tmp_path: Path) -> None:
    given, asked = table(6, tasks=1, seed=5), table(5, tasks=1, seed=6)
    given.to_csv(tmp_path / "s.csv", index=False)
    for shift, named in ((" day ", False), ("noon", True)):
        asked.assign(shift=shift).to_csv(tmp_path / "q.csv", index=False)
        done = predict_files(
            run, support=tmp_path / "s.csv", query=tmp_path / "q.csv", out=tmp_path / "o.csv", overwrite=True
        )
        assert any("no training task had 'noon'" in note for note in done.notes) is named


def test_rows_of_several_tasks_are_refused(run: Path, files: dict[str, Path], tmp_path: Path) -> None:
    both = tmp_path / "both.csv"
    table(6, tasks=2, seed=1).to_csv(both, index=False)
    with pytest.raises(ValueError, match=r"column 'task' names 2 tasks \(0, 1\), and a prediction is for one"):
        file_task.read(Run(run), both, files["query"])
    each = {}
    for name, task in (("support", 3), ("query", 7)):
        each[name] = tmp_path / f"one-{name}.csv"
        pandas.read_csv(files[name]).assign(task=task).to_csv(each[name], index=False)
    with pytest.raises(ValueError, match=r"names 2 tasks \(3, 7\)"):
        file_task.read(Run(run), each["support"], each["query"])
