"""Prints the results of a meta-test on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]


def show(console: Console, report: Mapping[str, Any]) -> None:
    """Print a meta-test: one row per number of adaptation steps.

    Args:
        console: where.
        report: what `--json` prints.
    """
    test = report["meta_test"]
    rows: Sequence[Row] = test["by_step"]
    metrics = [name for name, value in rows[0].items() if isinstance(value, Mapping)]
    main = metrics[0]
    console.print(_title(report))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("steps", justify="right")
    for metric in metrics:
        table.add_column(f"{metric} ± 95 %", justify="right", style="bold" if metric == main else "")
        if metric == main:
            table.add_column("median", justify="right")
            table.add_column("without worst 1 %", justify="right")
    diverged = any(row["diverged"] for row in rows)
    if diverged:
        table.add_column("diverged", justify="right", style="yellow")
    for row in rows:
        cells = [str(row["step"])]
        for metric in metrics:
            cells.append(_interval(row[metric], metric))
            if metric == main:
                cells += [_number(row[metric]["median"], metric), _number(row[metric]["trimmed_mean"], metric)]
        table.add_row(*cells, *([f"{row['diverged']} tasks" if row["diverged"] else ""] if diverged else []))
    console.print(table)
    if left_out := [(row["noise_tasks_left_out"], row["step"]) for row in rows if row.get("noise_tasks_left_out")]:
        each = ", ".join(f"{count} after {step} steps" for count, step in left_out)
        console.print(f"The noise scale leaves out validation tasks that diverged: {each}.\n", style="yellow")
    if probe := test.get("memorisation_probe"):
        console.print(f"{_probe(probe)}\n")


def show_lines(console: Console, lines: Sequence[tuple[str, str]]) -> None:
    """Print lines with a word in front that names what they are; commands to try stand out."""
    width = max((len(name) for name, _ in lines), default=0) + 1
    for name, text in lines:
        style = "cyan" if name == "next" else ""
        console.print(Text.assemble((f"{name:{max(width, 6)}}", "dim"), (text, style)), soft_wrap=True)


def tidy(value: float | None) -> str:
    """Three significant digits; what is not finite became null in JSON."""
    if value is None:
        return "inf"
    return f"{value:.2e}" if abs(value) >= 1e5 else f"{value:.3g}" if abs(value) >= 100 else f"{value:.3f}"


def _title(report: Mapping[str, Any]) -> Text:
    test = report["meta_test"]
    what = f"{report['algorithm']} on {report['tasks']}"
    split = "" if test["split"] == "test" else f" of {test['split']}"
    protocol = "" if report["normalisation"] == "none" else f", {report['normalisation']} normalisation"
    return Text.assemble((what, "bold"), (f"  {test['num_tasks']} new tasks{split}{protocol}", "dim"))


def _probe(probe: Mapping[str, Any]) -> str:
    """What a learner knows before adaptation, and after adaptation on no support set or another task's."""
    metric = probe["metric"]
    chance = f" (chance {_number(probe['chance'], metric)})" if "chance" in probe else ""
    named = {"own": "its own support set", "empty": "none", "shuffled": "another task's"}
    after = ", ".join(f"{what} {_interval(probe[name], metric)}" for name, what in named.items())
    return f"{metric} before adaptation {_interval(probe, metric)}{chance}; adapted on {after}"


def _interval(entry: Mapping[str, Any], metric: str) -> str:
    mean, half = entry["mean"], entry["ci95"]
    return _number(mean, metric) + (f" ± {_number(half, metric)}" if half is not None else "")


def _number(value: float | None, metric: str) -> str:
    from metafunc.evaluation.metrics.table import METRICS  # with torch, which help does not wait for

    return f"{100 * value:.1f} %" if value is not None and METRICS[metric].percent else tidy(value)
