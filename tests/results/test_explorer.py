"""What the function explorer of a report shows."""

from pathlib import Path

import pytest
import torch

from metafunc import tree
from metafunc.evaluation.metrics import mixture
from metafunc.evaluation.prediction import predict
from metafunc.results import explorer
from metafunc.results.explorer import Explorable, explored, some_steps
from metafunc.results.plot_run import functions
from metafunc.training.run import Run

from .page_cases import SINUSOID, hardly_trained, run_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(run_folder(tmp_path_factory.mktemp("runs") / "run"))


@pytest.mark.parametrize("step", [0, 1, 2])
def test_bands_are_two_standard_deviations_of_the_prediction(run: Run, step: int) -> None:
    learner, meta, test = hardly_trained("maml", "sinusoid")
    found = explored([Explorable("maml", learner, meta, 2, test.pooled["noise_scale"])], run)
    assert found is not None
    curve = next(curve for curve in found["curves"]["maml"] if (curve["task"], curve["step"]) == (1, step))
    task = tree.at(functions(learner, meta, SINUSOID, 0, 2), 1)
    grid = torch.tensor(curve["x"])[:, None]
    scale = test.pooled["noise_scale"][step]
    wanted = mixture(predict(learner, meta, task.support, grid, num_steps=step, noise_scale=scale))
    assert curve["mean"] == pytest.approx(wanted.loc[0, :, 0].tolist(), rel=1e-2, abs=1e-2)
    half = (torch.tensor(curve["high"]) - torch.tensor(curve["low"])) / 4
    assert half.tolist() == pytest.approx([scale] * len(half), rel=1e-2)


def test_there_is_no_band_where_no_scale_was_fitted(run: Run) -> None:
    learner, meta, _ = hardly_trained("maml", "sinusoid")
    found = explored([Explorable("maml", learner, meta, 2, (0.5,))], run)
    assert found is not None
    assert {curve["step"] for curve in found["curves"]["maml"] if "low" in curve} == {0}


def test_the_truth_has_no_noise_and_the_exact_answer_is_beside_it(run: Run) -> None:
    learner, meta, _ = hardly_trained("maml", "sinusoid")
    found = explored([Explorable("maml", learner, meta, 2)], run)
    assert found is not None
    heights = torch.tensor(found["truth"][0]["y"])
    assert heights.diff().diff().abs().max() < 0.1
    assert [curve["task"] for curve in found["exact"]] == [0, 1, 2, 3]


def test_many_learners_fit_into_a_page(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, meta, _ = hardly_trained("maml", "sinusoid")
    each = [Explorable(f"learner {i}", learner, meta, 2) for i in range(3)]
    monkeypatch.setattr(explorer, "MANY_NUMBERS", 3 * explorer.NUM_POINTS * 3 * 3 * 2)
    found = explored(each, run)
    assert found is not None
    assert len(found["truth"]) == 2


def test_classes_have_no_functions(tmp_path: Path) -> None:
    run = Run(run_folder(tmp_path / "run", tasks="circles", test=False))
    learner, meta, _ = hardly_trained("maml", "circles")
    assert explored([Explorable("maml", learner, meta, 2)], run) is None


def test_few_steps_are_all_shown_and_many_from_the_first_to_the_last() -> None:
    assert some_steps(3) == [0, 1, 2, 3]
    many = some_steps(500)
    assert many[:2] == [0, 1]
    assert many[-1] == 500
    assert len(many) <= 12
