"""`metafunc auto` as a user types it: a table, a choice that is explained, and a run that predicts."""

import json
from functools import partial
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run

from metafunc.training import candidates, portfolio

QUICK = ["--minutes", "0.01", "--folds", "3", "--data.num-shots", "3", "--data.num-queries", "4", "--quiet"]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:

    monkeypatch.chdir(tmp_path)
    rows = [f"{ward},{x},{5 + ward * x}" for ward in range(12) for x in range(8)]
    (tmp_path / "wards.csv").write_text("\n".join(["ward,hour,dose", *rows]))
    return tmp_path / "wards.csv"


@pytest.mark.parametrize("words", [["auto"], ["train", "auto"]])
def test_a_table_is_enough(words: list[str], table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "wards.csv", "--data.task-column", "ward", *QUICK, "--out", "chosen", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["best"] == report["rows"][0]["algorithm"]
    assert "of 12 new tasks" in err
    several = len(report["rows"]) > 1  # as many as there was time for
    said = "predicts the tasks that were left out best, by the NLL" if several else "is the only one that was tested"
    assert f"{report['best']} {said}" in " ".join(err.split())
    tested = json.loads(Path("chosen/meta_test.json").read_text())["meta_test"]
    assert tested["groups"] == {"number": 12, "of": "tasks", "per_episode": 1}
    trained_on = json.loads(Path("chosen/env.json").read_text())["data"]["info"]["tasks"]
    assert trained_on == {"train": 12, "validation": 0, "test": 0}, "the last training is on all tasks"
    assert json.loads(Path("chosen/auto.json").read_text())["rows"] == report["rows"]
    Path("s.csv").write_text("hour,dose\n1,7\n2,9\n")
    Path("q.csv").write_text("hour\n3\n")
    assert run(["predict", "chosen", "--support", "s.csv", "--query", "q.csv", "--out", "p.csv"]) == 0
    assert Path("p.csv").read_text().startswith("hour,dose_predicted,dose_std")


def test_the_stack_is_a_run_like_any_other(
    table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = candidates.Tested.nll
    best = property(lambda self: -99.0 if self.candidate.name == "stack" else own.fget(self))  # type: ignore[attr-defined]
    monkeypatch.setattr(candidates.Tested, "nll", best)
    monkeypatch.setattr(portfolio, "choose", partial(portfolio.choose, portfolio=portfolio.PORTFOLIO[:2]))
    words = ["wards.csv", "--data.task-column", "ward", *QUICK, "--minutes", "9", "--out", "chosen", "--json"]
    assert run(["auto", *words]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["best"] == "stack"
    assert sum(report["stack"].values()) == pytest.approx(1.0)
    said = " ".join(err.split())
    assert "The stack predicts the tasks that were left out best" in said
    assert f"The stack is {next(iter(report['stack']))} " in said
    assert "RMSE in the unit of dose: stack " in said
    Path("s.csv").write_text("hour,dose\n1,7\n2,9\n")
    Path("q.csv").write_text("hour\n3\n")
    assert run(["predict", "chosen", "--support", "s.csv", "--query", "q.csv", "--out", "p.csv"]) == 0
    assert Path("p.csv").read_text().startswith("hour,dose_predicted,dose_std")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "1"], "auto needs a table: metafunc auto TABLE.csv"),
        (["sinusoid"], "auto chooses for a table of a regression, and sinusoid is none"),
        (["wards.csv", "--data.task-column", "ward", "--data.fold", "0", "5"], "auto leaves out each part"),
        (["wards.csv", "--steps", "5"], "auto decides itself what --steps is"),
        (["wards.csv", "--data.task-column", "ward", *QUICK, "--folds", "40"], "12 tasks, fewer than 40 folds"),
        (["wards.csv", "--data.task-column", "ward", "--minutes", "0"], "--minutes must be above 0"),
        (["wards.csv", "--data.task-column", "patient"], "metafunc auto wards.csv"),
        (["classification", "wards.csv"], "auto chooses for a table of a regression, and classification is none"),
        (["maml", "wards.csv"], "auto chooses among algorithms: leave out maml"),
        (["wards.csv", "--folds", "2"], "--folds must be at least 3, not 2"),
    ],
)
def test_what_cannot_be_chosen_for_is_refused_in_a_line(
    words: list[str], message: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["auto", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()
