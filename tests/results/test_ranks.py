"""Average ranks and their tests, against the formulas of Demšar (2006) and his tables."""

import math

import numpy as np
import pytest

from metafunc.results.ranks import alike, critical_difference, ranks

# Demšar (2006), table 5 (a): the critical values of the two-tailed Nemenyi test at .05.
CRITICAL = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
NAMES = ("a", "b", "c", "d")


def scores(seed: int, families: int) -> dict[str, dict[str, float]]:
    drawn = np.random.default_rng(seed).normal(size=(families, len(NAMES)))
    return {str(i): dict(zip(NAMES, map(float, row), strict=True)) for i, row in enumerate(drawn)}


@pytest.mark.parametrize("learners", CRITICAL)
def test_the_critical_difference_is_the_tables(learners: int) -> None:
    expected = CRITICAL[learners] * math.sqrt(learners * (learners + 1) / (6 * 11))
    assert critical_difference(learners, 11) == pytest.approx(expected, abs=1e-3 * expected)


def test_too_few_have_no_critical_difference() -> None:
    assert critical_difference(1, 5) is None
    assert critical_difference(5, 1) is None


@pytest.mark.parametrize("seed", range(4))
def test_ranks_and_friedman_are_those_of_the_formula(seed: int) -> None:
    given = scores(seed, 9)
    found = ranks(given, dict.fromkeys(given, "nll"))
    table = np.array([[row[name] for name in NAMES] for row in given.values()])
    each = np.array([[1 + sum(other < value for other in row) for value in row] for row in table])  # by counting
    assert {name: found.average[name] for name in NAMES} == pytest.approx(dict(zip(NAMES, each.mean(0), strict=True)))
    assert [*found.average.values()] == sorted(found.average.values())
    number, k = table.shape
    statistic = 12 * number / (k * (k + 1)) * ((each.mean(0) ** 2).sum() - k * (k + 1) ** 2 / 4)
    assert found.friedman == pytest.approx(statistic)
    wrong = ranks(given, dict.fromkeys(given, "accuracy"))  # the other way round
    assert wrong.average["a"] == pytest.approx(k + 1 - found.average["a"])
    assert wrong.average != found.average


def test_ties_share_their_rank_and_what_is_not_finite_is_worst() -> None:
    found = ranks({"f": {"a": 0.2, "b": 0.2, "c": math.nan, "d": 0.1}}, {"f": "nll"})
    assert found.each["f"] == {"a": 2.5, "b": 2.5, "c": 4.0, "d": 1.0}
    assert found.friedman is None
    upwards = ranks({"f": {"a": 0.2, "b": 0.3, "c": math.nan}}, {"f": "accuracy"})
    assert upwards.each["f"] == {"a": 2.0, "b": 1.0, "c": 3.0}


def test_equal_learners_have_no_statistic() -> None:
    same = dict.fromkeys(NAMES, 0.5)
    found = ranks({"f": same, "g": same}, {"f": "nll", "g": "nll"})
    assert (found.friedman, found.p_value) == (None, None)
    assert set(found.average.values()) == {2.5}


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ranks({}, {})
    with pytest.raises(ValueError, match="g has a"):
        ranks({"f": {"a": 1.0, "b": 2.0}, "g": {"a": 1.0}}, {"f": "nll", "g": "nll"})


@pytest.mark.parametrize("difference", [0.0, 0.3, 1.0, 5.0])
def test_groups_are_the_largest_of_neighbours_that_are_near(difference: float) -> None:
    average = {"a": 1.0, "b": 1.3, "c": 1.6, "d": 2.9, "e": 3.0}
    names = list(average)
    near = {
        tuple(names[i : j + 1])
        for i in range(len(names))
        for j in range(i + 1, len(names))
        if average[names[j]] - average[names[i]] <= difference
    }
    largest = {one for one in near if not any(set(one) < set(other) for other in near)}
    assert {tuple(group) for group in alike(average, difference)} == largest
