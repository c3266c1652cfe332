"""Classes are divided by shares that add up, and none lies in two parts."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metafunc.data.class_split import PARTS, by_fractions, by_row, shares
from metafunc.data.episodes import classification


@given(count=st.integers(0, 500), cuts=st.tuples(st.integers(0, 100), st.integers(0, 100)))
def test_shares_add_up(count, cuts):
    low, high = sorted(cuts)
    parts = shares(count, (low / 100, (high - low) / 100, (100 - high) / 100))
    assert sum(parts) == count
    assert min(parts) >= 0


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_bad_fractions_are_refused(fractions):
    with pytest.raises(ValueError, match=r"add up to 1"):
        by_fractions([0, 1], fractions, 0)


def test_too_few_classes_are_said_with_the_argument_that_divides_them():
    labels = [number // 4 for number in range(40)]
    parts = ["train"] * 32 + ["validation"] * 4 + ["test"] * 4
    sizes = {"num_ways": 5, "num_shots": 1, "num_queries": 1}
    for partition, said in (
        (by_fractions(labels, (0.8, 0.1, 0.1), 0), "a larger share of the classes in fractions."),
        (by_row(labels, parts, {part: part for part in PARTS}), "a larger share of the classes."),
    ):
        with pytest.raises(ValueError, match="The validation part has 1 class,") as raised:
            classification("own", torch.rand(40, 2), partition, **sizes, info={})
        assert str(raised.value).endswith(said)


@settings(max_examples=100)
@given(
    rows=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(("train", "validation", "test"))), min_size=1)
)
def test_shared_classes_are_refused_and_only_they(rows):
    rows += [("x", "train"), ("y", "validation"), ("z", "test")]
    labels, parts = zip(*rows, strict=True)
    shared = {label for label in labels if len({part for at, part in rows if at == label}) > 1}
    splits = {part: part for part in ("train", "validation", "test")}
    if shared:
        with pytest.raises(ValueError, match="Meta-testing needs classes never trained on") as error:
            by_row(labels, parts, splits)
        assert any(re.search(rf": .*\b{name}\b", str(error.value)) for name in shared)
    else:
        names, _, found, _ = by_row(labels, parts, splits)
        assert {(names[c], part) for part, classes in found.items() for c in classes.tolist()} == set(rows)
