"""Predictions for user-supplied images are those of the learner, with the polarity it was trained on."""

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from torch import Tensor

import metafunc
from metafunc.results.predict_files import predict_files
from metafunc.training.config import build
from metafunc.types import Batch


def drawings(count: int, *, seed: int = 0) -> np.ndarray:
    """Drawings, one per class: dark strokes at a place of their own on white paper, with a little noise."""
    generator = np.random.default_rng(seed)
    paper = generator.integers(235, 256, (count, 8, 8)).astype(np.uint8)
    for i in range(count):
        paper[i, i % 8, :] = 10
        paper[i, :, (3 * i) // 8] = 10
    return paper


@pytest.fixture(scope="module")
def image_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classification")
    pixels = [image.flatten().tolist() for seed in range(6) for image in drawings(20, seed=seed)]
    frame = pandas.DataFrame({"image": pixels, "label": [f"k{i % 20}" for i in range(120)]})
    frame.to_parquet(folder / "data.parquet")
    tasks = {"name": "few_shot", "path": str(folder / "data.parquet"), "image_size": 8, "num_ways": 3, "num_queries": 3}
    config = {
        "algorithm": {"name": "protonet"},
        "model": {"name": "mlp", "hidden": [12]},
        "tasks": {**tasks, "invert": True},
    }
    metafunc.fit(*build(config), steps=5, out=folder / "run", recording=metafunc.Recording(config=config))
    return folder / "run"


def folders(root: Path, images: dict[str, np.ndarray]) -> Path:
    for name, image in images.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


def test_image_folders_are_classified_as_the_learner_does(image_run: Path, tmp_path: Path):
    given, asked = drawings(3, seed=7), drawings(3, seed=8)
    support = folders(
        tmp_path / "support", {f"{name}/1.png": given[i] for i, name in enumerate(["sun", "moon", "star"])}
    )
    query = folders(tmp_path / "query", {f"{i}.png": asked[i] for i in range(3)})
    done = predict_files(image_run, support=support, query=query, out=tmp_path / "o.csv")
    written = pandas.read_csv(tmp_path / "o.csv")
    assert list(written) == ["image", "predicted", "entropy", "p_moon", "p_star", "p_sun"]

    learner, meta = metafunc.load(image_run)
    order = [1, 2, 0]  # moon, star, sun

    def shown(images: np.ndarray) -> Tensor:
        return torch.tensor(255 - images, dtype=torch.float32)[:, None] / 255

    params = learner.adapt(meta, Batch(shown(given[order]), torch.arange(3)))
    expected = learner.predict(params, shown(asked)).logits[0].softmax(-1).detach()
    probabilities = written[["p_moon", "p_star", "p_sun"]].to_numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    not_inverted = learner.adapt(meta, Batch(1 - shown(given[order]), torch.arange(3)))
    wrong = learner.predict(not_inverted, 1 - shown(asked)).logits[0].softmax(-1).detach()
    assert not np.allclose(probabilities, wrong, atol=1e-4)
    np.testing.assert_allclose(written["entropy"], -(probabilities * np.log(probabilities)).sum(1), rtol=1e-5)
    assert written["predicted"].tolist() == [["moon", "star", "sun"][i] for i in expected.argmax(-1).tolist()]
    assert done.scores == {}


def test_class_folders_in_the_query_are_scored(image_run: Path, tmp_path: Path):
    given = drawings(3, seed=7)
    support = folders(tmp_path / "support", {f"{'abc'[i]}/1.png": given[i] for i in range(3)})
    query = folders(tmp_path / "query", {"a/x.png": given[0], "b/x.png": given[0], "unknown/x.png": given[1]})
    done = predict_files(image_run, support=support, query=query, out=tmp_path / "o.parquet")
    written = pandas.read_parquet(tmp_path / "o.parquet")
    assert written["image"].tolist() == ["a/x.png", "b/x.png", "unknown/x.png"]
    assert written["predicted"].tolist()[0] == written["predicted"].tolist()[1]
    assert done.scores["accuracy"] == 0.5
    assert done.scores["nll"] == pytest.approx(-np.log([written["p_a"][0], written["p_b"][1]]).mean(), rel=1e-6)


def test_a_parquet_task_is_read_as_the_training_data(image_run: Path, tmp_path: Path):
    given = drawings(3, seed=7)
    support = folders(tmp_path / "support", {f"{'abc'[i]}/1.png": given[i] for i in range(3)})
    frame = pandas.DataFrame({"image": [image.flatten().tolist() for image in given], "label": list("abc")})
    frame.to_parquet(tmp_path / "s.parquet")
    query = folders(tmp_path / "query", {"1.png": drawings(1, seed=9)[0]})
    outs = [tmp_path / "1.csv", tmp_path / "2.csv"]
    for source, out in zip((support, tmp_path / "s.parquet"), outs, strict=True):
        predict_files(image_run, support=source, query=query, out=out)
    assert outs[0].read_text() == outs[1].read_text()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.png", "a/2.png"], r"has 1 class \(a\), and the run was trained to tell 3 apart"),
        (["a/1.png", "b/1.png", "1.png"], r"1\.png has no class"),
    ],
)
def test_support_folders_that_do_not_fit_are_refused(image_run: Path, tmp_path: Path, names: list[str], message: str):
    support = folders(tmp_path / "support", dict.fromkeys(names, drawings(1)[0]))
    with pytest.raises(ValueError, match=message):
        predict_files(image_run, support=support, query=support, out=tmp_path / "o.csv")
