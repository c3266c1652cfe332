r"""Average ranks of several learners over several task families, and how far apart they have to be to tell them apart.

On each of N families the k learners are ranked, 1 for the best; ties share their mean rank. Friedman's test asks
whether ranks that were drawn at random would differ as much, and Nemenyi's test after it calls two learners different
if their average ranks are farther apart than

$$\mathrm{CD} = \frac{q_\alpha}{\sqrt 2} \sqrt{\frac{k (k + 1)}{6 N}},$$

with $q_\alpha$ the quantile of the studentized range of k groups with infinitely many degrees of freedom. What varies
is the family alone: each contributes one number for each learner, its mean over seeds and tasks.

References:
    Demšar (2006), "Statistical Comparisons of Classifiers over Multiple Data Sets", section 3.2.2.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from metafunc.evaluation.metrics.table import higher_is_better

LEVEL = 0.05
LEAST = 2
"""So many families a difference of ranks needs."""
LEAST_FRIEDMAN = 3
"""So many learners Friedman's test takes."""


class Ranks(NamedTuple):
    """How learners rank over families.

    Args:
        each: by family and learner, its rank there; 1 is the best.
        average: by learner, from the best to the worst.
        friedman: Friedman's statistic, chi-squared; None for fewer than three learners or two families, or where all
            ranks are tied.
        p_value: how probable as large a one is by chance.
        critical_difference: by which average ranks differ beyond doubt, by Nemenyi's test at 5 %; None as above.
    """

    each: Mapping[str, Mapping[str, float]]
    average: Mapping[str, float]
    friedman: float | None
    p_value: float | None
    critical_difference: float | None


def ranks(scores: Mapping[str, Mapping[str, float]], metrics: Mapping[str, str]) -> Ranks:
    """Rank learners over families.

    Args:
        scores: by family and learner, its mean; the learners of all families are the same. What is not finite is worst.
        metrics: by family, the metric that the scores are of.

    Raises:
        ValueError: there is no family or no learner, or a family lacks a learner.

    Examples:
        >>> scores = {"a": {"maml": 0.3, "dkt": 0.1, "cnp": 0.2}, "b": {"maml": 0.3, "dkt": 0.2, "cnp": 0.2}}
        >>> found = ranks(scores, {"a": "nll", "b": "nll"})
        >>> found.average
        {'dkt': 1.25, 'cnp': 1.75, 'maml': 3.0}
        >>> round(found.critical_difference, 2)
        2.34
    """
    from scipy import stats

    families = list(scores)
    learners = list(scores[families[0]]) if families else []
    if not learners:
        raise ValueError("Ranks need at least one task family and one learner.")
    each: dict[str, dict[str, float]] = {}
    for family in families:
        if {*scores[family]} != {*learners}:
            raise ValueError(f"{family} has {', '.join(scores[family])}, and {families[0]} {', '.join(learners)}.")
        sign = -1.0 if higher_is_better(metrics[family]) else 1.0
        values = [scores[family][learner] for learner in learners]
        losses = [sign * value if math.isfinite(value) else math.inf for value in values]
        each[family] = dict(zip(learners, map(float, stats.rankdata(losses)), strict=True))
    means = {learner: sum(each[family][learner] for family in families) / len(families) for learner in learners}
    average = dict(sorted(means.items(), key=lambda pair: pair[1]))
    difference = critical_difference(len(learners), len(families))
    columns = [[each[family][learner] for family in families] for learner in learners]
    tied = all(column == columns[0] for column in columns)
    if len(learners) < LEAST_FRIEDMAN or len(families) < LEAST or tied:
        return Ranks(each, average, None, None, difference)
    found = stats.friedmanchisquare(*columns)
    return Ranks(each, average, float(found.statistic), float(found.pvalue), difference)


def critical_difference(num_learners: int, num_families: int) -> float | None:
    """By how much average ranks have to differ; None for fewer than two learners or two families.

    Examples:
        >>> round(critical_difference(4, 14), 2)  # the example of Demšar (2006)
        1.25
    """
    from scipy.stats import studentized_range

    if num_learners < LEAST or num_families < LEAST:
        return None
    quantile = float(studentized_range.ppf(1 - LEVEL, num_learners, math.inf))
    return quantile / math.sqrt(2) * math.sqrt(num_learners * (num_learners + 1) / (6 * num_families))


def alike(average: Mapping[str, float], difference: float) -> list[Sequence[str]]:
    """The largest groups of neighbouring learners that are no farther apart than a critical difference.

    Args:
        average: average ranks, from the best to the worst.
        difference: the critical one.

    Examples:
        >>> alike({"a": 1.0, "b": 1.5, "c": 2.5, "d": 4.0}, 1.2)
        [['a', 'b'], ['b', 'c']]
    """
    names = list(average)
    found: list[Sequence[str]] = []
    end = 0
    for first, name in enumerate(names):
        last = max(i for i in range(first, len(names)) if average[names[i]] - average[name] <= difference)
        if last > first and last + 1 > end:
            found.append(names[first : last + 1])
            end = last + 1
    return found
