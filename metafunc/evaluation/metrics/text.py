"""A meta-test in print: a short table of its metrics by the number of steps."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from metafunc.checks import counted
from metafunc.evaluation.metrics.table import METRICS

ROWS = 9
"""So many numbers of steps are shown; of more, the first ones and the last."""
COLUMNS = 4
"""So many metrics are shown, in the order of their table."""


def as_text(num_tasks: int, split: str, by_step: Sequence[Mapping[str, Any]]) -> str:
    """The table as text of at most twelve lines.

    Args:
        num_tasks: how many tasks were tested.
        split: where they came from.
        by_step: the rows of `Evaluation.by_step`.

    Examples:
        >>> print(as_text(50, "test", [{"step": k, "mse": {"mean": 4.0 - k, "ci95": 0.5}} for k in range(2)]))
        Evaluation of 50 test tasks (mean ± 95 %)
        steps      MSE
            0  4 ± 0.5
            1  3 ± 0.5
    """
    lines = [*_cells(by_step)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([_title(num_tasks, split), *table])


def as_html(num_tasks: int, split: str, by_step: Sequence[Mapping[str, Any]]) -> str:
    """The same as a table of HTML."""
    head, *rows = (["".join(f"<td>{escape(cell)}</td>" for cell in line)] for line in _cells(by_step))
    body = "".join(f"<tr>{cells}</tr>" for (cells,) in (head, *rows))
    return f"<table><caption>{escape(_title(num_tasks, split))}</caption>{body}</table>"


def _title(num_tasks: int, split: str) -> str:
    return f"Evaluation of {counted(num_tasks, f'{split} tasks')} (mean ± 95 %)"


def _cells(by_step: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    names = [name for name in METRICS if name in by_step[0]][:COLUMNS]
    yield ["steps", *(METRICS[name].label for name in names)]
    shown = by_step if len(by_step) <= ROWS else [*by_step[: ROWS - 1], by_step[-1]]
    for row in shown:
        yield [str(row["step"]), *(_number(row[name]) for name in names)]


def _number(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"{value:.3g}"
    half = value.get("ci95")
    return f"{value['mean']:.3g}" if half is None else f"{value['mean']:.3g} ± {half:.2g}"
