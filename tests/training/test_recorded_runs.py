"""Runs of an earlier layout, interrupted at step 4 of 6, load, resume and evaluate as they would have then."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from metafunc_cli.__main__ import run as command

import metafunc
from metafunc import Execution, Recording, Validation, tree
from metafunc.training import checkpoint, renamed
from metafunc.training.build import build, own_steps, tasks_of
from metafunc.training.renamed import RENAMED, current
from metafunc.training.run import Run

RECORDED = Path(__file__).parent / "recorded"
EXPECTED = json.loads((RECORDED / "expected.json").read_text())
NAMES = ("maml", "platipus", "random")
CLOSE: dict[str, float] = {"rtol": 1e-5, "atol": 1e-6}
"""Other processors round otherwise in the last bits."""


@pytest.fixture(params=NAMES)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(RECORDED / request.param, tmp_path / request.param)))


def resumed(run: Run, config: dict[str, Any]) -> Any:
    return metafunc.fit(
        *build(config),
        steps=6,
        num_tasks=3,
        seed=5,
        out=run.path,
        resume=True,
        validation=Validation(every=2, num_tasks=5),
        recording=Recording(config=config, checkpoint_every=4, log_every=1),
        execution=Execution("off", threads=1),
    )


def check(meta: Any, expected: dict[str, Any]) -> None:
    found = tree.by_path(meta)
    assert found.keys() == expected.keys()
    for name, leaf in found.items():
        torch.testing.assert_close(leaf, torch.tensor(expected[name]), **CLOSE)


def test_it_loads_where_it_was_interrupted(run: Run) -> None:
    saved, _ = checkpoint.newest(run.checkpoints)
    assert saved is not None
    assert saved.step == 4
    learner, meta = metafunc.load(run.path, which="last")
    for name, leaf in tree.by_path(meta).items():
        assert torch.equal(leaf, saved.tensors[f"meta.{name}"])
    assert tree.paths(learner.init(torch.Generator().manual_seed(0))) == tree.paths(meta)


def test_it_resumes_to_the_end_and_evaluates(run: Run) -> None:
    expected = EXPECTED[run.path.name]
    before = run.metrics.read_bytes()
    fitted = resumed(run, run.config)
    assert fitted.step == 6
    check(fitted.meta, expected["meta"])
    assert run.metrics.read_bytes().startswith(before)
    assert [line["step"] for line in run.lines() if "loss" in line] == [1, 2, 3, 4, 5, 6]
    learner, meta = metafunc.load(run.path, which="last")
    family = build(run.config)[1]
    result = metafunc.evaluate(learner, meta, family, num_tasks=20, num_steps=2, seed=1)
    for metric, means in expected["evaluation"].items():
        found = [row[metric]["mean"] for row in result.by_step]
        torch.testing.assert_close(torch.tensor(found), torch.tensor(means), **CLOSE)


def test_the_command_line_evaluates_and_resumes_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.path.parent)
    assert command(["eval", run.path.name, "--num-tasks", "3", "--num-steps", "1", "--json", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["meta_test"]["num_tasks"] == 3
    # The command line records every setting; those of a run that Python recorded are filled in with the defaults.
    fill_in(run)
    forget(run, "noise_from")  # as a run of a command line that had no such setting
    assert command(["train", "--resume", run.path.name, "--json", "--quiet"]) == 0
    saved, _ = checkpoint.newest(run.checkpoints)
    assert saved is not None
    assert saved.step == 6
    _, meta = metafunc.load(run.path, which="last")
    check(meta, EXPECTED[run.path.name]["meta"])


def fill_in(run: Run) -> None:
    from metafunc_cli.commands.eval import _settings

    recorded = run.config
    whole = _settings(run.path, allowed=False).to_json()
    short = {"threads": 1, "device": "cpu", "test_tasks": 2, "test_steps": 1}
    whole["training"] |= short
    whole["algorithm"]["name"] = recorded["algorithm"]["name"]
    (run.path / "config.json").write_text(json.dumps(whole))


def forget(run: Run, setting: str) -> None:
    whole = run.config
    del whole["training"][setting]
    (run.path / "config.json").write_text(json.dumps(whole))


def test_a_renamed_algorithm_is_found_by_its_old_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed, "RENAMED", {"mammal": "maml", "gone": "lost"})
    run = Run(Path(shutil.copytree(RECORDED / "maml", tmp_path / "run")))
    config = run.config
    old = {**config, "algorithm": {**config["algorithm"], "name": "mammal"}}
    (run.path / "config.json").write_text(json.dumps(old))
    check(resumed(run, config).meta, EXPECTED["maml"]["meta"])
    assert own_steps(old) == 2
    assert run.config == old
    assert build(old)[1].name == "sinusoid"
    assert metafunc.load(run.path)[1].keys() == metafunc.load(run.path, which="last")[1].keys()
    with pytest.raises(ValueError, match="no algorithm 'gone'"):
        build({**config, "algorithm": {"name": "gone"}})
    monkeypatch.chdir(tmp_path)
    assert command(["eval", "run", "--num-tasks", "3", "--num-steps", "1", "--quiet"]) == 0
    assert command(["compare", "run", "--test-tasks", "3", "--no-figures", "--out", "compared", "--quiet"]) == 0
    assert json.loads((tmp_path / "compared/compare.json").read_text())["rows"][0]["algorithm"] == "maml"
    again = Run(Path(shutil.copytree(RECORDED / "maml", tmp_path / "again")))
    (again.path / "config.json").write_text(json.dumps(old))
    fill_in(again)
    assert command(["train", "--resume", "again", "--quiet"]) == 0
    assert again.config["algorithm"]["name"] == "mammal"


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_either_name_means_the_same_run(old: str, new: str) -> None:
    for name in (old, new):
        assert current({"algorithm": {"name": name}}) == {"algorithm": {"name": new}}
    assert current({"algorithm": {"name": old}}, known=()) == {"algorithm": {"name": old}}


@pytest.mark.parametrize(
    ("tasks", "queries"),
    [
        ({"name": "circles", "num_shots": 10, "num_test_queries": 20}, "balanced"),
        ({"name": "circles", "num_test_queries": 20, "queries": "plane"}, "plane"),
        ({"name": "circles"}, "plane"),
    ],
)
def test_circles_are_those_that_a_run_was_recorded_with(tasks: dict[str, Any], queries: str) -> None:
    assert tasks_of({"algorithm": {"name": "maml"}, "tasks": tasks}).info["queries"] == queries


@pytest.mark.parametrize(
    ("tasks", "labels", "split"),
    [
        ({"num_shots": 5, "image_size": 28}, "fixed", "published"),
        ({"num_shots": 5, "image_size": 28, "labels": "permuted", "split": "shuffled"}, "permuted", "shuffled"),
        ({"num_shots": 5}, None, None),
    ],
)
def test_alphabets_are_those_that_a_run_was_recorded_with(
    tasks: dict[str, Any], labels: str | None, split: str | None
) -> None:
    found = current({"tasks": {"name": "tiny_omniglot", **tasks}})["tasks"]
    assert (found.get("labels"), found.get("split")) == (labels, split)
