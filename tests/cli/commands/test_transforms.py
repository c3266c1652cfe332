"""What is done to a trained learner on the command line: `eval --laplace` and its like, and names with a plus."""

import json
import shutil
from pathlib import Path

import pandas
import pytest
import torch
from metafunc_cli.__main__ import run
from metafunc_cli.commands.transformed_trials import split
from metafunc_cli.settings.generated import TRANSFORMS
from metafunc_cli.settings.options import Testing

from metafunc import laplace, load, nn, predict
from metafunc.algorithms import post_hoc
from metafunc.nn import likelihood
from metafunc.results.as_tested import FLAGS
from metafunc.types import Batch, Normal

TINY = "--model.hidden 6 --num-tasks 2 --steps 4 --validate-every 2 --quiet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of MAML."""
    path = tmp_path_factory.mktemp("runs") / "maml"
    line = f"train maml sine_or_line {TINY} --num-steps 1 --test-tasks 0 --out {path}"
    assert run(line.split()) == 0
    return path


def test_the_command_line_knows_every_transform() -> None:
    assert (*post_hoc.TRANSFORMS,) == TRANSFORMS
    named = {name for laplace in (None, "last", "all") for name in Testing(laplace=laplace, tempered=True).transforms}
    assert named == {*TRANSFORMS}


def test_eval_fits_reports_and_records(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"eval {folder} --num-tasks 20 --num-steps 1 --laplace last --tempered --conformal 0.9 --quiet --json"
    assert run(line.split()) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["algorithm"] == "maml+laplace+tempered"
    after = report["meta_test"]["by_step"][-1]
    assert min(after[name] for name in ("prior_precision", "noise_scale", "temperature")) > 0
    assert 0.6 < report["conformal"]["coverage"]["mean"] <= 1.0
    assert report["conformal"]["steps"] == 1
    assert "prior precision" in printed.err
    assert "conformal at 90 %" in printed.err
    kept = folder / "meta_test-num_tasks=20-num_steps=1-laplace=last-tempered=True-conformal=0.9.json"
    assert json.loads(kept.read_text())["conformal"] == report["conformal"]


def test_compare_trains_once_and_tests_each_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = (
        f"compare --algorithms maml maml+laplace cnp+tempered --tasks sine_or_line {TINY} --test-tasks 8 "
        f"--test-steps 1 --data.num-test-queries 6 --no-figures --coherence --json --out {tmp_path}"
    )
    assert run(line.split()) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["algorithm"] for row in rows] == ["maml", "maml+laplace", "cnp+tempered"]
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"maml-0", "cnp-0"}
    assert rows[1]["paired"]["mse"]["diff"] == 0.0
    assert {*rows[1]["fitted"]} == {"prior_precision", "noise_scale", "noise_tasks_left_out"}
    assert rows[2]["fitted"]["temperature"][0] > 0
    assert all(row[gap]["mean"] >= -1e-6 for row in rows for gap in ("chain_gap", "martingale_gap"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("compare --algorithms maml+laplce --tasks sine_or_line", "laplace"),
        ("compare --algorithms mamml+laplace --tasks sine_or_line", "maml"),
        ("compare --algorithms maml+laplace maml+laplace --tasks sine_or_line", "twice"),
    ],
)
def test_misspelt_names_are_refused_before_any_training(
    line: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(line.split()) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("cnp", "laplace needs a learner of one network"), ("emaml", "laplace needs a learner whose task parameters are")],
)
def test_learners_without_one_network_are_refused_before_any_training(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"compare --algorithms {name}+laplace --tasks sine_or_line {TINY} --test-tasks 4 --out {tmp_path}"
    assert run(line.split()) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not [*tmp_path.iterdir()]


def test_a_level_in_percent_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", str(folder), "--conformal", "90"]) == 2
    assert "--conformal 90 is no share of rows" in capsys.readouterr().err


def test_compare_takes_runs_as_they_are_and_changed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (
        f"compare {folder}+laplace {folder} {folder}+tempered --test-tasks 8 --test-steps 1 --no-gap --no-figures "
        f"--json --quiet --out {tmp_path}"
    )
    assert run(line.split()) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["algorithm"] for row in rows] == ["maml+laplace", "maml", "maml+tempered"]
    assert [{*row["fitted"]} - {"noise_tasks_left_out"} for row in rows] == [
        {"prior_precision", "noise_scale"},
        {"noise_scale"},
        {"temperature"},
    ]
    assert rows[1]["paired"]["mse"]["diff"] == 0.0
    assert rows[1]["paired"]["nll"]["diff"] != 0.0


def test_a_run_whose_name_has_a_plus_is_taken_as_it_is(folder: Path, tmp_path: Path) -> None:
    named = tmp_path / "a+laplace"
    shutil.copytree(folder, named)
    assert split(str(named)) == (str(named), ())
    assert split(f"{named}+laplace+tempered") == (str(named), ("laplace", "tempered"))
    assert split(f"{folder}/+laplace") == (str(folder), ("laplace",))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("{0}+laplce", "Did you mean 'laplace'?"),
        ("nowhere+laplace", "nowhere+laplace is no run"),
        ("{0}+laplace {0}+laplace", "are the same training with the same seed (0)"),
    ],
)
def test_runs_and_transforms_that_are_not_there_are_refused(
    names: str, message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", *names.format(folder).split(), "--out", str(tmp_path / "out")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def tested(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, meta-tested with Laplace."""
    path = tmp_path_factory.mktemp("runs") / "tested"
    shutil.copytree(folder, path, ignore=shutil.ignore_patterns("meta_test*"))
    line = f"eval {path} --num-tasks 5 --num-steps 2 --laplace last --no-gap --quiet"
    assert run(line.split()) == 0
    return path


def test_predict_uses_the_scalars_that_eval_fitted(
    tested: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = torch.linspace(-3, 3, 4)
    rows = [f"{a:.6f},{a * 0.3 + 1:.6f}" for a in x.tolist()]
    for name in ("support", "query"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    line = f"predict {tested} --support {tmp_path}/support.csv --query {tmp_path}/query.csv"
    assert run(f"{line} --out {tmp_path}/out.csv --num-steps 2 --laplace last".split()) == 0
    assert "laplace is as" in " ".join(capsys.readouterr().err.split())
    found = pandas.read_csv(tmp_path / "out.csv")
    # Another route: the transform in Python, with the numbers of the file.
    report = json.loads((tested / "meta_test-num_tasks=5-num_steps=2-laplace=last.json").read_text())
    scalars = report["meta_test"]["by_step"][2]
    learner, meta = load(tested)
    model = nn.mlp((1,), 1, hidden=(6,), context=20)
    changed = laplace(learner, model, likelihood.gaussian())
    fitted = changed.with_values((scalars["prior_precision"], scalars["noise_scale"]))
    support = Batch(x[:, None], (x * 0.3 + 1)[:, None])
    expected = predict(fitted, meta, support, x[:, None], num_steps=2)
    assert isinstance(expected, Normal)
    torch.testing.assert_close(
        torch.tensor(found["y_std"].to_numpy()).float(), expected.scale[0, :, 0], rtol=1e-4, atol=0
    )
    other = predict(changed, meta, support, x[:, None], num_steps=2)
    assert isinstance(other, Normal)
    assert not torch.allclose(other.scale, expected.scale, rtol=1e-3)


def test_plot_draws_what_eval_fitted_beside_the_plain_picture(tested: Path) -> None:
    assert run(["plot", str(tested)]) == 0
    plain = (tested / "figures" / "functions.png").read_bytes()
    assert run(["plot", str(tested), "--laplace", "last"]) == 0
    assert (tested / "figures" / "functions.png").read_bytes() == plain
    assert (tested / "figures" / "functions+laplace.png").read_bytes() != plain


@pytest.mark.parametrize("command", ["plot {0}", "predict {0} --support {0}/a.csv --query {0}/a.csv --out {0}/b.csv"])
def test_what_no_meta_test_fitted_is_refused_with_the_command_that_does(
    command: str, tested: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tested / "a.csv").write_text("x,y\n1,2\n2,3\n")
    assert run([*command.format(tested).split(), "--laplace", "all", "--tempered"]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"metafunc eval {tested} --laplace all --tempered" in message
    assert not (tested / "b.csv").exists()
    assert {*FLAGS} == {*TRANSFORMS}
