"""Predictions for a task of one's own are those of the learner, in the units of the file, or a clear refusal."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from torch import Tensor

import metafunc
from metafunc import algorithms, nn
from metafunc.evaluation import meta_test
from metafunc.evaluation.prediction import predict
from metafunc.nn import likelihood
from metafunc.results.predict_files import predict_files
from metafunc.training.config import build, own_steps
from metafunc.types import Batch, Normal

RATE = 0.03


def apply(params: dict[str, Tensor], x: Tensor) -> Tensor:
    hidden = torch.relu(x @ params["layer1.weight"].T + params["layer1.bias"])
    return hidden @ params["head.weight"].T + params["head.bias"]


def descended(meta: dict[str, Tensor], x: Tensor, y: Tensor, steps: int) -> dict[str, Tensor]:
    """Gradient descent on the squared error by plain autograd."""
    params = {name: leaf.clone().requires_grad_() for name, leaf in meta.items()}
    for _ in range(steps):
        loss = (apply(params, x) - y).square().mean()
        gradient = torch.autograd.grad(loss, list(params.values()))
        moved = [p - RATE * g for p, g in zip(params.values(), gradient, strict=True)]
        params = {name: leaf.detach().requires_grad_() for name, leaf in zip(params, moved, strict=True)}
    return {name: leaf.detach() for name, leaf in params.items()}


def setting(**hyperparameters: Any) -> tuple[Any, Any, Batch, Tensor]:
    model = nn.mlp((2,), 1, hidden=(6,))
    learner = algorithms.maml(model, likelihood.gaussian(), **{"inner_lr": RATE, "num_steps": 2, **hyperparameters})
    generator = torch.Generator().manual_seed(0)
    meta = {name: leaf.double() for name, leaf in learner.init(generator).items()}
    draw = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    return learner, meta, Batch(draw[:10, :2], draw[:10, 2:]), draw[10:, :2]


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_predict_adapts_as_gradient_descent_does(steps: int):
    learner, meta, support, x = setting()
    predicted = predict(learner, meta, support, x, num_steps=steps)
    expected = apply(descended(meta, support.x, support.y, steps), x)
    torch.testing.assert_close(predicted.loc[0], expected, rtol=1e-12, atol=1e-12)
    wrong = apply(descended(meta, support.x, support.y, steps + 1), x)
    assert not torch.allclose(predicted.loc[0], wrong, rtol=1e-6)


def test_by_default_the_learner_takes_its_own_number_of_steps():
    learner, meta, support, x = setting(num_steps=3)
    assert torch.equal(predict(learner, meta, support, x).loc, predict(learner, meta, support, x, num_steps=3).loc)
    assert own_steps({"algorithm": {"name": "maml", "num_steps": 3}}) == 3
    assert own_steps({"algorithm": {"name": "anil"}}) == 5
    assert own_steps({"algorithm": {"name": "protonet"}}) == 1
    assert own_steps({"algorithm": {"name": "package.module:mine"}}) is None


def test_many_rows_are_predicted_in_blocks(monkeypatch: pytest.MonkeyPatch):
    learner, meta, support, x = setting()
    whole = predict(learner, meta, support, x)
    monkeypatch.setattr("metafunc.evaluation.prediction.BLOCK", 7)
    torch.testing.assert_close(predict(learner, meta, support, x).loc, whole.loc)
    sizes: list[int] = []

    def watched(params: Any, rows: Tensor) -> Normal:
        sizes.append(len(rows))
        return Normal(rows[None, :, :1], torch.ones(()))

    for normalisation, expected in (("none", [7, 7, 6]), ("transductive", [20])):
        sizes.clear()
        watching = dataclasses.replace(learner, predict=watched, normalisation=normalisation)
        assert predict(watching, meta, support, x).scale.shape == (1, 20, 1)
        assert sizes == expected


def test_the_noise_scale_is_for_learners_without_one():
    learner, meta, support, x = setting()
    assert isinstance(predict(learner, meta, support, x).scale, tuple)
    assert predict(learner, meta, support, x, noise_scale=0.3).scale.unique().tolist() == [0.3]
    knowing = dataclasses.replace(learner, predict=lambda params, x: Normal(x[None, :, :1], torch.tensor(2.0)))
    assert predict(knowing, meta, support, x, noise_scale=0.3).scale.unique().tolist() == [2.0]


def test_prepared_noise_reaches_the_learner_and_is_the_same_for_the_same_seed():
    learner, meta, support, x = setting()

    def prepare(meta: Any, tasks: Any, generator: torch.Generator, /, *, step: int | None, num_steps: int) -> Any:
        assert step is None
        noise = torch.rand(1, 1, generator=generator)
        return tasks._replace(support=tasks.support._replace(extra=noise))

    noisy = dataclasses.replace(
        learner,
        prepare=prepare,
        adapt=lambda meta, support: support.extra,
        predict=lambda p, x: Normal(p.expand(1, len(x), 1)),
    )
    values = [predict(noisy, meta, support, x, seed=seed).loc for seed in (1, 1, 2)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def test_wrong_arguments_are_refused():
    learner, meta, support, x = setting()
    with pytest.raises(ValueError, match=r"num_steps must be .*not -1"):
        predict(learner, meta, support, x, num_steps=-1)
    with pytest.raises(ValueError, match="shape"):
        predict(learner, meta, support, x[:, :1])


def lines(folder: Path) -> Path:
    """A table of 40 tasks, straight lines in other units: pressure about 1000, temperature about 20."""
    generator = np.random.default_rng(0)
    rows = [
        {"task": task, "pressure": 1000 + 50 * u, "height": 3 + v, "temperature": 20 + slope * u + v}
        for task in range(40)
        for slope in [generator.normal()]
        for u, v in generator.normal(size=(12, 2))
    ]
    path = folder / "lines.csv"
    pandas.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regression")
    config = {
        "algorithm": {"name": "maml", "inner_lr": RATE, "num_steps": 2},
        "model": {"name": "mlp", "hidden": [6]},
        "tasks": {"name": "regression", "path": str(lines(folder)), "num_shots": 5, "target_columns": ("temperature",)},
    }
    learner, family = build(config)
    fit = metafunc.fit(learner, family, steps=20, out=folder / "run", recording=metafunc.Recording(config=config))
    test = meta_test.evaluate(learner, fit.best, family, num_tasks=20, num_steps=3, num_validation_tasks=20)
    report = meta_test.report(test, algorithm="maml", tasks="regression", run=None, seed=0, steps=20)
    (folder / "run" / "meta_test.json").write_text(json.dumps(report))
    return folder / "run"


def table(path: Path, rows: int, *, seed: int, **changed: Any) -> Path:
    u = np.random.default_rng(seed).normal(size=rows)
    columns = {
        "site": [f"s{i}" for i in range(rows)],
        "temperature": 20 + u,
        "height": 3 + 0 * u,
        "pressure": 1000 + 50 * u,
    }
    frame = pandas.DataFrame({**columns, **changed})
    frame = frame[[name for name in frame if changed.get(name, 0) is not None]]
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("steps", [None, 0, 3])
def test_a_regression_file_is_predicted_in_its_own_units(run: Path, tmp_path: Path, suffix: str, steps: int | None):
    support = table(tmp_path / f"support{suffix}", 6, seed=1)
    query = table(tmp_path / f"query{suffix}", 4, seed=2)
    out = tmp_path / f"out{suffix}"
    done = predict_files(run, support=support, query=query, out=out, num_steps=steps)

    info = json.loads((run / "env.json").read_text())["data"]["info"]
    _, meta = metafunc.load(run)
    given, asked = (pandas.read_csv(f) if suffix == ".csv" else pandas.read_parquet(f) for f in (support, query))

    def standard(frame: pandas.DataFrame, names: list[str], side: str) -> Tensor:
        scaled = (frame[names].to_numpy() - np.array(info[f"{side}_mean"])) / np.array(info[f"{side}_scale"])
        return torch.tensor(scaled, dtype=torch.float32)

    inputs = ["pressure", "height"]
    assert info["inputs"] == inputs, "in another order than the files have them"
    taken = 2 if steps is None else steps
    params = descended(meta, standard(given, inputs, "input"), standard(given, ["temperature"], "target"), taken)
    expected = apply(params, standard(asked, inputs, "input"))[:, 0].double() * info["target_scale"][0]
    expected = expected.numpy() + info["target_mean"][0]
    noise = json.loads((run / "meta_test.json").read_text())["meta_test"]["by_step"][taken]["noise_scale"]

    written = pandas.read_csv(out) if suffix == ".csv" else pandas.read_parquet(out)
    assert list(written) == ["site", "temperature", "height", "pressure", "temperature_predicted", "temperature_std"]
    assert written["site"].tolist() == ["s0", "s1", "s2", "s3"]
    np.testing.assert_allclose(written["temperature_predicted"], expected, rtol=1e-5)
    np.testing.assert_allclose(written["temperature_std"], noise * info["target_scale"][0], rtol=1e-5)
    errors = expected - asked["temperature"].to_numpy()
    deviation = noise * info["target_scale"][0]
    assert done.scores["mse"] == pytest.approx((errors**2).mean(), rel=1e-4)
    nll = 0.5 * (errors / deviation) ** 2 + np.log(deviation) + 0.5 * np.log(2 * np.pi)
    assert done.scores["nll"] == pytest.approx(nll.mean(), rel=1e-4)
    assert (done.num_rows, done.num_steps, done.notes) == (4, taken, ())


def test_a_query_need_not_say_what_is_right(run: Path, tmp_path: Path):
    support = table(tmp_path / "s.csv", 6, seed=1)
    nothing = predict_files(
        run, support=support, query=table(tmp_path / "q.csv", 3, seed=2, temperature=None), out=tmp_path / "1.csv"
    )
    assert nothing.scores == {}
    some = predict_files(
        run,
        support=support,
        query=table(tmp_path / "r.csv", 3, seed=2, temperature=[20.0, None, 21.0]),
        out=tmp_path / "2.csv",
    )
    errors = pandas.read_csv(tmp_path / "2.csv")["temperature_predicted"] - [20.0, np.nan, 21.0]
    assert some.scores["mse"] == pytest.approx((errors**2).mean())
    assert pandas.read_csv(tmp_path / "1.csv").shape == (3, 5)


def test_without_a_fitted_scale_there_is_no_spread_and_it_is_said(run: Path, tmp_path: Path):
    done = predict_files(
        run,
        support=table(tmp_path / "s.csv", 6, seed=1),
        query=table(tmp_path / "q.csv", 3, seed=2),
        out=tmp_path / "o.csv",
        num_steps=4,  # one more than the meta-test took
    )
    assert done.columns == ("temperature_predicted",)
    assert "No spread" in done.notes[0]
    assert set(done.scores) == {"mse"}


@pytest.mark.parametrize(
    ("support", "query", "message"),
    [
        ({"pressure": None}, {}, r"s\.csv has no column 'pressure'"),
        ({}, {"height": None}, r"q\.csv has no column 'height'"),
        ({"temperature": [1.0, None, 2.0]}, {}, r"s\.csv, row 2, column 'temperature' is empty"),
        ({}, {"pressure": [1, 2, "high"]}, r"q\.csv, row 3, column 'pressure' is 'high'"),
        ({}, {"temperature": [1, 2, "warm"]}, r"q\.csv, row 3, column 'temperature' is 'warm'"),
        ({}, {"temperature_std": [1, 2, 3]}, "column 'temperature_std'"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    run: Path, tmp_path: Path, support: dict[str, Any], query: dict[str, Any], message: str
):
    files = {
        "support": table(tmp_path / "s.csv", 3, seed=1, **support),
        "query": table(tmp_path / "q.csv", 3, seed=2, **query),
    }
    with pytest.raises(ValueError, match=message):
        predict_files(run, **files, out=tmp_path / "o.csv")
    assert not (tmp_path / "o.csv").exists()


def test_nothing_is_overwritten_unless_asked_for(run: Path, tmp_path: Path):
    files = {"support": table(tmp_path / "s.csv", 6, seed=1), "query": table(tmp_path / "q.csv", 3, seed=2)}
    out = tmp_path / "o.csv"
    out.write_text("mine")
    with pytest.raises(ValueError, match="exists"):
        predict_files(run, **files, out=out)
    assert out.read_text() == "mine"
    predict_files(run, **files, out=out, overwrite=True)
    assert out.read_text().startswith("site,")
    with pytest.raises(ValueError, match=r"\.csv or \.parquet"):
        predict_files(run, **files, out=tmp_path / "o.txt")


def test_unnamed_columns_are_inputs_but_for_the_target(tmp_path: Path):
    config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "model": {"name": "mlp", "hidden": [6]}}
    metafunc.fit(*build(config), steps=2, out=tmp_path / "run", recording=metafunc.Recording(config=config))
    x = np.linspace(-3, 3, 5)
    frames = {"y": {"y": np.sin(x), "t": x}, "last": {"t": x, "u": np.sin(x)}, "named": {"u": np.sin(x), "t": x}}
    written = {}
    for name, columns in frames.items():
        file, out = tmp_path / f"{name}.csv", tmp_path / f"{name}_out.csv"
        pandas.DataFrame(columns).to_csv(file, index=False)
        target = ("u",) if name == "named" else ()
        predict_files(tmp_path / "run", support=file, query=file, out=out, target=target)
        written[name] = pandas.read_csv(out).iloc[:, -1].tolist()
    assert written["y"] == written["last"] == written["named"]
    pandas.DataFrame({"t": x, "v": x, "y": x}).to_csv(tmp_path / "wide.csv", index=False)
    with pytest.raises(ValueError, match=r"wide\.csv has 2 input columns \(t, v\) beside the target y"):
        predict_files(tmp_path / "run", support=tmp_path / "wide.csv", query=file, out=tmp_path / "o.csv")
    with pytest.raises(ValueError, match="the target is z"):
        predict_files(tmp_path / "run", support=file, query=file, out=tmp_path / "o.csv", target=("z",))


def drawings(count: int, *, seed: int = 0) -> np.ndarray:
    """Drawings of a class each: dark strokes at a place of their own on white paper, with a little noise."""
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
        (["a/1.png", "b/1.png"], r"has 2 classes \(a, b\), and the run was trained to tell 3 apart"),
        (["a/1.png", "b/1.png", "1.png"], r"1\.png has no class"),
    ],
)
def test_support_folders_that_do_not_fit_are_refused(image_run: Path, tmp_path: Path, names: list[str], message: str):
    support = folders(tmp_path / "support", dict.fromkeys(names, drawings(1)[0]))
    with pytest.raises(ValueError, match=message):
        predict_files(image_run, support=support, query=support, out=tmp_path / "o.csv")
