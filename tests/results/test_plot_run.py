"""A run is drawn as far as it has got, from what it recorded."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import metafunc
from metafunc import tree
from metafunc.data import generator_for
from metafunc.evaluation import meta_test
from metafunc.results.plot_run import MANY_QUERIES, functions, plot_run
from metafunc.training.build import build, tasks_of
from metafunc.training.events import Event
from metafunc.training.run import Run


def trained(folder: Path, config: dict[str, Any], *, steps: int = 2, test: bool = True) -> Path:
    learner, family = build(config)
    fit = metafunc.fit(learner, family, steps=steps, out=folder, recording=metafunc.Recording(config=config))
    if test:
        result = meta_test.evaluate(learner, fit.best, family, num_tasks=4, num_steps=2, num_validation_tasks=4)
        report = meta_test.report(result, algorithm="maml", tasks=family.name, run=None, seed=0, steps=steps)
        Run(folder).write("meta_test.json", report)
    return folder


def curves(**tasks: Any) -> dict[str, Any]:
    return {"algorithm": {"name": "maml"}, "model": {"name": "mlp", "hidden": [4]}, "tasks": tasks}


def names(paths: list[Path]) -> list[str]:
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    return [path.name for path in paths]


def test_functions_are_drawn_and_drawing_again_draws_the_same(tmp_path: Path):
    run = trained(tmp_path / "run", curves(name="sinusoid"))
    Run(run).write("meta_test-split=phase.json", Run(run).report(run / "meta_test.json"))
    first = plot_run(run)
    assert names(first) == ["learning.png", "adaptation-split=phase.png", "adaptation.png", "functions.png"]
    assert {path.parent for path in first} == {run / "figures"}
    before = [path.read_bytes() for path in first]
    assert [path.read_bytes() for path in plot_run(run)] == before
    assert plot_run(run, seed=1)[-1].read_bytes() != before[-1]


@pytest.mark.parametrize("tasks", [{"name": "sine_or_line"}, {"name": "sinusoid", "noise": 0.3}], ids=str)
def test_a_noisy_family_shows_its_noisy_support_on_the_true_functions(tasks: dict[str, Any]):
    tasks = {**tasks, "num_shots": 5}
    learner, _ = build(curves(**tasks))
    drawn = functions(learner, learner.init(generator_for(0, "init", 0)), tasks, seed=0, count=30)
    clean = tasks_of({"tasks": {**tasks, "noise": 0.0, "num_test_queries": MANY_QUERIES}})
    truths = [tree.at(clean.test(generator_for(0, "figures", block), 1), 0) for block in range(30)]
    truth = tree.stack(truths)
    assert torch.equal(drawn.query.y, truth.query.y)
    assert torch.equal(drawn.support.x, truth.support.x)
    off = drawn.support.y - truth.support.y
    assert 0.25 < off.std() < 0.35


def test_the_functions_of_a_noisy_family_are_drawn(tmp_path: Path):
    run = trained(tmp_path / "run", curves(name="sine_or_line"))
    assert "functions.png" in names(plot_run(run))


def test_a_run_without_a_meta_test_is_drawn_without_it(tmp_path: Path):
    run = trained(tmp_path / "run", curves(name="sinusoid", num_shots=3), test=False)
    with pytest.warns(UserWarning, match="No adaptation curve is drawn: .* has no meta_test.json, which metafunc eval"):
        assert names(plot_run(run)) == ["learning.png", "functions.png"]


def test_what_is_left_out_is_said(tmp_path: Path):
    def stop(event: Event) -> None:
        if (event.step, event.phase) == (2, "train"):
            raise KeyboardInterrupt

    learner, family = build(curves(name="sinusoid"))
    recording = metafunc.Recording(checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        metafunc.fit(learner, family, steps=3, out=tmp_path, recording=recording, on_event=stop)
    with pytest.warns(UserWarning, match="is drawn") as said:
        assert plot_run(tmp_path, learner=learner) == []
    assert [str(warning.message).partition(" is drawn")[0] for warning in said][1:] == [
        "No learning curve",
        "No adaptation curve",
        "No task",
    ]


def test_a_table_of_functions_may_have_padded_tasks(tmp_path: Path):
    rows = [{"task": t, "x": x, "y": t * x} for t in range(20) for x in np.linspace(0, 1, 6 + t % 3)]
    pandas.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    run = trained(tmp_path / "run", curves(name="regression", path=str(tmp_path / "t.csv"), num_shots=4))
    assert "functions.png" in names(plot_run(run))


@pytest.fixture
def images(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    file = tmp_path / "images.parquet"
    pixels = np.random.default_rng(0).integers(0, 256, (120, 16)).tolist()
    pandas.DataFrame({"image": pixels, "label": [i // 6 for i in range(120)]}).to_parquet(file)
    tasks = {"name": "few_shot", "path": str(file), "image_size": 4, "num_ways": 3, "num_queries": 5}
    return {**curves(**tasks), "algorithm": {"name": "protonet"}}, file


def test_an_episode_of_images_is_drawn(tmp_path: Path, images: tuple[dict[str, Any], Path]):
    run = trained(tmp_path / "run", images[0])
    assert names(plot_run(run)) == ["learning.png", "adaptation.png", "episode.png"]


@pytest.mark.parametrize("algorithm", ["cnp", "maml"])
def test_images_are_completed(tmp_path: Path, algorithm: str):
    config = {**curves(name="completion", side=4), "algorithm": {"name": algorithm}}
    run = trained(tmp_path / "run", config)
    assert names(plot_run(run)) == ["learning.png", "adaptation.png", "completion.png"]


def test_images_are_not_completed_before_a_noise_scale_is_fitted(tmp_path: Path):
    run = trained(tmp_path / "run", curves(name="completion", side=4), test=False)
    with pytest.warns(UserWarning, match="No completed image is drawn: .* before metafunc eval has fitted one"):
        assert names(plot_run(run)) == ["learning.png"]


def test_without_the_data_the_rest_is_drawn(tmp_path: Path, images: tuple[dict[str, Any], Path]):
    run = trained(tmp_path / "run", images[0])
    images[1].unlink()
    with pytest.warns(UserWarning, match="No task is drawn"):
        assert names(plot_run(run)) == ["learning.png", "adaptation.png"]


def test_a_user_supplied_learner_is_passed_in(tmp_path: Path):
    learner, family = build(curves(name="sinusoid"))
    metafunc.fit(learner, family, steps=2, out=tmp_path / "run")
    with pytest.raises(ValueError, match="learner="):
        plot_run(tmp_path / "run")
    assert names(plot_run(tmp_path / "run", learner=learner)) == ["learning.png"]
