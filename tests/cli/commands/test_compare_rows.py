"""What rows of a comparison have in common, and what is kept of them: tasks, names, and the numbers of every task."""

import json
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.commands import compare_requests
from metafunc_cli.display import progress
from metafunc_cli.display.screen import Screen
from metafunc_cli.settings import compose
from metafunc_cli.settings.comparison_options import Comparison

from metafunc.results import per_task

TINY = "--model.hidden 4 --num-tasks 2 --steps 2 --test-tasks 6 --test-steps 1 --no-figures --quiet"


def requests(line: str, *algorithms: str, tasks: str) -> dict[str, compose.Request]:
    """What is trained, and asked for by so many words."""
    _, _, passed = compare_requests._sorted(line.split())
    found = Comparison(algorithms=algorithms, tasks=tasks, steps=1)
    each = compare_requests.requested(Screen(json=False, quiet=True), found, passed)
    return {name: one for name, (one,) in each.items()}


def test_presets_that_ask_for_other_tasks_follow_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    found = requests("", "maml", "platipus", "protonet", tasks="glyphs")
    assert found["maml"].settings.data.num_queries == 1
    for request in found.values():
        assert vars(request.settings.data) == vars(found["maml"].settings.data)
    said = " ".join(capsys.readouterr().err.split())
    assert "note: all have the tasks of maml (preset maml-glyphs-dense):" in said
    assert "num_queries 1" in said
    assert "protonet would have had num_queries 5" in said
    assert requests("", "protonet", "maml", tasks="glyphs")["maml"].settings.data.num_queries == 5


def test_what_is_given_for_all_or_for_one_counts_more_and_needs_no_note(capsys: pytest.CaptureFixture[str]) -> None:
    found = requests("--data.num-queries 3 --data.num-shots 1", "maml", "protonet", tasks="glyphs")
    assert [each.settings.data.num_queries for each in found.values()] == [3, 3]
    assert "note: all have" not in capsys.readouterr().err
    found = requests("--protonet.data.num-queries 7", "maml", "protonet", tasks="glyphs")
    assert [each.settings.data.num_queries for each in found.values()] == [1, 7]


def test_seeds_share_a_protocol() -> None:
    found = Comparison(algorithms=("maml", "platipus"), tasks="sine_or_line", steps=1, seeds=3)
    each = compare_requests.requested(Screen(json=False, quiet=True), found, [])
    assert {name: [one.settings.training.seed for one in rows] for name, rows in each.items()} == {
        "maml": [0, 1, 2],
        "platipus": [0, 1, 2],
    }


def inside(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> int:
    monkeypatch.chdir(folder)
    return run(line.split())


def test_runs_are_named_by_what_differs_and_tests_are_made_again_only_where_they_have_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = "train maml sinusoid --model.hidden 4 --num-tasks 2 --steps 2 --test-tasks 0 --quiet"
    for rate in (0.1, 0.2):
        assert inside(tmp_path, monkeypatch, f"{train} --inner-lr {rate} --out runs/{rate}/maml") == 0
    line = "compare runs/0.1/maml runs/0.2/maml --test-tasks 6 --test-steps 1 --no-figures --quiet --json --out both"
    capsys.readouterr()
    assert inside(tmp_path, monkeypatch, line) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["algorithm"] for row in report["rows"]] == ["maml inner_lr=0.1", "maml inner_lr=0.2"]
    kept = tmp_path / "both" / per_task.NAME
    before = kept.read_bytes()

    seen = _counting(monkeypatch)
    assert inside(tmp_path, monkeypatch, line) == 0
    assert json.loads(capsys.readouterr().out) == report
    assert (len(seen), kept.read_bytes()) == (0, before)
    assert inside(tmp_path, monkeypatch, line.replace("--test-tasks 6", "--test-tasks 5")) == 0
    assert len(seen) == 2, "other tasks are other tests"
    kept.write_bytes(before[:-20])
    capsys.readouterr()
    assert inside(tmp_path, monkeypatch, line) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == report
    assert "evaluation.parquet is damaged" in printed.err
    assert kept.read_bytes() == before


def _counting(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    from metafunc.evaluation import meta_test

    seen: list[Any] = []
    whole = meta_test.evaluate

    def evaluate(learner: Any, *given: Any, **named: Any) -> Any:
        seen.append(learner)
        return whole(learner, *given, **named)

    monkeypatch.setattr(meta_test, "evaluate", evaluate)
    return seen


def test_all_trainings_are_counted_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(second) for second in range(0, 10_000, 10))
    monkeypatch.setattr("metafunc_cli.display.progress.time.monotonic", lambda: next(clock))
    overall = progress.Overall({"maml-0": ("maml", 10), "maml-1": ("maml", 10), "cnp-0": ("cnp", 20)})
    assert overall.title("maml-1") == "maml-1 (2 of 3)"
    shown: list[tuple[int, int, str]] = []
    show = overall.around("maml-0", lambda *given: shown.append(given))
    show(0, 10, "loss 1")
    for step in (1, 2):
        show(step, 10, "loss 1")
    seconds = overall.spent["maml"][0] / overall.spent["maml"][1]
    assert overall.left("maml-0", 2) == pytest.approx(seconds * (8 + 10 + 20))
    assert overall.left("cnp-0", 20) == 0
    assert shown[-1][2].startswith("loss 1  all in ")
