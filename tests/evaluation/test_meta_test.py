"""The meta-test against plain loops: errors, likelihoods, intervals, and tasks on which adaptation blows up."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

import metafunc
from metafunc import Execution, algorithms, data, nn, tree
from metafunc.data.sampling import generator_for
from metafunc.evaluation import meta_test, metrics
from metafunc.evaluation.metrics.intervals import student
from metafunc.nn import likelihood
from metafunc.types import Batch, Categorical, MetaLearner, Normal, Task, TaskFamily

SINUSOID = data.sinusoid(num_shots=5, num_test_queries=8)
LEARNER = algorithms.maml(nn.mlp((1,), 1, hidden=(8,)), likelihood.gaussian(), inner_lr=0.02)
META = LEARNER.init(generator_for(0, "start", 0))


def forward(params: dict[str, Tensor], x: Tensor) -> Tensor:
    hidden = torch.relu(x @ params["layer1.weight"].T + params["layer1.bias"])
    return hidden @ params["head.weight"].T + params["head.bias"]


def errors_by_hand(split: str, num_tasks: int, num_steps: int) -> np.ndarray[Any, Any]:
    """(steps, tasks), task by task, with plain autograd, from tasks that are drawn in blocks of 25."""
    errors = []
    for index in range(num_tasks):
        sampler = SINUSOID.variants.get(split) or getattr(SINUSOID, split)
        task = data.redraw(sampler, 4, split, index // 25, index % 25)
        params, row = META, []
        for _ in range(num_steps + 1):
            row.append((forward(params, task.query.x) - task.query.y).square().mean().item())
            params = {name: leaf.detach().requires_grad_() for name, leaf in params.items()}
            loss = (forward(params, task.support.x) - task.support.y).square().mean()
            gradients = torch.autograd.grad(loss, list(params.values()))
            params = {
                name: leaf - 0.02 * gradient for (name, leaf), gradient in zip(params.items(), gradients, strict=True)
            }
        errors.append(row)
    return np.array(errors).T


@pytest.mark.parametrize("chunk_size", [None, 1, 7])
@pytest.mark.parametrize("split", ["test", "amplitude"])
def test_scores_are_those_of_a_plain_loop(chunk_size: int | None, split: str) -> None:
    sizes: dict[str, Any] = {"num_tasks": 30, "num_steps": 3, "num_validation_tasks": 26}
    execution = Execution(chunk_size=chunk_size)
    result = metafunc.evaluate(LEARNER, META, SINUSOID, seed=4, split=split, execution=execution, **sizes)
    errors = errors_by_hand(split, 30, 3)
    assert result.num_tasks == 30
    np.testing.assert_allclose(result.values["mse"], errors, rtol=2e-5)

    variances = errors_by_hand("validation", 26, 3).mean(1, keepdims=True)
    nll = 0.5 * np.log(2 * np.pi * variances) + errors / (2 * variances)
    np.testing.assert_allclose(result.values["nll"], nll, rtol=2e-5)
    for step, row in enumerate(result.by_step):
        assert row["step"] == step
        assert row["diverged"] == 0
        assert row["noise_scale"] == pytest.approx(math.sqrt(variances[step, 0]), rel=1e-5)
        assert row["mse"]["mean"] == pytest.approx(errors[step].mean(), rel=1e-5)
        half = student(29) * errors[step].std(ddof=1) / math.sqrt(30)
        assert row["mse"]["ci95"] == pytest.approx(half, rel=1e-4)
        assert row["mse"]["median"] == pytest.approx(np.median(errors[step]), rel=1e-5)


def test_a_learner_with_a_noise_model_keeps_it() -> None:
    own = algorithms.maml(nn.mlp((1,), 1, hidden=(8,)), likelihood.gaussian(scale=0.5), inner_lr=0.02)
    result = metafunc.evaluate(own, META, SINUSOID, num_tasks=3, num_steps=1, seed=4)
    assert "noise_scale" not in result.pooled
    nll = 0.5 * math.log(2 * math.pi * 0.25) + errors_by_hand("test", 3, 1) / 0.5
    np.testing.assert_allclose(result.values["nll"], nll, rtol=1e-5)


def test_the_default_is_six_hundred_tasks_and_ten_steps() -> None:
    result = metafunc.evaluate(LEARNER, META, SINUSOID)
    assert (result.num_tasks, [row["step"] for row in result.by_step]) == (600, list(range(11)))


def stubborn(count: int, kind: str) -> TaskFamily:
    """Sinusoids; in the first `count` test tasks the support set's gradient is such that steps blow up."""

    def test(generator: Generator, num_tasks: int, /) -> Task:
        tasks = SINUSOID.test(generator, num_tasks)
        factor = torch.ones(num_tasks, 1, 1)
        factor[:count] = {"inf": 1e20, "nan": 1e30}[kind]
        return tasks._replace(support=tasks.support._replace(y=tasks.support.y * factor))

    return dataclasses.replace(SINUSOID, test=test)


@pytest.mark.parametrize("kind", ["inf", "nan"])
def test_tasks_that_diverge_spoil_the_mean_only(kind: str) -> None:
    result = metafunc.evaluate(LEARNER, META, stubborn(1, kind), num_tasks=20, num_steps=6, num_validation_tasks=5)
    last = result.by_step[-1]
    assert last["diverged"] == 1
    assert last["mse"]["mean"] == math.inf
    assert 0 < last["mse"]["median"] < 100
    assert result.by_step[0]["diverged"] == 0
    text = json.dumps(result.to_json(), allow_nan=False)
    assert json.loads(text)["by_step"][-1]["mse"]["mean"] is None


def test_the_trimmed_mean_leaves_out_the_worst_hundredth() -> None:
    for metric, values in (("mse", [1.0] * 198 + [math.inf, math.nan]), ("accuracy", [1.0] * 198 + [0.0, 0.0])):
        row = meta_test.summarise(metric, torch.tensor(values))
        assert row["trimmed_mean"] == 1.0
        assert row["median"] == 1.0
    assert meta_test.summarise("mse", torch.tensor([0.0] * 198 + [1.0, 2.0]))["trimmed_mean"] == 0.0
    assert meta_test.summarise("accuracy", torch.tensor([0.0, 1.0] * 100))["trimmed_mean"] > 0.5


def blobs(generator: Generator, num_tasks: int, /) -> Task:
    """Three classes around three corners; the labels are re-assigned per task."""
    uniforms = torch.rand(num_tasks, 40, dtype=torch.float64, generator=generator).float()
    order = uniforms[:, :3].argsort(1)
    corners = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.arange(9).remainder(3).expand(num_tasks, 9)
    x = corners[order.gather(1, y)] + uniforms[:, 3:21].reshape(-1, 9, 2)
    return Task(Batch(x[:, :6], y[:, :6]), Batch(x[:, 3:], y[:, 3:]))


BLOBS = TaskFamily("blobs", "classification", (2,), 3, blobs, blobs, blobs)
CLASSIFIER = algorithms.maml(nn.mlp((2,), 3, hidden=(6,)), likelihood.categorical(3), inner_lr=0.5)


def test_classes_are_scored_by_accuracy_likelihood_and_calibration() -> None:
    meta = CLASSIFIER.init(generator_for(0, "start", 0))
    result = metafunc.evaluate(CLASSIFIER, meta, BLOBS, num_tasks=30, num_steps=2, seed=1)
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    for index in range(30):
        task = data.redraw(blobs, 1, "test", index // 25, index % 25)
        params = meta
        for step in range(3):
            found = forward(params, task.query.x)
            guessed = found.argmax(1) == task.query.y
            assert float(result.values["accuracy"][step, index]) == pytest.approx(float(guessed.float().mean()))
            nll = torch.nn.functional.cross_entropy(found, task.query.y)
            assert float(result.values["nll"][step, index]) == pytest.approx(nll.item(), rel=1e-4)
            params = {name: leaf.detach().requires_grad_() for name, leaf in params.items()}
            loss = torch.nn.functional.cross_entropy(forward(params, task.support.x), task.support.y)
            gradients = torch.autograd.grad(loss, list(params.values()))
            params = {
                name: leaf - 0.5 * gradient for (name, leaf), gradient in zip(params.items(), gradients, strict=True)
            }
        logits.append(found.detach())
        labels.append(task.query.y)
    together = metrics.ece(Categorical(torch.cat(logits)[None]), torch.cat(labels))
    assert result.by_step[2]["ece"] == pytest.approx(float(together), abs=1e-5)
    probe = result.memorisation_probe
    assert probe is not None
    assert probe["mean"] == result.by_step[0]["accuracy"]["mean"]
    assert probe["chance"] == pytest.approx(1 / 3)
    assert result.to_json()["memorisation_probe"] == probe


def test_padded_rows_do_not_count() -> None:
    def padded(generator: Generator, num_tasks: int, /) -> Task:
        def pad(batch: Batch) -> Batch:
            mask = torch.ones(*batch.y.shape, dtype=torch.float32)
            more = [torch.cat([leaf, junk], 1) for leaf, junk in ((batch.x, batch.x + 9), (batch.y, 0 * batch.y))]
            return Batch(*more, torch.cat([mask, 0 * mask], 1))

        return Task(*map(pad, blobs(generator, num_tasks)))

    meta = CLASSIFIER.init(generator_for(0, "start", 0))
    family = dataclasses.replace(BLOBS, test=padded)
    plain, masked = (metafunc.evaluate(CLASSIFIER, meta, f, num_tasks=10, num_steps=2).by_step for f in (BLOBS, family))
    for first, second in zip(plain, masked, strict=True):
        assert second["accuracy"]["mean"] == pytest.approx(first["accuracy"]["mean"])
        assert second["nll"]["mean"] == pytest.approx(first["nll"]["mean"], rel=1e-5)
        assert second["ece"] == pytest.approx(first["ece"], abs=1e-5)


def particles() -> MetaLearner[Any, Any]:
    """Two particles, one above and one below the network, by 1."""

    def predict(params: Any, x: Tensor) -> Normal:
        outputs = forward(params, x)
        return Normal(torch.stack([outputs + 1, outputs - 1]), outputs.new_tensor(0.5))

    return dataclasses.replace(LEARNER, predict=predict)


def test_particles_are_a_mixture() -> None:
    result = metafunc.evaluate(particles(), META, SINUSOID, num_tasks=4, num_steps=0, seed=4)
    np.testing.assert_allclose(result.values["mse"], errors_by_hand("test", 4, 0), rtol=1e-5)
    task = data.redraw(SINUSOID.test, 4, "test", 0, 2)
    means = torch.stack([forward(META, task.query.x) + 1, forward(META, task.query.x) - 1])
    densities = torch.distributions.Normal(means, 0.5).log_prob(task.query.y).exp().mean(0)
    assert float(result.values["nll"][0, 2]) == pytest.approx(float(-densities.log().mean()), rel=1e-4)


def test_a_learner_without_inner_steps_has_two_rows() -> None:
    own = algorithms.protonet(nn.mlp((2,), None, hidden=(4,)), likelihood.categorical(3))
    result = metafunc.evaluate(own, own.init(generator_for(0, "start", 0)), BLOBS, num_tasks=10)
    before, after = result.by_step
    assert (before["step"], after["step"]) == (0, 1)
    assert after["accuracy"]["mean"] > before["accuracy"]["mean"] + 0.2


def test_nothing_around_it_changes_and_twice_is_the_same() -> None:
    state, before = torch.get_rng_state(), tree.map(torch.clone, META)
    first, again = (metafunc.evaluate(LEARNER, META, SINUSOID, num_tasks=10, num_steps=1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(tree.leaves(META), tree.leaves(before), strict=True))
    assert torch.equal(first.values["nll"], again.values["nll"])


def test_it_is_executed_as_asked() -> None:
    seen: set[tuple[int, bool]] = set()

    def predict(params: Any, x: torch.Tensor, /) -> Any:
        seen.add((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
        return LEARNER.predict(params, x)

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    watched, execution = dataclasses.replace(LEARNER, predict=predict), Execution(threads=2, deterministic=True)
    found = metafunc.evaluate(watched, META, SINUSOID, num_tasks=3, num_steps=1, execution=execution)
    assert seen - {before} == {(2, True)}  # the tasks are looked over before
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    with pytest.raises(ValueError, match="no device 'nonsense'"):
        metafunc.evaluate(LEARNER, META, SINUSOID, execution=Execution(device="nonsense"))
    assert found.num_tasks == 3


def test_progress_is_reported() -> None:
    reported: list[tuple[int, int]] = []
    metafunc.evaluate(
        LEARNER,
        META,
        SINUSOID,
        num_tasks=30,
        num_steps=0,
        on_progress=lambda done, total: reported.append((done, total)),
    )
    assert reported == [(25, 30), (30, 30)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_tasks": 0}, "num_tasks must be .*not 0"),
        ({"num_steps": -1}, "num_steps must be .*not -1"),
        ({"split": "tset"}, "no split 'tset'; it has train, validation, test, amplitude, phase"),
        ({"family": BLOBS}, r"fails on the first task of blobs \(classification, inputs of shape \(2,\)"),
        ({"family": dataclasses.replace(SINUSOID, num_outputs=2)}, r"not \(2,\)"),
    ],
)
def test_what_cannot_be_scored_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments = {"family": SINUSOID, "num_tasks": 3, "num_steps": 1, **changes}
    with pytest.raises(ValueError, match=message):
        metafunc.evaluate(LEARNER, META, arguments.pop("family"), **arguments)


def test_the_report_has_what_scripts_rely_on() -> None:
    result = metafunc.evaluate(LEARNER, META, SINUSOID, num_tasks=30, num_steps=1)
    report = meta_test.report(result, algorithm="maml", tasks="sinusoid", run="runs/x", seed=3, steps=70)
    found = json.loads(json.dumps(report, allow_nan=False))
    assert {key: found[key] for key in ("algorithm", "tasks", "run", "seed", "steps", "normalisation")} == {
        "algorithm": "maml",
        "tasks": "sinusoid",
        "run": "runs/x",
        "seed": 3,
        "steps": 70,
        "normalisation": "none",
    }
    assert found["meta_test"]["num_tasks"] == 30
    for step, row in enumerate(found["meta_test"]["by_step"]):
        assert row["step"] == step
        assert row["mse"].keys() == row["nll"].keys() == {"mean", "ci95", "median", "trimmed_mean"}


def test_episodes_of_a_table_count_its_tasks(tmp_path) -> None:
    file = tmp_path / "lines.csv"
    rows = [f"{task},{x},{task * x}" for task in range(20) for x in range(8)]
    file.write_text("\n".join(["task,x,y", *rows]))
    family = data.regression(str(file), num_shots=3, num_queries=4)
    found = metafunc.evaluate(LEARNER, META, family, num_tasks=60, num_steps=1)
    assert found.to_json()["groups"] == {"number": 4, "of": "tasks", "per_episode": 1}
    sampler = family.test
    assert isinstance(sampler, data.Grouped)
    groups = torch.cat([sampler.groups(generator_for(0, "test", block), n) for block, n in ((0, 25), (1, 25), (2, 10))])
    half = metrics.interval(found.values["mse"][1].double(), groups)[1].item()
    assert found.by_step[1]["mse"]["ci95"] == pytest.approx(half)
    assert found.memorisation_probe is not None
    own = found.memorisation_probe["own"]
    assert own["ci95"] == pytest.approx(metrics.interval(found.probe["own"].double(), groups)[1].item())
    assert "groups" not in metafunc.evaluate(LEARNER, META, SINUSOID, num_tasks=3, num_steps=1).to_json()
