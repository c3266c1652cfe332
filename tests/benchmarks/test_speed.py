"""The speed harness on tiny work, without any peer: gradients agree, wrong ones are refused, samples become tables."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # `benchmarks` is no part of the installed package

from benchmarks.speed import extras, figure, measure, ranks, report, seeds
from benchmarks.speed.__main__ import main
from benchmarks.speed.contenders import (
    CONTENDERS,
    loop,
    who,
    with_gpytorch,
    with_metafunc,
    with_ranks,
    with_torch_transformer,
)
from benchmarks.speed.measure import Effort, Failed, Reference, Worker
from benchmarks.speed.workloads import PROBE_RATE, WORKLOADS, Array, Workload, tiny


def gradient(train: Any, work: Workload, option: str = "") -> Array:
    """What `measure.gradient` does, in this process."""
    probe = replace(work, dtype="float64", outer="sgd", outer_steps=1)
    after: list[Array] = []
    train(probe, lambda leaves: after.extend(leaf.detach().numpy() for leaf in leaves), option)
    parts = [(b - a) / PROBE_RATE for b, a in zip(probe.params().values(), after, strict=True)]
    flat: Array = np.concatenate([part.ravel() for part in parts])
    return flat


def small(name: str) -> Workload:
    work = tiny(WORKLOADS[name])
    return replace(work, input_shape=(3, 16, 16), widths=(2,)) if work.residual else work


@pytest.mark.parametrize("name", ["W1", "W1-K5", "W2", "W3", "W4", pytest.param("W7", marks=pytest.mark.nightly)])
def test_metafunc_and_the_loop_do_the_same_work(name: str) -> None:
    work = small(name)
    truth = Reference(gradient(loop.train, work), 0.0)
    assert truth.error(gradient(with_metafunc.train, work, "off")) <= measure.EXACT
    if work.images:
        assert truth.error(gradient(with_metafunc.train, work, "module")) <= measure.EXACT
    rematerialised = replace(work, rematerialise=not work.num_particles)
    assert truth.error(gradient(with_metafunc.train, rematerialised, "off")) <= measure.EXACT
    # The wrong twin: a step size that is off by a thousandth of itself.
    wrong = replace(work, inner_lr=1.001 * work.inner_lr)
    assert truth.error(gradient(with_metafunc.train, wrong, "off")) > measure.EXACT


@pytest.mark.parametrize("name", ["W5", "W6"])
def test_learners_that_adapt_without_steps_do_the_same_work(name: str) -> None:
    work = small(name)
    truth = Reference(gradient(loop.train, work), 0.0)
    others = {"W5": with_torch_transformer.train, "W6": with_gpytorch.train}
    assert truth.error(gradient(with_metafunc.train, work, "off")) <= measure.EXACT
    assert truth.error(gradient(others[name], work)) <= measure.EXACT
    # The wrong twin: a support row more, and a query row less.
    wrong = replace(work, num_support=work.num_support + 1, num_query=work.num_query - 1)
    assert (truth.error(gradient(with_metafunc.train, wrong, "off")) > measure.EXACT) == (name == "W5")


def test_shards_of_ranks_do_the_same_work() -> None:
    work = tiny(WORKLOADS["W2"])
    truth = Reference(gradient(loop.train, work), 0.0)
    assert truth.error(gradient(with_ranks.train, work, "2 1")) <= measure.EXACT


def test_samples_of_ranks_become_tables() -> None:
    samples = {name: {"seconds": [0.4, 0.2], "cpu": [0.2, 0.1]} for name in ranks.WAYS}
    samples["2 ranks, 1 thread each, 2 shards"] = {"seconds": [0.1, 0.1], "cpu": [0.12, 0.12]}
    ordered, plain = ({"seconds": seconds, "cpu": [0.001]} for seconds in ([0.001, 0.003], [0.001, 0.001]))
    sums = {"10000": {"ordered": ordered, "sum": plain}}
    shown = ranks.tables(
        {"steps": {"W2": {"samples": samples, "load": 1.0}}, "sums": {"2": {"samples": sums, "load": 2.0}}}
    )
    assert "| W2 | 2 ranks, 1 thread each, 2 shards | 100 / 100 | 120 / 120 | 2.00 | 1.67 | 1.0 |" in shown
    assert "| 2 | 10,000 | 2 / 1 | 1 / 1 | 1 / 1 | 1 / 1 | 2.0 |" in shown


def test_a_wrong_gradient_is_not_timed() -> None:
    work = tiny(WORKLOADS["W1"])
    truth = Reference(gradient(loop.train, replace(work, inner_lr=2 * work.inner_lr)), 1e-6)
    with pytest.raises(Failed, match="float64 is off by a relative"):
        measure.check("task loop", work, {}, truth, 60.0)


def test_rounds_time_every_worker_and_end_them() -> None:
    work = tiny(WORKLOADS["W1"])
    worker = Worker(CONTENDERS["task loop"], work, {}, 60.0)
    samples = measure.rounds({"task loop": worker}, Effort(rounds=3, block=0.01, warm=0.05))
    worker.close()
    assert worker.process.poll() is not None
    assert len(samples["task loop"]["cpu"]) == 3
    assert all(0 < seconds < 60 for seconds in samples["task loop"]["seconds"])
    assert samples["task loop"]["peak"] > 100  # torch alone is larger


def test_a_worker_that_fails_in_a_round_leaves_the_others_alone() -> None:
    work = tiny(WORKLOADS["W1"])
    workers = {name: Worker(CONTENDERS["task loop"], work, {}, 60.0) for name in ("well", "ill")}
    workers["ill"].process.kill()
    workers["ill"].process.wait()
    samples = measure.rounds(workers, Effort(rounds=2, block=0.01, warm=0.05))
    for worker in workers.values():
        worker.close()
    assert samples["ill"] == {"reason": "ended without a word"}
    assert len(samples["well"]["seconds"]) == 2


def test_the_first_update_of_a_run_is_timed() -> None:
    assert 0 < extras.first_update(["maml", "sinusoid", "--num-tasks", "2"], {}) < 120


def test_the_memory_of_a_work_is_measured_alone_and_that_of_others_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sample = tmp_path / "speed.json", {"metafunc eager": {"peak": 2.0, "base": 1.0}}
    report.store(path, "memory", {"long": sample})
    monkeypatch.setattr(extras, "memory", lambda work, names, say, patience: sample)
    monkeypatch.setattr(sys, "argv", ["speed", "--memory", "W7-K1-rematerialised", "--out", str(path)])
    main()
    assert report.read(path)["memory"] == {"long": sample, "W7-K1-rematerialised": sample}


def test_a_failing_worker_says_why() -> None:
    broken = replace(CONTENDERS["task loop"], module="no_such_file")
    with pytest.raises(Failed, match="no_such_file"):
        Worker(broken, tiny(WORKLOADS["W1"]), {}, 60.0)


def test_seeds_at_once_do_the_work_of_one() -> None:
    work = tiny(WORKLOADS["W1"])
    truth = Reference(gradient(loop.train, work), 0.0)
    assert truth.error(gradient(with_metafunc.train, replace(work, seeds=2), "off")) <= measure.EXACT


def test_seeds_of_jax_do_the_work_of_one() -> None:
    pytest.importorskip("jax")
    work = tiny(WORKLOADS["W1"])
    truth = Reference(gradient(loop.train, work), 0.0)
    found, _ = measure.gradient(CONTENDERS["JAX"], replace(work, dtype="float64", seeds=2), {}, 120.0)
    assert truth.error(found) <= measure.EXACT


def test_seeds_are_measured_beside_jax_and_what_others_have_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def measured(works: Any, names: Any, effort: Any, say: Any) -> Any:
        asked.extend(names)
        return {"W1": {"JAX": "new"}}

    monkeypatch.setattr(seeds, "measure", measured)
    kept = {"W1": {"JAX": "old", "metafunc": "kept"}}
    assert seeds.every(print, Effort(), kept=kept)["W1"] == {"JAX": "new", "metafunc": "kept"}
    assert asked == ["metafunc", "metafunc eager", "JAX"]


def test_seeds_of_what_is_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONTENDERS, "JAX", replace(CONTENDERS["JAX"], needs=("no_such_package",)))
    monkeypatch.setattr(seeds, "reference", lambda work, patience: None)
    said: list[str] = []
    assert seeds.measure({"W1": tiny(WORKLOADS["W1"])}, ["JAX"], Effort(), said.append) == {}
    assert said == ["W1: JAX is left out, not installed: no_such_package"]


def test_the_table_of_seeds_has_the_ratio_of_each_round() -> None:
    samples = {"0": {"cpu": [0.001, 0.002, 0.001]}, "5": {"cpu": [0.002, 0.004, 0.003]}}
    text = seeds.section({"W1": {"metafunc": samples, "JAX": samples}})
    assert "| W1 | JAX | 5 | 1 | 3 | 2.00× |  |  |" in text
    assert "| W1 | metafunc | 5 | 1 | 3 | 2.00× | 2.2× | yes |" in text


OWN = {"errors": {"float64": 1e-16, "float32": 1e-7}, "cold": 2.0, "cached": 1.0, "peak": 300.0}
FOUND = {
    "contenders": {
        "metafunc": OWN | {"seconds": [0.002, 0.001, 0.003], "cpu": [0.001], "busy": [0.003]},
        "task loop": OWN | {"seconds": [0.02, 0.02, 0.02], "cpu": [0.03]},
        "learn2learn": OWN | {"seconds": [0.02, 0.02, 0.04], "cpu": [0.03]},
        "higher": {"reason": "not installed: higher"},
    },
    "flops": 1e9,
    "matmul": [1e12],
}


def test_the_tables_hold_ratios_targets_and_reasons(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    report.store(path, "W1", FOUND)
    report.store(path, "memory", {"long": {"task loop": {"peak": 500.0, "base": 300.0, "seconds": 1.0}}})
    whole = [{"steps": 5000, "off": 15.1, "cold": 14.5, "warm": 9.0}]
    report.store(path, "starts", {"first": [4.0, 2.0, 3.0], "whole": whole})
    text = report.tables(report.read(path))
    assert "floor 1 ms" in text
    assert "| task loop | **20** (20-20) | 30 | 10.00 | 20.0 |" in text
    assert "not installed: higher" in text
    assert "| W1 | metafunc | learn2learn | 30× | 10.00× | **no** |" in text
    assert "| W1 | metafunc | 2 | 3 | 1.50× |" in text
    assert "| long | task loop | 200 | 500 |" in text
    assert "4.0 s after its start" in text
    assert "| 5,000 | 15.1 s | 14.5 s | 9.0 s |" in text
    figure.draw(report.read(path), tmp_path / "speed.png")
    assert (tmp_path / "speed.png").stat().st_size > 1000


def test_only_those_who_can_take_part() -> None:
    assert "higher" not in who(WORKLOADS["W4"])
    assert "metafunc from_module" in who(WORKLOADS["W3"])
    assert "metafunc from_module" not in who(WORKLOADS["W1"])
    assert "GPyTorch" in who(WORKLOADS["W6"])
    assert "GPyTorch" not in who(WORKLOADS["W5"])
    assert "higher" not in who(WORKLOADS["W5"])
    assert "JAX" not in who(WORKLOADS["W7"])
