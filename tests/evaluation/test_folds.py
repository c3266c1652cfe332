"""Folds side by side are one meta-test, with intervals over all tasks."""

from dataclasses import replace

import pytest
import torch

import metafunc
from metafunc import algorithms, data, likelihood, nn
from metafunc.evaluation import metrics
from metafunc.evaluation.folds import pool_folds
from metafunc.evaluation.meta_test import Evaluation
from metafunc.evaluation.scoring import Origin

LEARNER = algorithms.alpaca(nn.mlp((1,), 40), likelihood.gaussian())
META = LEARNER.init(data.generator_for(0, "init", 0))


def fold(seed: int, first: int) -> Evaluation:
    """Twelve episodes of three tasks that no other fold has."""
    found = metafunc.evaluate(LEARNER, META, data.sinusoid(num_test_queries=6), num_tasks=12, num_steps=1, seed=seed)
    return replace(found, origin=Origin(first + torch.arange(12)[:, None] % 3))


def test_folds_side_by_side_are_one_meta_test() -> None:
    folds = [fold(0, 0), fold(1, 3)]
    found = pool_folds(folds)
    assert (found.num_tasks, found.to_json()["groups"]["number"]) == (24, 6)
    errors = torch.cat([one.values["mse"][1] for one in folds])
    groups = torch.cat([torch.arange(12) % 3, 3 + torch.arange(12) % 3])[:, None]
    row = found.by_step[1]["mse"]
    assert row["mean"] == pytest.approx(errors.mean().item())
    assert row["ci95"] == pytest.approx(metrics.interval(errors.double(), groups)[1].item())
    # The calibration error is that of all rows, and not the mean of the folds'.
    counts = sum(one.counts["calibration_error"].sum(1) for one in folds)
    assert found.pooled["calibration_error"] == pytest.approx(metrics.calibration_error_of(counts).tolist())
    apart = sum(one.pooled["calibration_error"][1] for one in folds) / 2
    assert found.pooled["calibration_error"][1] != pytest.approx(apart)


def test_folds_that_cannot_be_pooled_are_refused() -> None:
    with pytest.raises(ValueError, match="no folds"):
        pool_folds([])
    one = fold(0, 0)
    with pytest.raises(ValueError, match="One fold was judged by"):
        pool_folds([one, replace(one, values={"mse": one.values["mse"]})])


def test_a_fitted_noise_scale_is_that_of_all_folds() -> None:
    maml = algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian())
    meta = maml.init(data.generator_for(0, "init", 0))
    folds = [metafunc.evaluate(maml, meta, data.sinusoid(), num_tasks=4, num_steps=1, seed=seed) for seed in (0, 1)]
    scales = torch.tensor([one.pooled["noise_scale"] for one in folds], dtype=torch.float64)
    assert pool_folds(folds).pooled["noise_scale"] == pytest.approx(scales.square().mean(0).sqrt().tolist())
    with pytest.raises(ValueError, match="not of one table"):
        pool_folds([folds[0], replace(folds[1], origin=Origin(torch.arange(4)[:, None]))])
