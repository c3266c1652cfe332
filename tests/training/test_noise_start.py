"""A noise scale that starts at the noise of tasks: right on lines, for every learner that has it, and nothing else."""

import pytest
import torch

from metafunc import algorithms, evaluate, likelihood, nn, tree
from metafunc.data import from_arrays, sinusoid
from metafunc.data.sampling import generator_for
from metafunc.testing import random_tasks
from metafunc.training.build import build, learner_for
from metafunc.training.config import train
from metafunc.training.warm_start import NUM_TASKS, with_noise_of
from metafunc.types import Batch, Task


def lines(noise):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 16, 1, generator=generator)
    w = torch.randn(30, 2, 1, 1, generator=generator)
    y = w[:, 0] + w[:, 1] * x + noise * torch.randn(30, 16, 1, generator=generator)
    return Task(Batch(x[:, :6], y[:, :6]), Batch(x[:, 6:], y[:, 6:]))


def started(name, **settings):
    learner = algorithms.build(name, nn.mlp, (1,), "regression", 1, **settings)
    return learner, learner.init(torch.Generator().manual_seed(0))


@pytest.mark.parametrize("noise", [0.03, 0.8])
def test_it_is_the_noise_of_lines_and_not_their_spread(noise):
    learner, meta = started("mixed")
    tasks = lines(noise)
    assert with_noise_of(learner, meta, tasks).log_scale.exp().item() == pytest.approx(noise, rel=0.25)
    assert tasks.query.y.std() > 1.2 * noise
    # What is masked is no part of it.
    wild = tasks.query._replace(y=torch.where(torch.arange(10)[:, None] < 7, tasks.query.y, 50.0))
    masked = tasks._replace(query=wild._replace(mask=(torch.arange(10) < 7).float().expand(30, 10)))
    assert with_noise_of(learner, meta, masked).log_scale.exp().item() == pytest.approx(noise, rel=0.3)
    assert with_noise_of(learner, meta, tasks._replace(query=wild)).log_scale.exp().item() > 2 * noise


LEARNED = {
    "pacoh": {"num_steps": 3},
    "platipus": {"noise": "learned"},
    "abml": {"noise": "learned"},
    "vampire": {"noise": "learned"},
}
NOISY = {
    "alpaca": "log_scale",
    "mixed": "log_scale",
    "dkt": "log_scale",
    "empirical_gp": "log_scale",
    "versa": "log_scale",
    "pacoh_gp": "raw_noise",
    "pacoh": "mean.log_noise",
    "bmaml": "log_noise",
    "platipus": "prior.mean.raw_noise_scale",
    "abml": "mean.raw_noise_scale",
    "vampire": "mean.raw_noise_scale",
}


@pytest.mark.parametrize("name", NOISY)
def test_nothing_else_is_moved_and_predictions_have_the_noise(name):
    learner, meta = started(name, **LEARNED.get(name, {}))
    tasks = lines(1.5)
    begun = with_noise_of(learner, meta, tasks)
    moved = [p for p, leaf in tree.by_path(begun).items() if not torch.equal(leaf, tree.by_path(meta)[p])]
    assert moved == [NOISY[name]]
    prepared = learner.prepare(meta, tasks, torch.Generator().manual_seed(0), step=None, num_steps=0)
    near = tree.at(prepared.support, 0)
    # Where there is data, what is left of a prediction's spread is the noise, and a learner's own start has less.
    spread = [float(learner.predict(learner.adapt(at, near), near.x).scale.mean()) for at in (begun, meta)]
    assert 1.3 < spread[0] < 2.2
    assert spread[1] < spread[0]


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["mixed", "alpaca", "dkt"])
@pytest.mark.parametrize("noise", [0.03, 0.3, 1.5])
def test_a_training_from_the_data_ends_within_a_tenth_of_a_nat_of_the_better_start(name, noise):
    """The other start is the setting's, .1, which is right for neither the first nor the last of these tables."""
    generator = torch.Generator().manual_seed(0)
    w, x = torch.randn(40, 2, 1, generator=generator), torch.randn(40, 16, generator=generator)
    y = w[:, 0] + w[:, 1] * x + noise * torch.randn(40, 16, generator=generator)
    family = from_arrays(x.flatten(), y.flatten(), torch.arange(40).repeat_interleave(16), num_shots=6, num_queries=8)

    def nll(start):
        training = {"steps": 100, "num_tasks": 8, "outer_lr": 3e-3, "noise_from": start}
        config = {"algorithm": {"name": name}, "tasks": {"name": family.name}, "training": training}
        found = train(config, built=(learner_for(config, family), family))
        tested = evaluate(found.learner, found.fit.meta, family, num_tasks=80, num_steps=1)
        return float(tested.values["nll"][-1].mean())

    assert nll("data") <= nll("setting") + 0.1


def test_a_learner_without_one_and_classes_are_refused():
    with pytest.raises(ValueError, match="for a learner that learns one, such as alpaca"):
        with_noise_of(*started("maml"), lines(0.1))
    known = algorithms.alpaca(nn.mlp((1,), 4), likelihood.gaussian(scale=0.3))
    with pytest.raises(ValueError, match="This one has none"):
        with_noise_of(known, known.init(torch.Generator()), lines(0.1))
    with pytest.raises(ValueError, match="A noise scale starts from tasks of regression"):
        with_noise_of(*started("mixed"), random_tasks("classification"))


def test_a_learner_that_cannot_follow_curves_starts_at_what_a_line_leaves():
    tasks = sinusoid(noise=0.1, num_shots=10).train(torch.Generator().manual_seed(0), 30)
    found = {}
    for features in ("linear", "spline"):
        settings = {"features": features, "low": -5.0, "high": 5.0, "scale": 3.0}
        learner = algorithms.build("mixed", nn.mlp, (1,), "regression", 1, **settings)
        meta = learner.init(torch.Generator().manual_seed(0))
        found[features] = with_noise_of(learner, meta, tasks).log_scale.exp().item()
    assert found["spline"] == pytest.approx(0.1, rel=0.5)
    assert found["linear"] > 0.8


def test_targets_that_do_not_vary_leave_it():
    learner, meta = started("mixed")
    tasks = lines(0.1)
    still = Task(*(part._replace(y=0 * part.y) for part in tasks))
    assert torch.equal(with_noise_of(learner, meta, still).log_scale, meta.log_scale)


def test_a_learner_that_draws_noise_is_prepared():
    learner, meta = started("versa")
    assert with_noise_of(learner, meta, lines(0.8)).log_scale.exp().item() == pytest.approx(0.8, rel=0.25)


@pytest.fixture
def table(tmp_path):
    tasks = lines(0.5)
    rows = [
        f"{task},{x},{y}"
        for task in range(30)
        for part in tasks
        for x, y in zip(part.x[task, :, 0].tolist(), part.y[task, :, 0].tolist(), strict=True)
    ]
    file = tmp_path / "lines.csv"
    file.write_text("\n".join(["task,x,y", *rows]))
    return {"name": "regression", "path": str(file), "num_shots": 5}


def begun(tasks, algorithm=(), **training):
    """The noise scale that a training starts from, and the one that the learner has of its own."""
    config = {
        "algorithm": {"name": "mixed", **dict(algorithm)},
        "tasks": tasks,
        "training": {"steps": 0, "seed": 3, **training},
    }
    learner, _ = build(config)
    own = learner.init(generator_for(3, "init", 0))
    return train(config).fit.meta.log_scale.exp().item(), own.log_scale.exp().item()


def test_a_training_on_a_table_starts_from_its_tasks_and_no_other_does(table):
    found, own = begun(table)
    learner, family = build({"algorithm": {"name": "mixed"}, "tasks": table})
    tasks = family.train(generator_for(3, "noise", 0), NUM_TASKS)
    meta = learner.init(generator_for(3, "init", 0))
    assert found == pytest.approx(with_noise_of(learner, meta, tasks).log_scale.exp().item())
    assert found > 2 * own
    assert begun(table, noise_from="data")[0] == found
    assert begun(table, {"noise_scale": 0.1})[0] == found, "what the command line states of every run"
    for settings in ({"noise_scale": 0.2},), {"noise_from": "setting"}:
        found, own = begun(table, *settings) if isinstance(settings, tuple) else begun(table, **settings)
        assert found == own
    synthetic = {"name": "trend"}
    assert len({*begun(synthetic)}) == 1
    assert len({*begun(synthetic, noise_from="data")}) == 2
    train({"algorithm": {"name": "maml"}, "tasks": table, "training": {"steps": 0}})  # it has none, and is not asked


def test_a_start_from_the_data_is_resumed_and_one_of_two_starts_is_refused(table, tmp_path):
    config = {
        "algorithm": {"name": "mixed"},
        "tasks": table,
        "training": {"steps": 2, "num_tasks": 3, "outer_lr": 1e-6},
    }
    once = train(config, out=tmp_path / "run").fit.meta.log_scale.item()
    assert train(config, out=tmp_path / "run", resume=True).fit.meta.log_scale.item() == once > -1.5
    # A run that was recorded before there was the setting is the same as one that leaves it open.
    stated = {**config, "training": {**config["training"], "noise_from": None}}
    assert train(stated, out=tmp_path / "run", resume=True).fit.meta.log_scale.item() == once
    for other, message in (
        ({"noise_from": "setting"}, "training.noise_from was absent and is now"),
        ({"noise_from": "date"}, "noise_from must be one of 'data', 'setting', not 'date'"),
        ({"noise_from": "data", "init_from": str(tmp_path / "run")}, "are two starts: give one of them"),
    ):
        where = {"out": tmp_path / "run", "resume": True} if other == {"noise_from": "setting"} else {}
        with pytest.raises(ValueError, match=message):
            train({**config, "training": {**config["training"], **other}}, **where)
    with pytest.raises(ValueError, match="leave out noise_from='data'"):
        train({"algorithm": {"name": "maml"}, "tasks": table, "training": {"steps": 0, "noise_from": "data"}})
