"""`metafunc bench` as a user meets it: a suite at tiny size, gone on with, from runs to tables, and what it refuses."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.commands import trials
from metafunc_cli.errors import UsageError

TINY = "regression-1d --quick --steps 2 --test-tasks 6 --learners dkt alpaca exact --families gp-rbf sinusoid --quiet"


def bench(line: str) -> int:
    try:
        return run(["bench", *line.split()])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "out"
    assert bench(f"{TINY} --paper --out {out}") == 0
    return out


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "bench.json").read_text())
    return found


def test_a_suite_ends_in_one_table_with_ranks_costs_and_citations(tiny: Path) -> None:
    found = report(tiny)
    assert (found["learners"], found["references"]) == (["dkt", "alpaca"], ["exact"])
    assert found["budget"] == "2 outer steps for each training."
    assert [each["family"] for each in found["families"]] == ["gp-rbf", "sinusoid"]
    for family in found["families"]:
        compared = json.loads((tiny / family["family"] / "compare.json").read_text())
        by_name = {row["algorithm"]: row for row in compared["rows"]}
        for row in family["rows"]:
            assert row["mean"] == pytest.approx(by_name[row["learner"]]["gap"]["mean"])
            assert row["adaptation_seconds"] > 0
        assert family["rows"][-1]["mean"] == pytest.approx(0, abs=1e-6), "the exact prediction has no gap"
        assert [row["cpu_seconds"] is None for row in family["rows"]] == [False, False, True]
    assert sum(found["ranks"]["average"].values()) == pytest.approx(3)
    assert len(list(csv.DictReader((tiny / "bench.csv").open()))) == 6
    assert r"\toprule" in (tiny / "bench.tex").read_text()
    bibliography = (tiny / "bench.bib").read_text()
    for key in ("patacchiola2020dkt", "harrison2018alpaca", "bruinsma2021gnp", "metafunc"):
        assert key in bibliography
    assert bibliography.strip() in (tiny / "bench.md").read_text()
    assert {path.name for path in (tiny / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("ranks", "pareto", "pareto_gp-rbf", "pareto_sinusoid") for kind in ("png", "pdf")
    }


def test_what_is_there_is_not_trained_again_and_the_table_is_the_same(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "again"
    shutil.copytree(tiny, out)
    shutil.rmtree(out / "sinusoid" / "alpaca-0")
    for name in ("bench.json", "bench.csv", "gp-rbf/compare.json", "sinusoid/compare.json"):
        (out / name).unlink()
    trained = []
    original = trials._trained

    def counted(*args: Any, **named: Any) -> Any:
        trial = original(*args, **named)
        trained.append(trial.run.path.name)
        return trial

    before = {path: path.stat().st_mtime_ns for path in (out / "gp-rbf").rglob("*.safetensors")}
    monkeypatch.setattr(trials, "_trained", counted)
    assert bench(f"{TINY} --out {out}") == 0
    assert "alpaca-0" in trained
    assert {path: path.stat().st_mtime_ns for path in (out / "gp-rbf").rglob("*.safetensors")} == before
    first, second = report(tiny), report(out)
    for one, other in zip(first["families"], second["families"], strict=True):
        for row, again in zip(one["rows"], other["rows"], strict=True):
            assert {k: v for k, v in row.items() if "seconds" not in k} == {
                k: v for k, v in again.items() if "seconds" not in k
            }
    assert first["ranks"] == second["ranks"]


def test_trainings_by_their_numbers_in_any_order_then_the_table(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cells"
    for number in (4, 0, 1, 3):
        assert bench(f"{TINY} --cell {number} --json --out {out}") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["cell"] == number
        assert Path(found["run"]) == out / ("gp-rbf", "sinusoid")[number // 3] / ("dkt-0", "alpaca-0")[number % 3]
    assert not (out / "bench.json").exists()
    assert not (out / "gp-rbf" / "compare.json").exists()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert bench(f"{TINY} --out {out}") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    scores = [[row["mean"] for each in report(folder)["families"] for row in each["rows"]] for folder in (out, tiny)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--cell 6", "--cell is a number from 0 (gp-rbf/dkt-0) to 5 (sinusoid/exact-0), not 6."),
        ("--cell -1", "--cell is a number from 0"),
        ("--cell 0 --jobs 2", "--jobs and --cell are two ways to do the trainings"),
        ("--scheduler tcp://localhost:1 --jobs 2", "--jobs and --scheduler are two ways"),
    ],
)
def test_a_number_that_no_training_has_and_two_ways_are_refused(
    flags: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(f"{TINY} {flags} --out {tmp_path}/o") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_folder_of_another_plan_is_refused(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(f"{TINY} --steps 3 --out {tiny}") == 2
    assert "was begun with other" in capsys.readouterr().err


def test_a_process_that_waits_for_the_plan_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def planned(*given: Any) -> dict[str, Any]:
        given[-1]()
        raise UsageError("that will do")

    monkeypatch.setattr("metafunc_cli.commands.bench.planned", planned)
    assert bench(f"{TINY} --out {tmp_path}/o") == 2
    assert f"Another process makes the plan of {tmp_path}/o, and this one waits for it." in capsys.readouterr().err


def test_minutes_decide_the_steps_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metafunc_cli.suites import budget, plan

    costs = iter([budget.Cost(0.5, 0.0), budget.Cost(0.25, 0.0)])
    monkeypatch.setattr(budget, "measured", lambda config: next(costs))
    line = "regression-1d --learners dkt alpaca --families sinusoid --seeds 1 --test-tasks 4 --quiet"
    assert bench(f"{line} --minutes 0.05 --out {tmp_path}/o") == 0
    found = report(tmp_path / "o")
    assert {name: each["steps"] for name, each in found["measured"]["sinusoid"].items()} == {"dkt": 3, "alpaca": 6}
    for name, steps in (("dkt", 3), ("alpaca", 6)):
        config = json.loads((tmp_path / f"o/sinusoid/{name}-0/config.json").read_text())
        assert config["training"]["steps"] == steps
    assert "same processor seconds" in found["budget"]
    assert bench(f"{line} --minutes 0.05 --out {tmp_path}/o") == 0, "it is not measured again"
    assert plan.NAME in {path.name for path in (tmp_path / "o").iterdir()}


def test_a_learner_that_fails_leaves_its_family_out_and_no_other(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again"
    shutil.copytree(tiny, out)
    shutil.rmtree(out / "sinusoid" / "alpaca-0")
    original = trials._trained

    def broken(screen: Any, request: Any, folder: Path, *rest: Any) -> Any:
        if folder.parts[-2:] == ("sinusoid", "alpaca-0"):
            raise ValueError("a step was not finite")
        return original(screen, request, folder, *rest)

    monkeypatch.setattr(trials, "_trained", broken)
    assert bench(f"{TINY} --out {out}") not in (0, 128)
    assert [each["family"] for each in report(out)["families"]] == ["gp-rbf"]
    said = capsys.readouterr().err
    assert "sinusoid is left out of the table" in said
    assert "a step was not finite" in said


def test_too_few_minutes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from metafunc_cli.suites import budget

    monkeypatch.setattr(budget, "measured", lambda config: budget.Cost(0.5, 9.0))
    line = "regression-1d --learners dkt alpaca --families sinusoid --seeds 1 --quiet"
    assert bench(f"{line} --minutes 0.5 --out {tmp_path}/o") == 2
    assert "no time for a step and its validations in 2 of 2 trainings, such as sinusoid dkt" in capsys.readouterr().err
    assert not (tmp_path / "o" / "plan.json").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "bench needs a suite: classification-small, control"),
        ("regression", "Did you mean 'regression-1d'"),
        ("regression-1d control", "bench takes one suite, not 2"),
        ("nowhere.toml", "nowhere.toml"),
        ("regression-1d --learner dkt", "--learners"),
        ("regression-1d --learners tpn", "learner of this suite 'tpn'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench(line) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('metric = "gap"', 'metric = "gab"', "families.one: metric: There is no metric of these tasks 'gab'"),
        ("data.noise = 0.1", "data.noise = 0.0", "families.one: metric: There is no metric of these tasks 'gap'"),
        ("inner-lr = 0.1", "inner-lr = -0.1", "families.one: maml: inner-lr must be"),
        ("inner-lr = 0.1", 'validate-by = "nlll"', "families.one: maml"),
    ],
)
def test_what_a_file_asks_for_is_built_before_anything_is_trained(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = 'learners = ["maml"]\nmetric = "gap"\n[families.one]\ntasks = "sinusoid"\ndata.noise = 0.1\ninner-lr = 0.1\n'
    assert old in text
    file = tmp_path / "mine.toml"
    file.write_text(text.replace(old, new))
    for also in ("", " --show"):
        assert bench(f"{file} --quick --out {tmp_path}/o{also}") == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "o").exists()


def test_what_is_shown_needs_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    text = 'learners = ["maml"]\nmetric = "nll"\n[families.one]\ntasks = "regression"\ntable = "lme4/sleepstudy"\n'
    file.write_text(text)
    assert bench(f"{file} --show --out {tmp_path}/o") == 0
    assert f"--data.path {tmp_path}/o/tables/one.csv" in capsys.readouterr().out
    assert not (tmp_path / "o").exists()


def test_the_suites_are_listed_and_shown_as_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--list --json") == 0
    found = json.loads(capsys.readouterr().out)["suites"]
    assert {"regression-1d", "few-tasks", "classification-small", "memorisation", "real-small", "control"} <= {
        each["suite"] for each in found
    }
    assert bench("few-tasks --families trend-5 --show --out o") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("metafunc compare --algorithms pacoh_gp dkt")
    assert line.endswith("--out o/trend-5")
