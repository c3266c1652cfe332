"""`metafunc compare --folds`: every task of a table is tested on, by learners that never saw it."""

import json
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.commands.train_folds import comparison

WORDS = ["--data.task-column", "ward", "--data.target-columns", "dose", "--data.num-shots", "3"]
QUICK = ["--steps", "2", "--test-tasks", "48", "--quiet", "--no-figures"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{ward},{x},{5 + ward * x}" for ward in range(12) for x in range(8)]
    Path("wards.csv").write_text("\n".join(["ward,hour,dose", *rows]))


def test_every_task_is_left_out_once_and_the_tests_are_pooled(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "--algorithms", "mixed", "ridge", "--tasks", "wards.csv", *WORDS, "--folds", "3", *QUICK]
    assert run([*words, "--out", "cv", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["groups"] == {"number": 12, "of": "tasks", "per_episode": 1}
    assert (report["num_tasks"], report["folds"]) == (48, 3)
    assert [row["algorithm"] for row in report["rows"]] == ["mixed", "ridge"]
    assert report["rows"][1]["paired"]["nll"]["ci95"] > 0
    assert "each left out by one of 3 folds" in Path("cv/compare.md").read_text()
    configs = [json.loads(Path(f"cv/fold-{i}/mixed-0/config.json").read_text()) for i in range(3)]
    assert [config["tasks"]["fold"] for config in configs] == [[i, 3] for i in range(3)]
    trained = {path: path.stat().st_mtime_ns for path in Path("cv").rglob("checkpoints/*")}
    assert run([*words, "--out", "cv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == report, "what is trained and tested is kept"
    assert {path: path.stat().st_mtime_ns for path in Path("cv").rglob("checkpoints/*")} == trained
    rmse = report["rows"][0]["rmse_in_units"]["dose"]
    assert rmse["low"] < rmse["rmse"] < rmse["high"]
    assert run(["report", "cv"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--algorithms", "maml", "--tasks", "sinusoid", "--folds", "5"], "sinusoid has no folds"),
        (["--algorithms", "mixed", "--tasks", "wards.csv", "--folds", "2"], "--folds must be at least 3, not 2"),
        (["--algorithms", "mixed", "--tasks", "wards.csv", *WORDS, "--folds", "40"], "12 tasks, fewer than 40 folds"),
        (
            ["--algorithms", "mixed", "--tasks", "wards.csv", "--folds", "5", "--data.fold", "0", "5"],
            "leave out --data.fold",
        ),
        (["--algorithms", "mixed", "--tasks", "wards.csv", "--folds", "5", "--shots", "2"], "leave out --shots"),
        (["--algorithms", "maml+laplace", "--tasks", "wards.csv", "--folds", "5"], "give plain learners"),
    ],
)
def test_what_has_no_folds_is_refused_in_a_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", *words]) == 2
    assert message in capsys.readouterr().err
    assert not [*Path().rglob("config.json")]


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["maml", "wards.csv", "--folds", "5"], "--algorithms maml --tasks wards.csv --folds 5"),
        (["wards.csv", *WORDS, "--folds", "4"], f"--algorithms mixed --tasks wards.csv --folds 4 {' '.join(WORDS)}"),
        (
            ["wards.csv", "--folds", "4", "--data.classes", "task"],
            "--algorithms maml --tasks classification --data.path wards.csv --folds 4 --data.classes task",
        ),
        (
            ["classification", "--folds", "4", "--data.path", "wards.csv"],
            "--algorithms maml --tasks classification --folds 4 --data.path wards.csv",
        ),
        (
            ["protonet", "classification", "wards.csv", "--folds", "4", "--data.target-column", "dose"],
            "--algorithms protonet --tasks classification --data.path wards.csv --folds 4 --data.target-column dose",
        ),
    ],
)
def test_a_training_with_folds_is_a_comparison_of_one_learner(words: list[str], right: str) -> None:
    assert comparison(words) == right.split()


def test_train_leaves_out_each_part_of_the_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "ridge", "wards.csv", *WORDS, "--folds", "3", *QUICK, "--out", "cv", "--json"]
    assert run(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["folds"], report["groups"]["number"], report["rows"][0]["algorithm"]) == (3, 12, "ridge")


def test_what_is_of_one_run_is_refused_beside_folds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "wards.csv", "--seed", "1", "--folds", "5"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "--seed is of one run" in said[-2]
    assert said[-1] == "  metafunc compare --algorithms mixed --tasks wards.csv --folds 5"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wards.csv", "others.csv"], "wards.csv and others.csv are two tables: give one of them."),
        (["wards.csv", "--data.path", "others.csv"], "wards.csv and others.csv are two tables: give one of them."),
        (["maml"], "--folds divides the tasks of a table, and none is named: metafunc train TABLE.csv --folds 5"),
        (["wards.csv", "--stepps", "5"], "There is no option '--stepps'. Did you mean '--steps'?"),
    ],
)
def test_folds_are_of_one_table_and_of_options_that_there_are(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *words, "--folds", "3"]) == 2
    assert message in capsys.readouterr().err


def test_train_says_what_has_no_folds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "maml", "sinusoid", "--folds", "5"]) == 2
    assert "sinusoid has no folds" in capsys.readouterr().err


def test_a_training_on_few_tasks_advises_folds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "mixed", "wards.csv", *WORDS, "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "the table has 12 tasks, 2 of which to test on" in said
    assert f"\n  metafunc compare --algorithms mixed --tasks wards.csv --folds 5 {' '.join(WORDS)}\n" in said
    assert run(["train", "mixed", "wards.csv", *WORDS, "--dry-run", "--data.fold", "0", "3"]) == 0
    assert "of which to test on" not in capsys.readouterr().err


def test_a_table_of_classes_is_pooled_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no squared error to bring into a unit. Few draws do not reach every task, and that is said."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{task},{row},{'even' if row % 2 else 'odd'}" for task in range(9) for row in range(8)]
    Path("classes.csv").write_text("\n".join(["plant,day,colour", *rows]))
    words = "--algorithms protonet --tasks classification --data.path classes.csv --data.task-column plant"
    more = "--data.target-column colour --data.num-shots 2 --data.num-queries 2 --steps 1 --no-figures --out c"
    argv = ["compare", *words.split(), *more.split(), "--folds", "3", "--test-tasks", "6"]
    assert run([*argv, "--json"]) == 0
    assert "of the table's 9: give more --test-tasks" in capsys.readouterr().err
    assert run([*argv[:-4], "--folds", "4", "--test-tasks", "6"]) == 2
    assert "c was begun with --folds 3" in capsys.readouterr().err
