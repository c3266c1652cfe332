"""A learner that adapts to points as they come."""

from pathlib import Path
from typing import Any

import pytest
import torch

from metafunc.evaluation.metrics import mixture
from metafunc.evaluation.prediction import predict
from metafunc.results.live import Live, live
from metafunc.types import Batch

from .page_cases import run_folder


@pytest.fixture(scope="module")
def maml(tmp_path_factory: pytest.TempPathFactory) -> Live:
    return live(run_folder(tmp_path_factory.mktemp("runs") / "maml"))


@pytest.fixture(scope="module")
def alpaca(tmp_path_factory: pytest.TempPathFactory) -> Live:
    return live(run_folder(tmp_path_factory.mktemp("runs") / "alpaca", "alpaca", test=False))


@pytest.fixture(scope="module")
def circles(tmp_path_factory: pytest.TempPathFactory) -> Live:
    return live(run_folder(tmp_path_factory.mktemp("runs") / "circles", tasks="circles", test=False))


@pytest.mark.parametrize("step", [0, 1, 2])
def test_it_predicts_what_the_learner_does(maml: Live, step: int) -> None:
    points = [[0.0, 1.0], [1.0, -1.0]]
    found = maml.adapt({"points": points, "steps": step})
    rows = torch.tensor(points)
    scale = maml.noise[step]
    grid = torch.linspace(*maml.x, 160)[:, None]
    support = Batch(rows[:, :1], rows[:, 1:])
    wanted = mixture(predict(maml.learner, maml.meta, support, grid, num_steps=step, noise_scale=scale))
    assert found["mean"] == pytest.approx(wanted.loc[0, :, 0].tolist(), rel=1e-3, abs=1e-3)
    assert scale is not None
    assert found["high"][7] - found["low"][7] == pytest.approx(4 * scale, rel=1e-2)


def test_there_is_no_band_where_no_scale_was_fitted(maml: Live) -> None:
    assert "low" not in maml.adapt({"points": [[0, 1]], "steps": 10})


def test_no_point_is_the_prediction_before_adaptation(maml: Live) -> None:
    none, zero = (maml.adapt({"points": p, "steps": s})["mean"] for p, s in (([], 2), ([[0.0, 3.0]], 0)))
    assert none == zero != maml.adapt({"points": [[0.0, 3.0]], "steps": 2})["mean"]


def test_points_make_an_exact_learner_surer_there_and_not_far_away(alpaca: Live) -> None:
    points = [[x, 0.5] for x in (-1.0, -0.9, -1.1, -1.0)]
    before, after = (alpaca.adapt({"points": some, "steps": 1}) for some in ([], points))

    def width(found: dict[str, Any], x: float) -> float:
        place = min(range(len(found["x"])), key=lambda i: abs(found["x"][i] - x))
        return float(found["high"][place] - found["low"][place])

    near, far = (width(after, x) / width(before, x) for x in (-1.0, 4.5))
    assert near < 0.9
    assert near < far - 0.1


def test_functions_are_drawn_by_learners_with_a_scale(alpaca: Live) -> None:
    found = alpaca.draw({"points": [[0, 1]], "steps": 1})
    assert len(found["functions"]) == 3
    assert len(found["functions"][0]) == len(found["x"])
    assert found["functions"][0] != found["functions"][1]
    assert {**found, "ms": 0} == {**alpaca.draw({"points": [[0, 1]], "steps": 1}), "ms": 0}
    with pytest.raises(ValueError, match="Functions are drawn"):
        alpaca.draw({"points": [], "steps": 1})


def test_classes_of_the_plane_are_predicted_line_by_line(circles: Live) -> None:
    found = circles.adapt({"points": [[1.0, 4.0, 1], [1.1, 4.2, 1]], "steps": 1})
    assert len(found["label"]) == len(found["probability"]) == found["side"] ** 2
    assert set(found["label"]) <= {0, 1}
    assert min(found["probability"]) >= 0.5
    low, high = circles.x
    cell = (high - low) / found["side"]
    place = torch.tensor([[low + 3.5 * cell, circles.y[0] + 0.5 * (circles.y[1] - circles.y[0]) / found["side"]]])
    rows = Batch(torch.tensor([[1.0, 4.0], [1.1, 4.2]]), torch.tensor([1, 1]))
    wanted = mixture(predict(circles.learner, circles.meta, rows, place, num_steps=1)).logits[0, 0].softmax(-1)
    assert found["probability"][3] == pytest.approx(float(wanted.max()), abs=1e-3)


BAD: dict[str, Any] = {
    "no points": {"steps": 1},
    "text": {"points": [["a", 1]], "steps": 1},
    "a point of three": {"points": [[1, 1, 1]], "steps": 1},
    "far away": {"points": [[1, 1e9]], "steps": 1},
    "not finite": {"points": [[1, float("nan")]], "steps": 1},
    "too many": {"points": [[0, 0]] * 101, "steps": 1},
    "strange steps": {"points": [], "steps": 99},
    "negative steps": {"points": [], "steps": -1},
    "more": {"points": [], "steps": 1, "file": "/etc/passwd"},
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_request_is_refused(maml: Live, name: str) -> None:
    with pytest.raises(ValueError, match=r"\."):
        maml.adapt(BAD[name])


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_a_class_that_there_is_not_is_refused(circles: Live, label: float) -> None:
    with pytest.raises(ValueError, match="Classes are 0 to 1"):
        circles.adapt({"points": [[1, 1, label]], "steps": 1})


def test_a_prediction_that_is_not_finite_is_refused(maml: Live) -> None:
    with pytest.raises(ValueError, match="not finite"):
        maml.adapt({"points": [[-1e6, 1e6], [1e6, -1e6]], "steps": 10})


def test_tasks_without_a_picture_are_refused(tmp_path: Path) -> None:
    import metafunc
    from metafunc.training.config import build

    config = {"algorithm": {"name": "protonet"}, "tasks": {"name": "glyphs"}, "model": {"name": "mlp", "hidden": [4]}}
    metafunc.fit(*build(config), steps=1, out=tmp_path, recording=metafunc.Recording(config=config))
    with pytest.raises(ValueError, match=r"trained for classification .* such as circles"):
        live(tmp_path)
