"""Policies from the command line: trained, tested again, drawn and compared like every other learner."""

import json
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run

SMALL = {
    "--num-tasks": "3",
    "--test-trajectories": "3",
    "--data.horizon": "6",
    "--model.hidden": "5",
    "--threads": "1",
}
TINY = [word for pair in SMALL.items() for word in pair]


def test_a_policy_is_trained_tested_again_drawn_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def reported(*argv: str) -> dict[str, object]:
        assert run([*argv, "--json"]) == 0
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    few = ["--steps", "4", "--validate-every", "2", "--test-tasks", "4", "--num-trajectories", "3", *TINY]
    trained = reported("train", "maml_rl", "navigation", "--out", "one", "--learn-rates", *few)
    rows = trained["meta_test"]["by_step"]  # type: ignore[index]
    assert [set(row) for row in rows] == [{"step", "return", "diverged"}] * 4
    assert {"mean", "ci95"} <= set(rows[0]["return"])
    again = reported("eval", "one", "--num-tasks", "3", "--num-steps", "1")
    assert again["meta_test"]["num_tasks"] == 3  # type: ignore[index]
    reported("train", "fomaml_rl", "navigation", "--out", "two", *few)
    drawn = reported("plot", "one")["figures"]
    assert {Path(name).name for name in drawn} >= {"learning.png", "adaptation.png", "paths.png"}  # type: ignore[attr-defined]
    compared = reported("compare", "one", "two", "--test-tasks", "3", "--test-steps", "1", "--out", "both")
    assert [set(row["paired"]) for row in compared["rows"]] == [set(), {"return"}]  # type: ignore[attr-defined]


def test_a_run_of_policies_without_validation_has_no_curve_of_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["train", "random_policy", "navigation", "--steps", "1", "--validate-every", "None", "--test-tasks", "2"]
    assert run([*line, "--out", "run", "--quiet", *TINY]) == 0
    assert run(["plot", "run"]) == 0
    assert {path.name for path in Path("run/figures").iterdir()} == {"adaptation.png", "paths.png"}
    capsys.readouterr()


def test_what_a_learner_without_adaptation_collects_is_shown_before_it_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", "oracle_policy", "navigation", "--dry-run", "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)["task"]
    assert seen["support.rewards"] == {"shape": "0 x 20 x 100", "values": "float32, none"}
    assert seen["query.observations"]["shape"] == "20 x 100 x 4"
