"""Tasks in units of their own: support rows alone decide them, and whatever is predicted comes back in the table's."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import metafunc
from metafunc import algorithms, data, in_task_units, nn, tree
from metafunc.algorithms import post_hoc
from metafunc.bayes.task_units import InTaskUnits, Pooled, Unit
from metafunc.bayes.untrained import untrained
from metafunc.nn import likelihood
from metafunc.training import config as configuration
from metafunc.training import warm_start
from metafunc.training.build import learner_of
from metafunc.types import Batch, MetaLearner, Normal, Task

POOLED = Pooled((2.0, 0.5), (3.0, 7.0))
META = {"nothing": torch.zeros(())}
QUERIES = torch.zeros(2, 1), torch.full((2, 1), 50.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def arrays(num_tasks: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """Lines of ten rows whose units differ a hundredfold."""
    x, tasks = torch.rand(10 * num_tasks, generator=generator()), torch.arange(10 * num_tasks) // 10
    unit = 10 ** (2 * torch.rand(num_tasks, generator=generator(1)))[tasks]
    rate = torch.randn(num_tasks, generator=generator(2))[tasks]
    noise = 0.1 * torch.randn(len(x), generator=generator(3))
    return x, unit * (3 + rate * x + noise), tasks


def family(**settings: Any) -> Any:
    return data.from_arrays(*arrays(), num_shots=4, num_queries=6, num_test_queries=6, **settings)


def standard_normal() -> MetaLearner[Any, Any]:
    """The learner that predicts N(0, 1) of whatever units it is given."""
    return untrained(lambda support: support.y, lambda _, x: Normal(x.new_zeros(1, len(x), 1), x.new_ones(())))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_units_are_the_equation_for_any_number_of_rows_that_count(count: int) -> None:
    y, mask = torch.randn(7, 2, generator=generator()), (torch.arange(7) < count).float()
    rows = y[:count].tolist()
    for output, (scale, worth) in enumerate(zip(POOLED.scale, POOLED.rows, strict=True)):
        column = [row[output] for row in rows]
        mean = sum(column) / max(count, 1)
        squares = sum((value - mean) ** 2 for value in column)
        deviation = math.sqrt((worth * scale**2 + squares) / (worth + max(count - 1, 0))) if count else 1.0
        found = POOLED.unit(Batch(torch.zeros(7, 1), y, mask))
        assert found.mean[output].item() == pytest.approx(mean, abs=1e-6)
        assert found.scale[output].item() == pytest.approx(deviation, rel=1e-6)
        if count:
            whole = POOLED.unit(Batch(torch.zeros(count, 1), y[:count]))
            assert torch.allclose(whole.scale, found.scale), "padding is no row"


def seen_with(query: Tensor, pooled: Callable[[Task], Unit]) -> Tensor:
    """What an adaptation sees of a task's support rows, for a query with these targets."""
    task = Task(Batch(torch.zeros(3, 1), torch.tensor([[1.0], [2.0], [4.0]])), Batch(torch.zeros(2, 1), query))
    unit = pooled(task)
    return (task.support.y - unit.mean) / unit.scale


def test_query_targets_change_nothing_of_what_is_seen_in_training() -> None:
    plain = replace(standard_normal(), task_loss=lambda meta, task: task.support.y.square().sum())
    learner = in_task_units(plain, scale=[2.0], rows=[3.0])
    support = Batch(torch.zeros(3, 1), torch.tensor([[1.0], [2.0], [4.0]]))
    losses = [learner.task_loss({}, Task(support, Batch(torch.zeros(2, 1), y))) for y in QUERIES]
    assert torch.equal(*losses)
    one = Pooled((2.0,), (3.0,))
    assert torch.equal(*(seen_with(y, lambda task: one.unit(task.support)) for y in QUERIES))
    together = (
        seen_with(y, lambda task: one.unit(Batch((), torch.cat([task.support.y, task.query.y])))) for y in QUERIES
    )
    assert not torch.equal(*together), "the wrong twin, whose units the query rows take part in"


def test_the_pooled_scale_is_of_training_tasks_alone() -> None:
    x, y, tasks = arrays()
    first = data.from_arrays(x, y, tasks, num_shots=4, standardise="task")
    names = sorted(map(str, tasks.unique().tolist()))  # tasks are numbered in the order of their names
    held_out = torch.tensor([int(names[each]) for each in first.test.groups(generator(), 200).unique()])  # type: ignore[attr-defined]
    changed = torch.where(torch.isin(tasks, held_out), 1000 * y, y)
    again = data.from_arrays(x, changed, tasks, num_shots=4, standardise="task")
    assert len(held_out) == 4
    assert again.info["task_scale"] == first.info["task_scale"]
    everywhere = data.from_arrays(
        x, torch.where(tasks == tasks[0], y, 1000 * y), tasks, num_shots=4, standardise="task"
    )
    assert everywhere.info["task_scale"] != first.info["task_scale"]


def test_densities_of_rows_alone_and_together_have_the_jacobian() -> None:
    plain = algorithms.dkt(nn.mlp((1,), 4, hidden=(4,)), likelihood.gaussian(), num_features=4)
    learner = in_task_units(plain, scale=[0.3], rows=[3.0])
    meta = tree.map(Tensor.double, plain.init(generator()))
    x = torch.rand(6, 1, generator=generator(1)).double()
    support, query = Batch(x[:4], 5 + 0.1 * x[:4]), Batch(x[4:], 5 + 0.2 * x[4:], torch.ones(2).double())
    params, unit = learner.adapt(meta, support), Pooled((0.3,), (3.0,)).unit(support)
    own = plain.adapt(meta, support._replace(y=(support.y - unit.mean) / unit.scale))
    scaled = query._replace(y=(query.y - unit.mean) / unit.scale)
    assert learner.joint is not None
    assert plain.joint is not None
    jacobian = 2 * unit.scale.log().item()
    assert learner.joint(params, query).item() == pytest.approx(plain.joint(own, scaled).item() - jacobian, abs=1e-9)
    assert abs(jacobian) > 1, "without it the two differ"
    for row in range(2):
        alone = query._replace(x=query.x[row : row + 1], y=query.y[row : row + 1], mask=())
        density = learner.predict(params, alone.x).log_prob(alone.y)  # type: ignore[union-attr]
        assert learner.joint(params, alone).item() == pytest.approx(density.item(), abs=1e-4)
    half = query._replace(mask=torch.tensor([1.0, 0.0]).double())
    first = query._replace(x=query.x[:1], y=query.y[:1], mask=())
    assert learner.joint(params, half).item() == pytest.approx(learner.joint(params, first).item(), abs=1e-9)


def test_metrics_are_in_the_units_of_the_other_standardisations() -> None:
    by_task, usual, raw = (family(standardise=how) for how in ("task", True, False))
    pooled = Pooled(*(tuple(by_task.info["task_scale"][name]) for name in ("scale", "rows")))

    def direct(mean: float, scale: float) -> MetaLearner[Any, Any]:
        def condition(support: Batch) -> Unit:
            return pooled.unit(support._replace(y=(support.y - mean) / scale))

        def predict(unit: Unit, x: Tensor) -> Normal:
            wide = x.new_zeros(1, len(x), 1)
            return Normal(wide + unit.mean * scale + mean, wide + unit.scale * scale)

        return untrained(condition, predict)

    mean, scale = (by_task.info[f"target_{of}"][0] for of in ("mean", "scale"))
    settings: dict[str, Any] = {"num_tasks": 12, "seed": 1}
    learner = in_task_units(standard_normal(), **by_task.info["task_scale"])
    found = metafunc.evaluate(learner, META, by_task, **settings).values
    same = metafunc.evaluate(direct(0.0, 1.0), META, usual, **settings).values
    in_table = metafunc.evaluate(direct(mean, scale), META, raw, **settings).values
    assert torch.allclose(found["nll"][1], same["nll"][1], atol=1e-4)
    assert torch.allclose(found["mse"][1], same["mse"][1], rtol=1e-4)
    assert torch.allclose(found["nll"][1] + math.log(scale), in_table["nll"][1], atol=1e-3)
    assert not torch.allclose(found["nll"][1], in_table["nll"][1], atol=1e-1)


def test_rows_after_adaptation_have_the_tasks_unit_and_before_it_none() -> None:
    learner = in_task_units(
        algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian()), scale=[2.0], rows=[3.0]
    )
    support = Batch(torch.zeros(2, 1), torch.tensor([[10.0], [14.0]]))
    path = learner.path(learner.init(generator()), support, 2)
    assert path.unit.mean.flatten().tolist() == [0.0, 12.0, 12.0]
    assert path.unit.scale.flatten().tolist() == pytest.approx([1.0, math.sqrt(5), math.sqrt(5)])


def test_a_run_and_its_files_have_the_units_of_the_table(tmp_path: Path) -> None:
    from metafunc.results.predict_files import predict_files

    x, y, tasks = arrays()
    rows = [f"{t},{a},{b}" for t, a, b in zip(tasks.tolist(), x.tolist(), y.tolist(), strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["task,x,y", *rows]))
    settings = {"name": "regression", "path": str(tmp_path / "t.csv"), "num_shots": 4, "num_queries": 6}
    config = {"algorithm": {"name": "alpaca"}, "tasks": {**settings, "standardise": "task"}, "training": {"steps": 3}}
    trained = configuration.train(config, out=tmp_path / "run")
    learner, meta = metafunc.load(tmp_path / "run")
    assert isinstance(learner, InTaskUnits)
    assert asdict(learner.pooled)["scale"] == pytest.approx(trained.family.info["task_scale"]["scale"])
    support = Batch(torch.tensor([[0.1], [0.9]]), torch.tensor([[3.0], [4.0]]))
    first, second = (metafunc.predict(of, meta, support, support.x) for of in (learner, trained.learner))
    assert torch.equal(first.loc, second.loc)
    for name, unit in (("small", 1.0), ("large", 100.0)):
        (tmp_path / f"{name}.csv").write_text(
            "\n".join(["x,y", *(f"{a},{unit * (3 + a)}" for a in (0.1, 0.4, 0.6, 0.9))])
        )
        predicted = predict_files(
            tmp_path / "run", support=tmp_path / f"{name}.csv", query=tmp_path / f"{name}.csv", out=None
        )
        mean = predicted.table["y_predicted"].astype(float).mean()
        assert mean == pytest.approx(3.5 * unit, rel=0.2)


def test_a_learner_of_your_own_is_asked_to_standardise() -> None:
    plain = algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian())
    by_task = family(standardise="task")
    with pytest.raises(ValueError, match=r"in_task_units\(learner"):
        metafunc.fit(plain, by_task, steps=1)
    metafunc.fit(in_task_units(plain, **by_task.info["task_scale"]), by_task, steps=1)


@pytest.mark.parametrize("settings", [{"kind": "classification"}, {"units": {"log_targets": False}}])
def test_what_cannot_be_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="standardise"):
        family(**{"standardise": "task", **settings})


@pytest.mark.parametrize("names", [["tempered"], ["laplace", "tempered"]])
def test_transforms_fit_their_scalars_in_the_tasks_own_units(names: list[str]) -> None:
    model, observed = nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian()
    learner = in_task_units(algorithms.maml(model, observed), scale=[2.0], rows=[3.0])
    changed = post_hoc.transformed(learner, names, [model], observed)
    meta, x = learner.init(generator()), torch.rand(3, 1, generator=generator(1))
    near, far = (Batch(x, 100 + spread * x) for spread in (1, 1000))
    scales = [changed.predict(changed.adapt(meta, rows), x) for rows in (near, far)]
    assert changed.standardises
    ratio = scales[1].scale.mean() / scales[0].scale.mean()  # type: ignore[union-attr]
    units = [learner.pooled.unit(rows).scale.item() for rows in (near, far)]  # type: ignore[attr-defined]
    assert ratio.item() == pytest.approx(units[1] / units[0], rel=0.5)


def test_noise_starts_in_the_tasks_own_units() -> None:
    by_task, config = family(standardise="task"), {"algorithm": {"name": "alpaca"}}
    plain = learner_of(config, (1,), "regression", 1)
    learner = in_task_units(plain, **by_task.info["task_scale"])
    tasks, meta = by_task.train(generator(), 50), plain.init(generator())
    noise = [warm_start.with_noise_of(of, meta, tasks).log_scale.exp().item() for of in (learner, plain)]
    # Rates of size 1 over [0, 1] spread by .3, and the noise is .1: a third of a task's own spread, about.
    assert 0.1 < noise[0] < 1.0
    assert noise[1] < 0.1, "the wrong twin: in the units of all tasks"


def test_an_ensemble_of_a_learner_in_task_units_is_one_in_task_units() -> None:
    model, observed = nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian()
    plain = algorithms.maml(model, observed)
    found = metafunc.lift(in_task_units(plain, scale=[2.0], rows=[3.0]), num_particles=3)
    wanted = in_task_units(metafunc.lift(plain, num_particles=3), scale=[2.0], rows=[3.0])
    assert isinstance(found, InTaskUnits)
    meta, x = found.init(generator()), torch.rand(4, 1, generator=generator(1))
    rows = Batch(x, 100 + 1000 * x)
    whole, apart = (each.predict(each.adapt(meta, rows), x) for each in (found, wanted))
    assert isinstance(whole, Normal)
    assert isinstance(apart, Normal)
    assert torch.equal(whole.loc, apart.loc)
    inner = found.plain.predict(found.plain.adapt(meta, rows), x)
    assert isinstance(inner, Normal)
    assert inner.loc.shape == (3, 4, 1), "what a transform is applied to has the particles"
    changed = post_hoc.transformed(found, ["tempered"], [model], observed)
    predicted = changed.predict(changed.adapt(meta, rows), x)
    assert isinstance(predicted, Normal)
    assert isinstance(predicted.scale, torch.Tensor)
    assert predicted.loc.shape == (3, 4, 1)
    assert predicted.scale.flatten()[0].item() == pytest.approx(found.pooled.unit(rows).scale.item())
