"""`metafunc check LEARNER --coherence`: what it prints, and the exit code by the claim."""

import json
from dataclasses import replace

import pytest
import torch
from metafunc_cli.__main__ import run

from metafunc.testing.diagnosis import coherence

GAPS = ["permutation", "padding", "chain", "shift", "martingale"]


def test_a_learner_that_claims_it_holds_and_all_numbers_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "alpaca", "--coherence", "--json", "--quiet"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["coherent"] == ["regression"]
    assert [row["gap"] for row in printed["gaps"]] == GAPS
    assert all(row["verdict"] == "holds" and row["largest"] < 1e-12 for row in printed["gaps"])


def test_one_that_claims_nothing_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "protonet", "--coherence", "--json", "--quiet"]) == 0
    gaps = {row["gap"]: row for row in json.loads(capsys.readouterr().out)["gaps"]}
    assert gaps["chain"]["verdict"] == "measured"
    assert gaps["chain"]["tolerance"] is None
    assert gaps["chain"]["mean"] > 1e-3
    assert gaps["permutation"]["verdict"] == "holds"


def test_the_optimum_is_measured_on_tasks_that_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "exact", "--coherence", "--json", "--quiet"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["coherent"] == []
    assert {row["kind"] for row in printed["gaps"]} == {"regression", "classification"}


def test_a_claim_that_does_not_hold_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = dict(coherence.algorithms.ALGORITHMS)
    rows["protonet"] = replace(rows["protonet"], coherent=("classification",))
    monkeypatch.setattr(coherence.algorithms, "ALGORITHMS", rows)
    assert run(["check", "protonet", "--coherence", "--quiet"]) == 1
    assert "fails" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("maml_rl --coherence", "policies, which predict no targets"),
        ("mine:learner --coherence", "metafunc.evaluation.coherence.gaps"),
        ("maml --coherence --first-order", "--first-order changes nothing beside --coherence"),
    ],
)
def test_what_it_cannot_be_asked_of_is_refused(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", *line.split()]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_gaps_are_those_of_each_task() -> None:
    (found,) = coherence.measure("protonet")
    assert found.gaps.chain.shape == (coherence.NUM_TASKS,)
    assert torch.isfinite(torch.stack([*found.gaps])).all()
