"""The table of metrics: a row states how a number is computed, pooled, read and drawn.

All that reports numbers asks these rows: the scores of a meta-test, validation, tables, figures, comparisons and the
command line. A further metric is one function and one row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from torch import Tensor

from metafunc.evaluation.metrics import calibration, scores
from metafunc.recipe import Printed
from metafunc.types import Kind


class Drawn(NamedTuple):
    """How figures draw a metric.

    Args:
        axis: what its axis is called, with its unit.
        validation: what its panel of the learning curve is called.
        from_zero: whether it is an error, whose axis begins at zero and is logarithmic over a wide range.
    """

    axis: str
    validation: str
    from_zero: bool = False


@dataclass(frozen=True, repr=False)
class Metric(Printed):
    """A row of the table.

    Args:
        of_task: one task's predictions, targets and mask to a number; or, if `pooled`, to what the task adds to the
            counts. For control one task's rewards (..., times) to a number for each trajectory (...).
        kinds: the kinds of tasks that it is a metric of.
        label: what it is called at the head of a column.
        higher_is_better: whether a large value is good.
        percent: whether it is a share in [0, 1], to be shown in percent.
        needs_scale: whether a regression has it only where predictions have a noise scale.
        pooled: from the counts of all tasks, added up, to one number; None: tasks are averaged.
        asked: whether it is measured only where it is asked for; `of_task` then takes the gaps that
            `metafunc.evaluation.coherence` finds.
        drawn: how adaptation and learning curves draw it; None: it is shown in tables only.
        reliability: if `pooled`, from the counts of all tasks to the points of a reliability diagram, the probabilities
            that were predicted and how often what they are of happened; None: it has no such diagram.
        beyond: the metric that it is the excess of, beyond what the best prediction has; found only where that is
            known, and not from one task's predictions alone.
    """

    of_task: Callable[..., Tensor]
    kinds: tuple[Kind, ...]
    label: str
    higher_is_better: bool = False
    percent: bool = False
    needs_scale: bool = False
    asked: bool = False
    pooled: Callable[[Tensor], Tensor] | None = None
    drawn: Drawn | None = None
    reliability: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    beyond: str | None = None


REGRESSION: tuple[Kind, ...] = ("regression",)
CLASSIFICATION: tuple[Kind, ...] = ("classification",)
METRICS: dict[str, Metric] = {
    "mse": Metric(
        scores.mse, REGRESSION, "MSE", drawn=Drawn("Mean squared error", "Validation: squared error", from_zero=True)
    ),
    "accuracy": Metric(
        scores.accuracy,
        CLASSIFICATION,
        "accuracy",
        higher_is_better=True,
        percent=True,
        drawn=Drawn("Accuracy (%)", "Validation: accuracy (%)"),
    ),
    "nll": Metric(
        scores.nll,
        (*REGRESSION, *CLASSIFICATION),
        "NLL (nats)",
        needs_scale=True,
        drawn=Drawn("Negative log-likelihood (nats per row)", "Validation: NLL (nats per row)"),
    ),
    "gap": Metric(scores.nll, (*REGRESSION, *CLASSIFICATION), "gap (nats)", needs_scale=True, beyond="nll"),
    "joint_nll": Metric(scores.joint_nll, (*REGRESSION, *CLASSIFICATION), "joint NLL (nats)", needs_scale=True),
    "crps": Metric(scores.crps, REGRESSION, "CRPS", needs_scale=True),
    "brier": Metric(scores.brier, CLASSIFICATION, "Brier"),
    "calibration_error": Metric(
        calibration.rows_below,
        REGRESSION,
        "calibration error",
        needs_scale=True,
        pooled=calibration.calibration_error_of,
        reliability=calibration.quantile_points,
    ),
    "ece": Metric(
        calibration.confidence_bins,
        CLASSIFICATION,
        "ECE",
        pooled=calibration.ece_of,
        reliability=calibration.confidence_points,
    ),
    "chain_gap": Metric(attrgetter("chain"), (*REGRESSION, *CLASSIFICATION), "chain-rule gap (nats)", asked=True),
    "martingale_gap": Metric(
        attrgetter("martingale"), (*REGRESSION, *CLASSIFICATION), "martingale gap (nats)", asked=True
    ),
    "return": Metric(
        scores.episode_return,
        ("control",),
        "return",
        higher_is_better=True,
        drawn=Drawn("Return of an episode", "Validation: return"),
    ),
}
"""By name, in the order of tables and figures. The first row of a kind is the one that validation follows."""


def of_kind(kind: Kind) -> dict[str, Metric]:
    """The metrics of a kind of tasks that its predictions and targets decide, in order, but for those that are measured
    only where they are asked for."""
    every = {name: row for name, row in METRICS.items() if kind in row.kinds}
    return {name: row for name, row in every.items() if row.beyond is None and not row.asked}


def followed(kind: Kind) -> str:
    """The name of the metric that validation follows.

    Examples:
        >>> followed("classification")
        'accuracy'
    """
    return next(iter(of_kind(kind)))


def higher_is_better(name: str) -> bool:
    """Whether a large value of a metric is good."""
    return METRICS[name].higher_is_better


def label(name: str) -> str:
    """What a metric is called at the head of a column."""
    return METRICS[name].label
