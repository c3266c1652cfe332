"""The row `exact`: the optimum of the prior that is asked for, no parameters, and one line where there is none."""

import pytest
import torch

from metafunc import algorithms, data, nn, tree
from metafunc.data.table import FAMILIES


def test_it_has_no_parameters():
    meta = algorithms.exact(data.circles().optima).init(torch.Generator())
    assert tree.size(meta) == 0


def test_the_hint_is_trusted_where_it_is_true():
    family = data.nme_sinusoid(num_test_queries=10)
    trusting, wary = (algorithms.exact(family.optima, prior=prior) for prior in ("train", "test"))
    for split, first, second in (("train", trusting, wary), ("test", wary, trusting)):
        sampler = {"train": family.train, "test": family.test}[split]
        tasks = sampler(data.generator_for(0, split, 0), 200)
        right, wrong = (
            torch.vmap(each.task_loss, in_dims=(None, 0))(each.init(torch.Generator()), tasks)
            for each in (first, second)
        )
        difference = wrong - right
        assert difference.mean() > 2 * difference.std() / len(difference) ** 0.5


def test_what_cannot_be_had_is_one_clear_line():
    with pytest.raises(ValueError, match="best prediction is known, and of these it is not: take") as refused:
        algorithms.build("exact", nn.mlp, (1,), "regression", 1, optima=data.sinusoid().optima)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="prior must be one of 'train', 'validation', 'test', not 'cosine'"):
        algorithms.exact(data.circles().optima, prior="cosine")
    with pytest.raises(ValueError, match="not known, but of train and validation tasks it is: give prior='train'"):
        algorithms.exact(data.nme_sinusoid(test_draws="notebook").optima)
    with pytest.raises(ValueError, match="exact is for regression and classification, not for control"):
        algorithms.build("exact", nn.mlp, (1,), "control", 1)


def test_optima_are_of_splits_that_there_are():
    synthetic = ("sinusoid", "sine_or_line", "few_task_sinusoid", "nme_sinusoid", "gp", "circles", "trend", "cauchy")
    for name in synthetic:
        family = FAMILIES[name].builder(**({"noise": 0.1} if name == "sinusoid" else {}))
        assert {*family.optima} <= {"train", "validation", "test", *family.variants}
        assert {"validation", "test"} <= {*family.optima}
