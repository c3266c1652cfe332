"""Predictions on tables of extremes: in the file's own unit, finite or refused, and all other columns as they were."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pytest
from pyarrow import parquet

import metafunc
from metafunc.results.predict_files import predict_files
from metafunc.training import manifest
from metafunc.training.config import build


def lines(folder: Path, factor: float = 1.0) -> Path:
    """A run on a table of 24 tasks, whose targets are multiplied by a factor."""
    generator = np.random.default_rng(0)
    rows = [
        {"task": task, "x": u, "y": (rise * u + 0.1 * v) * factor}
        for task in range(24)
        for rise in [generator.normal()]
        for u, v in generator.normal(size=(8, 2))
    ]
    folder.mkdir()
    pandas.DataFrame(rows).to_parquet(folder / "lines.parquet")
    config = {
        "algorithm": {"name": "maml", "inner_lr": 0.05, "num_steps": 1},
        "model": {"name": "mlp", "hidden": [6]},
        "tasks": {"name": "regression", "path": str(folder / "lines.parquet"), "num_shots": 4},
    }
    metafunc.fit(*build(config), steps=5, out=folder / "run", recording=metafunc.Recording(config=config))
    return folder / "run"


def support(path: Path, factor: float = 1.0) -> Path:
    pandas.DataFrame({"x": [0.0, 1.0, -1.0], "y": [0.1 * factor, 2 * factor, -2 * factor]}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lines(tmp_path_factory.mktemp("lines") / "plain")


@pytest.mark.parametrize("power", [1000, -1000, 40])
def test_predictions_scale_with_the_target_s_unit_to_the_last_bit(run: Path, tmp_path: Path, power: int) -> None:
    """Powers of two change no digit: 2^1000 is near 1e301, whose square no double holds."""
    factor = 2.0**power
    large = lines(tmp_path / "large", factor)
    plain, scaled = (
        predict_files(
            each,
            support=support(tmp_path / f"s{number}.csv", size),
            query=support(tmp_path / f"q{number}.csv", size),
            out=tmp_path / f"out{number}.parquet",
        )
        for number, (each, size) in enumerate([(run, 1.0), (large, factor)])
    )
    one, other = (pandas.read_parquet(done.out)["y_predicted"].to_numpy() for done in (plain, scaled))
    assert np.abs(one).max() > 0
    assert (other == one * factor).all()
    if power == 1000:
        assert scaled.scores == {}
        assert "mse, beyond double precision" in scaled.notes[-1]
    json.dumps(scaled.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "y",
            1e30,
            r"q\.csv, row 1: what is predicted after 8 steps on .*s\.csv is not finite, so nothing",
        ),
        ("y", 1e300, r"s\.csv, row 2, column 'y' is 1e\+300, which single precision does not hold"),
        ("x", -1e300, r"s\.csv, row 2, column 'x' is -1e\+300, which single precision does not hold"),
    ],
)
def test_what_is_not_finite_is_refused_and_nothing_is_written(
    run: Path, tmp_path: Path, column: str, value: float, message: str
) -> None:
    frame = pandas.read_csv(support(tmp_path / "s.csv"))
    frame.loc[1, column] = value
    frame.to_csv(tmp_path / "s.csv", index=False)
    query = support(tmp_path / "q.csv")
    with pytest.raises(ValueError, match=message):
        predict_files(run, support=tmp_path / "s.csv", query=query, out=tmp_path / "out.csv", num_steps=8)
    assert not (tmp_path / "out.csv").exists()


IDS = ["007", "9007199254740993", "NA", "", "1e5", "+3", "true"]


def test_columns_that_are_neither_inputs_nor_targets_come_back_as_text(run: Path, tmp_path: Path) -> None:
    rows = [f"{name},{k}.50,{k % 2 == 0}" for k, name in enumerate(IDS)]
    query = tmp_path / "q.csv"
    query.write_text("\n".join(["id,x,flag", *rows]) + "\n")
    done = predict_files(run, support=support(tmp_path / "s.csv"), query=query, out=tmp_path / "out.csv")
    written = done.out.read_text().splitlines()
    assert [line.rsplit(",", 1)[0] for line in written] == ["id,x,flag", *rows]
    done = predict_files(run, support=tmp_path / "s.csv", query=query, out=tmp_path / "out.parquet")
    typed = pandas.read_parquet(done.out)
    assert typed["id"].tolist() == IDS
    assert typed["x"].tolist() == [k + 0.5 for k in range(len(IDS))]


def test_identifiers_beside_empty_cells_of_a_parquet_file_keep_their_digits(run: Path, tmp_path: Path) -> None:
    frame = pandas.DataFrame({"id": pandas.array([2**53 + 1, None, 5], dtype="Int64"), "x": [0.0, 1.0, 2.0]})
    for name, table in (("pandas", pyarrow.Table.from_pandas(frame)), ("others", pyarrow.table(dict(frame)))):
        parquet.write_table(table, tmp_path / f"{name}.parquet")
        query, out = tmp_path / f"{name}.parquet", tmp_path / f"{name}.csv"
        done = predict_files(run, support=support(tmp_path / "s.csv"), query=query, out=out)
        assert [line.split(",")[0] for line in done.out.read_text().splitlines()] == ["id", str(2**53 + 1), "", "5"]


@pytest.mark.filterwarnings("ignore:.*recorded in format 1")
@pytest.mark.parametrize("wrong", [0.0, float("inf"), float("nan")])
def test_scales_that_are_no_numbers_are_refused(run: Path, tmp_path: Path, wrong: float) -> None:
    """In a run of the first format, which has no sums that would tell."""
    old = Path(shutil.copytree(run, tmp_path / "run"))
    env = json.loads((old / "env.json").read_text())
    env["data"]["info"]["target_scale"] = [wrong]
    (old / "env.json").write_text(json.dumps({key: env[key] for key in env if key not in ("format", "sha256")}))
    for file in old.glob(f"checkpoints/*/{manifest.FILE}"):
        body = json.loads(file.read_text())
        kept = {name: body[name] for name in ("step", "tensors", "state")} | {"format": 1}
        file.write_text(json.dumps(manifest.sealed(kept)))
    wanted = (
        r"column 'y' would be centred by .* and divided by 0|target_scale\[0\] is (NaN|Infinity), but a finite number"
    )
    with pytest.raises(ValueError, match=wanted):
        predict_files(
            old, support=support(tmp_path / "s.csv"), query=support(tmp_path / "q.csv"), out=tmp_path / "out.csv"
        )
