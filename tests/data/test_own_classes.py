"""Tables whose tasks have classes of their own: numbered in each task, told apart by the support set alone."""

import json
from pathlib import Path

import jaxtyping
import numpy
import pytest
import torch
from metafunc_cli.__main__ import run

from metafunc.data import from_arrays, generator_for
from metafunc.data.table_classes import own_labels
from metafunc.types import TaskFamily

SPECIES = ("ant", "bee", "cat")


def regions(**settings: object) -> TaskFamily:
    """Fifteen regions of two or three species, each with a size; no species lives in two."""
    x, y, of = rows()
    return from_arrays(x, y, of, kind="classification", num_shots=8, num_queries=6, **settings)


def rows() -> tuple[numpy.ndarray, list[str], list[str]]:
    generator = numpy.random.default_rng(0)
    x, y, of = [], [], []
    for region in range(15):
        centres = generator.normal(size=2 + region % 2) * 4
        for row in range(18):
            number = row % len(centres)
            x.append(centres[number] + 0.2 * generator.normal())
            y.append(f"{SPECIES[number]} of {region}")
            of.append(f"r{region}")
    return numpy.array(x), y, of


def test_each_task_counts_its_own_classes() -> None:
    family = regions(classes="task")
    assert family.num_outputs == 3
    assert family.info["own_classes"] is True
    tasks = family.train(generator_for(0, "train", 0), 64)
    assert set(tasks.query.y.unique().tolist()) == {0, 1, 2}
    assert own_labels(["a", "b", "a", "b"], ["y", "z", "x", "y"]).tolist() == [1, 1, 0, 0]
    one = family.test(generator_for(0, "test", 0), 40)
    known = torch.cat([one.support.y, one.query.y], 1)
    assert all(set(row.tolist()) <= {0, 1, 2} for row in known)


def test_classes_that_all_were_to_share_are_refused_and_a_regression_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="a class of no training task"):
        regions()
    x, _, of = rows()
    with pytest.raises(ValueError, match="A regression has no classes"):
        from_arrays(x, x, of, classes="task")
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' annotation hook would come first
    with pytest.raises(ValueError, match="classes must be one of"):
        regions(classes="own")


def test_such_a_table_is_trained_on_and_predicted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    x, y, of = rows()
    lines = [f"{task},{size},{name}" for size, name, task in zip(x, y, of, strict=True)]
    Path("regions.csv").write_text("\n".join(["region,size,species", *lines]))
    words = "classification --data.path regions.csv --data.task-column region --data.target-column species"
    more = "--data.classes task --data.num-shots 8 --data.num-queries 6 --steps 30 --num-tasks 8 --quiet"
    for learner in ("protonet", "cnp"):
        assert run(["train", learner, *words.split(), *more.split(), "--test-tasks", "20", "--out", learner]) == 0
    tested = json.loads(Path("protonet/meta_test.json").read_text())["meta_test"]["by_step"][-1]
    assert tested["accuracy"]["mean"] > 0.8
    Path("s.csv").write_text("size,species\n-2,elk\n-2.1,elk\n2,fox\n2.2,fox\n0,gnu\n0.1,gnu\n")
    Path("q.csv").write_text("size\n-2.05\n2.1\n0.05\n")
    assert run(["predict", "protonet", "--support", "s.csv", "--query", "q.csv", "--out", "p.csv"]) == 0
    assert [line.split(",")[1] for line in Path("p.csv").read_text().splitlines()[1:]] == ["elk", "fox", "gnu"]
    Path("s.csv").write_text("size,species\n-2,elk\n2,fox\n")
    assert run(["predict", "protonet", "--support", "s.csv", "--query", "q.csv", "--out", "two.csv"]) == 0
    capsys.readouterr()
    assert run(["predict", "cnp", "--support", "s.csv", "--query", "q.csv", "--out", "c.csv"]) == 2
    assert "s.csv has 2 classes, and the run was trained to tell 3 of a task apart" in capsys.readouterr().err
