"""Predictions for user-supplied tables are those of the learner, in the units of the file, or a clear refusal."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from metafunc_cli.__main__ import run as command
from torch import Tensor

import metafunc
from metafunc.evaluation import meta_test
from metafunc.evaluation.conformal import calibrate
from metafunc.results.predict_files import ONE_SPREAD, predict_files
from metafunc.training.config import build
from metafunc.training.run import Run

RATE = 0.03


def apply(params: dict[str, Tensor], x: Tensor) -> Tensor:
    hidden = torch.relu(x @ params["layer1.weight"].T + params["layer1.bias"])
    return hidden @ params["head.weight"].T + params["head.bias"]


def descended(meta: dict[str, Tensor], x: Tensor, y: Tensor, steps: int) -> dict[str, Tensor]:
    """Gradient descent on the squared error by plain autograd."""
    params = {name: leaf.clone().requires_grad_() for name, leaf in meta.items()}
    for _ in range(steps):
        loss = (apply(params, x) - y).square().mean()
        gradient = torch.autograd.grad(loss, list(params.values()))
        moved = [p - RATE * g for p, g in zip(params.values(), gradient, strict=True)]
        params = {name: leaf.detach().requires_grad_() for name, leaf in zip(params, moved, strict=True)}
    return {name: leaf.detach() for name, leaf in params.items()}


def lines(folder: Path) -> Path:
    """A table of 40 tasks, straight lines in other units: pressure about 1000, temperature about 20."""
    generator = np.random.default_rng(0)
    rows = [
        {"task": task, "pressure": 1000 + 50 * u, "height": 3 + v, "temperature": 20 + rise * u + v}
        for task in range(40)
        for rise in [generator.normal()]
        for u, v in generator.normal(size=(12, 2))
    ]
    path = folder / "lines.csv"
    pandas.DataFrame(rows).to_csv(path, index=False)
    return path


def trained(folder: Path, name: str, **hyper: Any) -> Path:
    """A run with the noise scale that its meta-test has fitted."""
    config = {
        "algorithm": {"name": name, "inner_lr": RATE, "num_steps": 2, **hyper},
        "model": {"name": "mlp", "hidden": [6]},
        "tasks": {"name": "regression", "path": str(lines(folder)), "num_shots": 5, "target_columns": ("temperature",)},
    }
    learner, family = build(config)
    fit = metafunc.fit(learner, family, steps=20, out=folder / "run", recording=metafunc.Recording(config=config))
    test = meta_test.evaluate(learner, fit.best, family, num_tasks=20, num_steps=3, num_validation_tasks=20)
    report = meta_test.report(test, algorithm=name, tasks="regression", run=None, seed=0, steps=20)
    Run(folder / "run").write("meta_test.json", report)
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("regression"), "maml")


def table(path: Path, rows: int, *, seed: int, **changed: Any) -> Path:
    u = np.random.default_rng(seed).normal(size=rows)
    columns = {
        "site": [f"s{i}" for i in range(rows)],
        "temperature": 20 + u,
        "height": 3 + 0 * u,
        "pressure": 1000 + 50 * u,
    }
    frame = pandas.DataFrame({**columns, **changed})
    frame = frame[[name for name in frame if changed.get(name, 0) is not None]]
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("steps", [None, 0, 3])
def test_a_regression_file_is_predicted_in_its_own_units(run: Path, tmp_path: Path, suffix: str, steps: int | None):
    support = table(tmp_path / f"support{suffix}", 6, seed=1)
    query = table(tmp_path / f"query{suffix}", 4, seed=2)
    out = tmp_path / f"out{suffix}"
    done = predict_files(run, support=support, query=query, out=out, num_steps=steps)

    info = json.loads((run / "env.json").read_text())["data"]["info"]
    _, meta = metafunc.load(run)
    given, asked = (pandas.read_csv(f) if suffix == ".csv" else pandas.read_parquet(f) for f in (support, query))

    def standard(frame: pandas.DataFrame, names: list[str], side: str) -> Tensor:
        scaled = (frame[names].to_numpy() - np.array(info[f"{side}_mean"])) / np.array(info[f"{side}_scale"])
        return torch.tensor(scaled, dtype=torch.float32)

    inputs = ["pressure", "height"]
    assert info["inputs"] == inputs, "in another order than the files have them"
    taken = 2 if steps is None else steps
    params = descended(meta, standard(given, inputs, "input"), standard(given, ["temperature"], "target"), taken)
    expected = apply(params, standard(asked, inputs, "input"))[:, 0].double() * info["target_scale"][0]
    expected = expected.numpy() + info["target_mean"][0]
    noise = json.loads((run / "meta_test.json").read_text())["meta_test"]["by_step"][taken]["noise_scale"]

    written = pandas.read_csv(out) if suffix == ".csv" else pandas.read_parquet(out)
    assert list(written) == ["site", "temperature", "height", "pressure", "temperature_predicted", "temperature_std"]
    assert written["site"].tolist() == ["s0", "s1", "s2", "s3"]
    np.testing.assert_allclose(written["temperature_predicted"], expected, rtol=1e-5)
    np.testing.assert_allclose(written["temperature_std"], noise * info["target_scale"][0], rtol=1e-5)
    errors = expected - asked["temperature"].to_numpy()
    deviation = noise * info["target_scale"][0]
    assert done.scores["mse"] == pytest.approx((errors**2).mean(), rel=1e-4)
    nll = 0.5 * (errors / deviation) ** 2 + np.log(deviation) + 0.5 * np.log(2 * np.pi)
    assert done.scores["nll"] == pytest.approx(nll.mean(), rel=1e-4)
    assert (done.num_rows, done.num_steps, done.notes) == (4, taken, (ONE_SPREAD,))


def test_particles_have_a_spread_of_their_own_and_no_note(tmp_path: Path):
    run = trained(tmp_path, "emaml", num_particles=2)
    support, query = table(tmp_path / "s.csv", 6, seed=1), table(tmp_path / "q.csv", 4, seed=2)
    done = predict_files(run, support=support, query=query, out=tmp_path / "o.csv")
    assert done.notes == ()
    assert pandas.read_csv(tmp_path / "o.csv")["temperature_std"].nunique() == 4


def test_a_query_need_not_state_what_is_right(run: Path, tmp_path: Path):
    support = table(tmp_path / "s.csv", 6, seed=1)
    nothing = predict_files(
        run, support=support, query=table(tmp_path / "q.csv", 3, seed=2, temperature=None), out=tmp_path / "1.csv"
    )
    assert nothing.scores == {}
    some = predict_files(
        run,
        support=support,
        query=table(tmp_path / "r.csv", 3, seed=2, temperature=[20.0, None, 21.0]),
        out=tmp_path / "2.csv",
    )
    errors = pandas.read_csv(tmp_path / "2.csv")["temperature_predicted"] - [20.0, np.nan, 21.0]
    assert some.scores["mse"] == pytest.approx((errors**2).mean())
    assert pandas.read_csv(tmp_path / "1.csv").shape == (3, 5)


def test_without_a_fitted_scale_there_is_no_spread_and_a_note(run: Path, tmp_path: Path):
    done = predict_files(
        run,
        support=table(tmp_path / "s.csv", 6, seed=1),
        query=table(tmp_path / "q.csv", 3, seed=2),
        out=tmp_path / "o.csv",
        num_steps=4,  # one more than the meta-test took
    )
    assert done.columns == ("temperature_predicted",)
    assert "No spread" in done.notes[0]
    assert set(done.scores) == {"mse"}


@pytest.mark.parametrize(
    ("support", "query", "message"),
    [
        ({"pressure": None}, {}, r"s\.csv has no column 'pressure'"),
        ({}, {"height": None}, r"q\.csv has no column 'height'"),
        ({"temperature": [1.0, None, 2.0]}, {}, r"s\.csv, row 2, column 'temperature' is empty"),
        ({}, {"pressure": [1, 2, "high"]}, r"q\.csv, row 3, column 'pressure' is 'high'"),
        ({}, {"temperature": [1, 2, "warm"]}, r"q\.csv, row 3, column 'temperature' is 'warm'"),
        ({}, {"temperature_std": [1, 2, 3]}, "column 'temperature_std'"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    run: Path, tmp_path: Path, support: dict[str, Any], query: dict[str, Any], message: str
):
    files = {
        "support": table(tmp_path / "s.csv", 3, seed=1, **support),
        "query": table(tmp_path / "q.csv", 3, seed=2, **query),
    }
    with pytest.raises(ValueError, match=message):
        predict_files(run, **files, out=tmp_path / "o.csv")
    assert not (tmp_path / "o.csv").exists()


def test_nothing_is_overwritten_unless_asked_for(run: Path, tmp_path: Path):
    files = {"support": table(tmp_path / "s.csv", 6, seed=1), "query": table(tmp_path / "q.csv", 3, seed=2)}
    out = tmp_path / "o.csv"
    out.write_text("mine")
    with pytest.raises(ValueError, match="exists"):
        predict_files(run, **files, out=out)
    assert out.read_text() == "mine"
    predict_files(run, **files, out=out, overwrite=True)
    assert out.read_text().startswith("site,")
    with pytest.raises(ValueError, match=r"\.csv or \.parquet"):
        predict_files(run, **files, out=tmp_path / "o.txt")


def test_unnamed_columns_are_inputs_but_for_the_target(tmp_path: Path):
    config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "model": {"name": "mlp", "hidden": [6]}}
    metafunc.fit(*build(config), steps=2, out=tmp_path / "run", recording=metafunc.Recording(config=config))
    x = np.linspace(-3, 3, 5)
    frames = {"y": {"y": np.sin(x), "t": x}, "last": {"t": x, "u": np.sin(x)}, "named": {"u": np.sin(x), "t": x}}
    written = {}
    for name, columns in frames.items():
        file, out = tmp_path / f"{name}.csv", tmp_path / f"{name}_out.csv"
        pandas.DataFrame(columns).to_csv(file, index=False)
        target = ("u",) if name == "named" else ()
        predict_files(tmp_path / "run", support=file, query=file, out=out, target=target)
        written[name] = pandas.read_csv(out).iloc[:, -1].tolist()
    assert written["y"] == written["last"] == written["named"]
    pandas.DataFrame({"t": x, "v": x, "y": x}).to_csv(tmp_path / "wide.csv", index=False)
    with pytest.raises(ValueError, match=r"wide\.csv has 2 input columns \(t, v\) beside the target y"):
        predict_files(tmp_path / "run", support=tmp_path / "wide.csv", query=file, out=tmp_path / "o.csv")
    with pytest.raises(ValueError, match="z cannot be the target: the run predicts 1 column, "):
        predict_files(tmp_path / "run", support=file, query=file, out=tmp_path / "o.csv", target=("z",))


def test_rows_that_are_not_written_are_those_of_the_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pandas.DataFrame({"pressure": [990.0, 1010], "height": [3.0, 4], "temperature": [1.0, 2]})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    task = ["predict", str(run), "--support", str(tmp_path / "rows.csv"), "--query", str(tmp_path / "rows.csv")]
    assert command([*task, "--out", str(tmp_path / "out.csv")]) == 0
    capsys.readouterr()
    assert command([*task, "--out", "-"]) == 0
    printed = capsys.readouterr()
    assert printed.out == (tmp_path / "out.csv").read_text()
    assert "mse" in printed.err
    assert command([*task, "--out", "-", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["out"] is None
    assert pandas.DataFrame(found["rows"]).equals(pandas.read_csv(tmp_path / "out.csv"))
    assert {file.name for file in tmp_path.iterdir()} == {"rows.csv", "out.csv"}


def test_conformal_intervals_are_in_the_units_of_the_file(run: Path, tmp_path: Path) -> None:
    files = [table(tmp_path / "support.csv", 5, seed=1), table(tmp_path / "query.csv", 4, seed=2)]
    asked = ["predict", str(run), "--support", str(files[0]), "--query", str(files[1]), "--out"]
    assert command([*asked, str(tmp_path / "out.csv"), "--conformal", "0.75"]) == 0
    found = pandas.read_csv(tmp_path / "out.csv")
    center = (found["temperature_lower_75"] + found["temperature_upper_75"]) / 2
    np.testing.assert_allclose(center, found["temperature_predicted"], rtol=1e-5)
    # One width, which is twice the threshold on the unit of the training's targets.
    learner, meta = metafunc.load(run)
    _, family = build(Run(run).config)
    threshold = calibrate(learner, meta, family, level=0.75)
    width = (found["temperature_upper_75"] - found["temperature_lower_75"]).to_numpy()
    assert threshold.value < float("inf")
    np.testing.assert_allclose(width / (2 * threshold.value), Run(run).columns["target_scale"][0], rtol=1e-4)
    with pytest.raises(ValueError, match="needs more validation tasks than"):
        predict_files(run, support=files[0], query=files[1], out=None, conformal=0.99)


def test_conformal_intervals_need_the_data_of_the_training(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other data, validation tasks may be those that were trained on."""
    files = [table(tmp_path / "support.csv", 5, seed=1), table(tmp_path / "query.csv", 4, seed=2)]
    monkeypatch.setattr(Run, "same_data", lambda self, info: False)
    with pytest.raises(ValueError, match="or their division, are no longer those"):
        predict_files(run, support=files[0], query=files[1], out=None, conformal=0.75)
