"""A task family is its file and one row: what is added to the table is configured, listed and drawn."""

from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.settings import generate

import metafunc
from metafunc import data
from metafunc.data.table import FAMILIES, Family
from metafunc.results import plot_run
from metafunc.training.config import build
from metafunc.types import TaskFamily


def waves(*, num_shots: int = 3, noise: float = 0.5) -> TaskFamily:
    """Lines and sines of another name.

    Args:
        num_shots: support points per task.
        noise: standard deviation of the noise.
    """
    return data.sine_or_line(num_shots=num_shots, num_queries=4, num_test_queries=8, noise=noise)


def dense_waves(*, num_shots: int = 3, num_test_queries: int = 8, noise: float = 0.5) -> TaskFamily:
    """Lines and sines whose number of query points can be set."""
    return data.sine_or_line(num_shots=num_shots, num_queries=4, num_test_queries=num_test_queries, noise=noise)


CONFIG: dict[str, Any] = {
    "algorithm": {"name": "maml"},
    "tasks": {"name": "waves", "num_shots": 4},
    "model": {"name": "mlp", "hidden": [6]},
}


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    for builder in (waves, dense_waves):
        row = Family(builder, "regression", network="conv4", noiseless={"noise": 0.0})
        monkeypatch.setitem(FAMILIES, builder.__name__, row)


@pytest.mark.usefixtures("added")
def test_an_added_family_has_settings_on_the_command_line() -> None:
    source = generate.source()
    assert "class WavesData:" in source
    assert "noise: float = 0.5" in source
    assert "'waves': Row(WavesData, 'Lines and sines of another name.', ('regression',), 'conv4')" in source


@pytest.mark.usefixtures("added")
def test_an_added_family_is_trained_on_and_drawn_with_its_truth(tmp_path: Path) -> None:
    learner, family = build(CONFIG)
    meta = learner.init(data.generator_for(0, "init", 0))
    assert family.train(data.generator_for(0, "train", 0), 2).support.x.shape == (2, 4, 1)
    shown = plot_run.functions(learner, meta, CONFIG["tasks"], seed=0, count=2)
    exact = waves(num_shots=4, noise=0.0)
    for block in range(2):
        truth = exact.test(data.generator_for(0, "figures", block), 1)
        assert shown.query.y[block].equal(truth.query.y[0])
        assert not shown.support.y[block].equal(truth.support.y[0])
    metafunc.fit(learner, family, steps=2, out=tmp_path / "run", recording=metafunc.Recording(config=CONFIG))
    assert [path.name for path in plot_run.plot_run(tmp_path / "run")] == ["learning.png", "functions.png"]


@pytest.mark.usefixtures("added")
def test_a_curve_is_drawn_at_many_points_where_a_family_has_them() -> None:
    learner, _ = build(CONFIG)
    meta = learner.init(data.generator_for(0, "init", 0))
    shown = plot_run.functions(learner, meta, {"name": "dense_waves", "num_shots": 4}, seed=0, count=2)
    exact = dense_waves(num_shots=4, num_test_queries=plot_run.MANY_QUERIES, noise=0.0)
    for block in range(2):
        assert shown.query.y[block].equal(exact.test(data.generator_for(0, "figures", block), 1).query.y[0])


@pytest.mark.usefixtures("added")
def test_an_added_family_is_handed_on_by_its_package() -> None:
    assert data.waves is waves
    with pytest.raises(AttributeError, match=r"'metafunc\.data' has no attribute 'wave'"):
        data.wave  # noqa: B018 - looking it up is what is refused


def test_rows_are_what_their_families_are() -> None:
    """Of those that need neither data nor a simulator."""
    needy = {"omniglot", "tiny_omniglot", "few_shot", "regression", "classification", "half_cheetah", "ant"}
    for name in FAMILIES.keys() - needy:
        family = FAMILIES[name].builder()
        assert (family.name, family.kind) == (name, FAMILIES[name].kind)
        assert FAMILIES[name].network == "mlp" or len(family.input_shape) == 3
