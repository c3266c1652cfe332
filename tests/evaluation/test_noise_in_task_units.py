"""One noise scale in units of each task's own, where a learner sees tasks in these: fitted, recorded, and used."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import metafunc
from metafunc import data, in_task_units
from metafunc.algorithms.stacking import Member, stacked
from metafunc.bayes.task_units import Pooled, Unit
from metafunc.bayes.untrained import untrained
from metafunc.data.sampling import generator_for
from metafunc.evaluation.autoregressive import draw_functions, log_joint, pooled
from metafunc.evaluation.conformal import calibrate
from metafunc.evaluation.folds import pool_folds
from metafunc.evaluation.scoring import predicted
from metafunc.evaluation.sequential.choosing import situation
from metafunc.results.figures.functions import rows_of
from metafunc.results.predict_files import predict_files
from metafunc.results.shown import Shown
from metafunc.results.units import Units
from metafunc.training import config as configuration
from metafunc.training.build import learner_of
from metafunc.training.recorded_noise import fitted_noise
from metafunc.training.run import Run
from metafunc.types import Batch, MetaLearner, Normal, Task

META = {"nothing": torch.zeros(())}
NOISE = 0.5


def arrays(num_tasks: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """Levels with noise, ten rows per task, whose units differ a hundredfold."""
    generator = torch.Generator().manual_seed(0)
    x, tasks = torch.rand(10 * num_tasks, generator=generator), torch.arange(10 * num_tasks) // 10
    unit = 10 ** (2 * torch.rand(num_tasks, generator=generator))[tasks]
    return x, unit * torch.randn(len(x), generator=generator), tasks


FAMILY = data.from_arrays(
    *arrays(), num_shots=4, num_queries=6, num_test_queries=6, standardise="task", fractions=(0.2, 0.4, 0.4)
)
POOLED = Pooled(*(tuple(FAMILY.info["task_scale"][name]) for name in ("scale", "rows")))


def levels(*offsets: float) -> MetaLearner[Any, Any]:
    """The learner, without a noise model, whose particles predict these for every row, in units of the task's own."""

    def predict(_: Any, x: Tensor) -> Normal:
        return Normal(torch.stack([x.new_full((len(x), 1), offset) for offset in offsets]))

    plain = replace(untrained(lambda support: support.y, predict), joint=None)
    return in_task_units(plain, **FAMILY.info["task_scale"])


def in_one_unit(learner: MetaLearner[Any, Any]) -> MetaLearner[Any, Any]:
    """The wrong twin: one noise scale in the units of the table."""
    return replace(learner, predict=lambda params, x: learner.predict(params, x)._replace(unit=()))  # type: ignore[call-arg, union-attr]


LEARNER = levels(0.0)


def validation_rows(num_tasks: int = 50) -> list[tuple[Tensor, Unit]]:
    """The query targets of validation tasks, and each task's unit by its support rows."""
    tasks = [data.redraw(FAMILY.validation, 0, "validation", i // 25, i % 25) for i in range(num_tasks)]
    return [(task.query.y, POOLED.unit(task.support)) for task in tasks]


def test_the_scale_of_a_point_learner_is_the_error_in_the_tasks_own_units() -> None:
    found = metafunc.evaluate(LEARNER, META, FAMILY, num_tasks=4, num_validation_tasks=50).pooled
    errors = [((y - unit.mean) / unit.scale).square().mean() for y, unit in validation_rows()]
    assert found["noise_scale"][1] == pytest.approx(torch.stack(errors).mean().sqrt().item(), rel=1e-5)
    assert found["noise_in_task_units"] == (1, 1)


def test_particles_have_the_likeliest_scale_in_the_tasks_own_units() -> None:
    learner = levels(-0.5, 0.5)
    found = metafunc.evaluate(learner, META, FAMILY, num_tasks=4, num_validation_tasks=50).pooled["noise_scale"][1]
    tried = torch.logspace(-1.5, 1.5, 400)

    def density(y: Tensor, unit: Unit) -> Tensor:
        z = (((y - unit.mean) / unit.scale)[..., None] + torch.tensor([-0.5, 0.5]))[..., None] / tried
        return (torch.logsumexp(-0.5 * z.square(), -2) - tried.log()).mean((0, 1))

    likeliest = tried[torch.stack([density(y, unit) for y, unit in validation_rows()]).mean(0).argmax()]
    assert found == pytest.approx(float(likeliest), rel=0.06)


def test_tasks_of_other_units_are_predicted_better_than_by_one_scale() -> None:
    settings: dict[str, Any] = {"num_tasks": 100, "num_validation_tasks": 100}
    own, one = (metafunc.evaluate(each, META, FAMILY, **settings) for each in (LEARNER, in_one_unit(LEARNER)))
    scale = own.pooled["noise_scale"][1]
    by_hand = []
    for task in (data.redraw(FAMILY.test, 0, "test", i // 25, i % 25) for i in range(100)):
        unit = POOLED.unit(task.support)
        by_hand.append(-Normal(unit.mean, scale * unit.scale).log_prob(task.query.y).mean())
    torch.testing.assert_close(own.values["nll"][1], torch.stack(by_hand), rtol=1e-4, atol=1e-4)
    assert torch.equal(own.values["mse"], one.values["mse"]), "the means are the same"
    assert own.values["nll"][1].mean() < one.values["nll"][1].mean() - 0.4, "the wrong twin, in one unit"
    assert own.pooled["calibration_error"][1] < 0.5 * one.pooled["calibration_error"][1]
    assert "noise_in_task_units" not in one.pooled
    assert pool_folds([own, own]).pooled["noise_in_task_units"] == (1, 1)


def rows_predicted(support: Batch, x: Tensor) -> dict[str, Callable[[MetaLearner[Any, Any]], Normal]]:
    """The call sites that give a learner without a noise model a scale of NOISE."""
    task = Task(support, Batch(x, x))
    uniforms = torch.rand(len(x), 2, dtype=torch.float64)
    known = support._replace(mask=torch.ones(len(support.x)))
    found: dict[str, Any] = {
        "predict": lambda of: metafunc.predict(of, META, support, x, noise_scale=NOISE),
        "scoring": lambda of: predicted(of, of.adapt(META, support), x, torch.tensor([9.0, NOISE]), 1),
        "pictures": lambda of: Shown(of, META, 1, NOISE).predict(task),
        "curves": lambda of: rows_of(of.predict(of.adapt(META, support), x), torch.arange(len(x)), NOISE),
        "a choice": lambda of: (
            situation(
                of, META, of.adapt(META, known), known, uniforms[:1].expand(len(support.x), 2), 1, NOISE
            ).predictive
        ),
        "a stack": lambda of: (stack := stacked([Member(of, 1.0, noise_scales=(9.0, NOISE))])).predict(
            stack.adapt((META,), support), x
        ),
        "tempered": lambda of: metafunc.tempered(of).with_values((NOISE,)).predict(of.adapt(META, support), x),
    }
    return found


@pytest.mark.parametrize("place", [*rows_predicted(Batch(torch.zeros(1, 1), torch.zeros(1, 1)), torch.zeros(1, 1))])
def test_every_place_gives_a_task_its_own_scale(place: str) -> None:
    support, x = Batch(torch.rand(3, 1), torch.tensor([[100.0], [300.0], [800.0]])), torch.rand(3, 1)
    unit = POOLED.unit(support).scale.item()
    scale = rows_predicted(support, x)[place](LEARNER).scale
    assert abs(unit - 1) > 1
    assert torch.allclose(scale, torch.tensor(NOISE * unit))
    twin = rows_predicted(support, x)[place](in_one_unit(LEARNER)).scale
    assert torch.allclose(twin, torch.tensor(NOISE)), "and one for all where predictions have no unit"


def test_whole_functions_and_their_density_have_the_tasks_own_scale() -> None:
    support, x = Batch(torch.rand(3, 1), torch.tensor([[100.0], [300.0], [800.0]])), torch.rand(1, 1)
    unit = POOLED.unit(support)
    drawn = draw_functions(LEARNER, META, support, x, num_draws=400, noise_scale=NOISE)
    assert drawn.std().item() == pytest.approx(NOISE * unit.scale.item(), rel=0.15)
    query = Batch(x, torch.tensor([[500.0]]))
    found = log_joint(LEARNER, META, pooled(support, query), torch.tensor([0]), noise=torch.tensor(NOISE))
    assert found.item() == pytest.approx(Normal(unit.mean, NOISE * unit.scale).log_prob(query.y).item(), rel=1e-4)


def test_conformal_intervals_have_a_width_of_the_tasks_own() -> None:
    threshold = calibrate(LEARNER, META, FAMILY, level=0.8)
    small = Batch(torch.rand(3, 1), torch.tensor([[0.0], [2.0], [3.0]]))
    widths = []
    for factor in (1.0, 100.0):
        low, high = threshold.interval(metafunc.predict(LEARNER, META, small._replace(y=factor * small.y), small.x))  # type: ignore[arg-type]
        widths.append((high - low).mean().item())
    assert widths[1] > 5 * widths[0]
    assert math.isfinite(widths[1])


def test_pictures_in_the_tables_units_multiply_a_fitted_scale() -> None:
    units = Units(y_scale=10.0)
    bare, own = Normal(torch.zeros(1, 2, 1)), Normal(torch.zeros(1, 2, 1), unit=torch.tensor([3.0]))
    assert units.predicted(bare).with_noise(NOISE).scale.item() == 5.0
    assert units.predicted(own).with_noise(NOISE).scale.item() == 15.0
    assert units.predicted(own.with_noise(NOISE)).scale.item() == 15.0


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of MAML on such a table, with its meta-test."""
    from metafunc.evaluation.meta_test import report

    x, y, tasks = arrays()
    rows = [f"{t},{a},{b}" for t, a, b in zip(tasks.tolist(), x.tolist(), y.tolist(), strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["task,x,y", *rows]))
    settings = {"name": "regression", "path": str(tmp_path / "t.csv"), "num_shots": 4, "num_queries": 6}
    tasks_asked = {**settings, "standardise": "task"}
    config = {"algorithm": {"name": "maml"}, "tasks": tasks_asked, "training": {"steps": 2}}
    trained = configuration.train(config, out=tmp_path / "run")
    found = metafunc.evaluate(trained.learner, trained.fit.meta, trained.family, num_tasks=10, num_steps=1)
    place = Run(tmp_path / "run")
    place.write(place.meta_test.name, report(found, algorithm="maml", tasks="regression", run=None, seed=0, steps=2))
    return place


def deviations(run: Run, unit: float) -> list[float]:
    """The deviations that are predicted for a task of such a unit, from a file; empty if there are none."""
    file = run.path / "new.csv"
    file.write_text("\n".join(["x,y", *(f"{x},{unit * y}" for x, y in ((0.1, -1.0), (0.5, 2.0), (0.7, 0.5)))]))
    table = predict_files(run.path, support=file, query=file, out=None).table
    return [float(value) for value in table.get("y_std", [])]


def test_files_have_the_scale_of_their_task(run: Run) -> None:
    x = torch.tensor([[0.1], [0.5], [0.7]])
    info = run.env["data"]["info"]
    pooled_scale = Pooled(tuple(info["task_scale"]["scale"]), tuple(info["task_scale"]["rows"]))
    y = torch.tensor([[-1.0], [2.0], [0.5]])
    mean, scale = info["target_mean"][0], info["target_scale"][0]
    for unit in (1.0, 1000.0):
        own = pooled_scale.unit(Batch(x, (unit * y - mean) / scale)).scale.item()
        expected = (fitted_noise(run)[1] or 0.0) * own * scale
        assert deviations(run, unit) == pytest.approx([expected] * 3, rel=1e-4)


def test_a_scale_of_an_earlier_fit_is_left_out_and_said(run: Run) -> None:
    found = run.report(run.meta_test)
    for row in found["meta_test"]["by_step"]:
        assert row.pop("noise_in_task_units") == 1
    run.write(run.meta_test.name, found)
    with pytest.warns(UserWarning, match="metafunc eval .* fits it again"):
        assert deviations(run, 1.0) == []


def test_an_estimator_has_the_scale_of_its_task_and_leaves_out_that_of_an_earlier_fit(run: Run) -> None:
    from metafunc.sklearn import MetaRegressor, Prior

    prior = Prior.load(run.path)
    x, y = torch.tensor([[0.1], [0.5], [0.7]]).numpy(), torch.tensor([-1.0, 2.0, 0.5]).numpy()
    _, deviation = MetaRegressor(prior).fit(x, y).predict(x, return_std=True)
    assert deviation.tolist() == pytest.approx(deviations(run, 1.0), rel=1e-4)
    rows = [{name: value for name, value in row.items() if name != "noise_in_task_units"} for row in prior.tested]
    earlier = MetaRegressor(replace(prior, tested=tuple(rows))).fit(x, y)
    with pytest.warns(UserWarning, match="this prior"), pytest.raises(ValueError, match="was fitted for none"):
        earlier.predict(x, return_std=True)


def test_a_stack_says_in_which_unit_its_scales_are() -> None:
    member = {"config": {"algorithm": {"name": "maml"}}, "weight": 1.0, "noise_scales": [0.9, NOISE]}
    support, scales = Batch(torch.rand(3, 1), torch.tensor([[100.0], [300.0], [800.0]])), []
    for own in ({"noise_in_task_units": True}, {}):
        config = {"algorithm": {"name": "stack", "members": [{**member, **own}]}}
        learner = learner_of(config, (1,), "regression", 1, info=FAMILY.info)
        meta = learner.init(generator_for(0, "init", 0))
        scales.append(learner.predict(learner.adapt(meta, support), support.x).scale.flatten()[0].item())  # type: ignore[union-attr]
    assert scales[0] == pytest.approx(NOISE * POOLED.unit(support).scale.item())
    assert scales[1] == pytest.approx(NOISE), "one that says nothing of it was fitted in one unit for all tasks"
