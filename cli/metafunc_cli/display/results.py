"""Prints the results of a meta-test on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]
FITTED = ("prior_precision", "noise_scale", "temperature")
"""The scalars that a meta-test may have fitted."""


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
    if by_shots := report.get("by_shots"):
        console.print(_by_shots(by_shots, metrics))
    if entry := test.get("autoregressive"):
        console.print(f"query rows one after the other: joint_nll {_interval(entry['joint_nll'], 'joint_nll')}\n")
    if left_out := [(row["noise_tasks_left_out"], row["step"]) for row in rows if row.get("noise_tasks_left_out")]:
        each = ", ".join(f"{count} after {step} steps" for count, step in left_out)
        console.print(f"The noise scale leaves out validation tasks that diverged: {each}.\n", style="yellow")
    if scalars := [name for name in FITTED if name in rows[-1]]:
        fitted = ", ".join(f"{name.replace('_', ' ')} {tidy(rows[-1][name])}" for name in scalars)
        console.print(f"fitted on validation tasks, for the last row: {fitted}\n")
    if covered := report.get("conformal"):
        console.print(f"{_covered(covered, 'mse' in metrics)}\n")
    if probe := test.get("memorisation_probe"):
        console.print(f"{_probe(probe)}\n")


def _by_shots(rows: Sequence[Row], metrics: Sequence[str]) -> Table:
    """One row per number of support rows."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("shots", "steps", *(f"{metric} ± 95 %" for metric in metrics)):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(str(row["shots"]), str(row["step"]), *(_interval(row[metric], metric) for metric in metrics))
    return table


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
    from metafunc.results.tables import tested_on  # with torch, which help does not wait for

    test = report["meta_test"]
    what = f"{report['algorithm']} on {report['tasks']}"
    split = "" if test["split"] in ("test", "train") else f" of {test['split']}"
    protocol = "" if report["normalisation"] == "none" else f", {report['normalisation']} normalisation"
    return Text.assemble((what, "bold"), (f"  {tested_on(test)}{split}{protocol}", "dim"))


def _probe(probe: Mapping[str, Any]) -> str:
    """What a learner knows before adaptation, and after adaptation on no support set or another task's."""
    metric = probe["metric"]
    chance = f" (chance {_number(probe['chance'], metric)})" if "chance" in probe else ""
    named = {"own": "its own support set", "empty": "none", "shuffled": "another task's"}
    after = ", ".join(f"{what} {_interval(probe[name], metric)}" for name, what in named.items())
    return f"{metric} before adaptation {_interval(probe, metric)}{chance}; adapted on {after}"


def _covered(found: Mapping[str, Any], regression: bool) -> str:
    """What conformal intervals or sets are worth."""
    coverage, size = found["coverage"], found["size"]
    width = f"intervals {tidy(size['mean'])} wide" if regression else f"sets of {tidy(size['mean'])} classes"
    half = f" ± {100 * coverage['ci95']:.1f} %" if coverage["ci95"] is not None else ""
    share = f"{100 * coverage['mean']:.1f} %{half}"
    return (
        f"conformal at {100 * found['level']:g} %: {width} cover {share} of the rows of new "
        f"tasks (threshold from {found['num_validation_tasks']} validation tasks, after {found['steps']} steps)"
    )


def _interval(entry: Mapping[str, Any], metric: str) -> str:
    mean, half = entry["mean"], entry["ci95"]
    return _number(mean, metric) + (f" ± {_number(half, metric)}" if half is not None else "")


def _number(value: float | None, metric: str) -> str:
    from metafunc.evaluation.metrics.table import METRICS  # with torch, which help does not wait for

    return f"{100 * value:.1f} %" if value is not None and METRICS[metric].percent else tidy(value)
