"""Prints the results of a meta-test on a terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from metafunc.checks import counted
from metafunc_cli.display.blocks import NARROW, Column, blocks, fits

Row = Mapping[str, Any]
FITTED = ("prior_precision", "noise_scale", "temperature")
"""The scalars that a meta-test may have fitted."""
RESULT = "▸"
"""Stands before the row of as many steps as in training."""
LARGE = 1e6
"""What has grown beyond is on its way to infinity."""


def show(console: Console, report: Mapping[str, Any], own: int | None = None) -> None:
    """Print a meta-test: one row per number of adaptation steps.

    Args:
        console: where.
        report: what `--json` prints.
        own: the steps that the learner takes in training, whose row is the result; None: not known.
    """
    test = report["meta_test"]
    every: Sequence[Row] = test["by_step"]
    own = own if own is not None and own < len(every) else None
    rows = every[: _folded_from(every, own)]
    metrics = _metrics(rows)
    console.print(_title(report))
    heads = [f"{RESULT if row['step'] == own else ''} {row['step']}" for row in rows]
    width = max(map(len, heads))
    first = Column(f"{'steps':>{width}}", [head.rjust(max(width, len("steps"))) for head in heads])
    styles = ["bold" if row["step"] == own else "" for row in rows]
    columns, robust = _columns(rows, metrics), _robust(rows, metrics[0], test["num_tasks"])
    while robust and not fits(console, first, [*columns, *robust]):  # meta_test.json has them
        robust.pop()
    for table in blocks(console, first, [*columns, *robust], styles):
        console.print(table)
    if len(rows) < len(every):
        console.print(f"{_folded(every[len(rows) :], test['num_tasks'])}\n", style="yellow")
    console.print(f"{_legend(test, rows, metrics, own)}\n", style="dim")
    if by_shots := report.get("by_shots"):
        _show_shots(console, by_shots, metrics)
    if entry := test.get("autoregressive"):
        console.print(f"query rows one after the other: joint_nll {_interval(entry['joint_nll'], 'joint_nll')}\n")
    _show_fitted(console, every, own)
    if covered := report.get("conformal"):
        console.print(f"{_covered(covered, 'mse' in every[0])}\n")
    if probe := test.get("memorisation_probe"):
        _show_probe(console, probe)


def _metrics(rows: Sequence[Row]) -> list[str]:
    """What the columns are: metrics of a task with their interval, and numbers of all tasks, in the order of the table
    of metrics; the joint NLL only where it is another than that of the rows."""
    from metafunc.evaluation.metrics.table import METRICS  # with torch, which help does not wait for

    known = [name for name in METRICS if name in rows[0]]
    others = [name for name, value in rows[0].items() if isinstance(value, Mapping) and name not in METRICS]
    same = all(_same(row.get("joint_nll"), row.get("nll")) for row in rows)
    return [name for name in (*known, *others) if not (name == "joint_nll" and same)]


def _same(one: Any, other: Any) -> bool:
    """Whether two metrics are the same but for rounding."""
    if one == other or not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return bool(one == other)
    pairs = [(one[key], other[key]) for key in ("mean", "ci95")]
    return all(None not in pair and math.isclose(*pair, rel_tol=1e-5) for pair in pairs)


def _columns(rows: Sequence[Row], metrics: Sequence[str]) -> list[Column]:
    columns = [Column(_head(metric), [_interval(row[metric], metric) for row in rows]) for metric in metrics]
    if any(row["diverged"] for row in rows):
        cells = [counted(row["diverged"], "tasks") if row["diverged"] else "" for row in rows]
        columns.append(Column("diverged", cells, "yellow"))
    return columns


def _robust(rows: Sequence[Row], main: str, num_tasks: int) -> list[Column]:
    """What a few tasks that went wrong do not decide."""
    named = {f"median {main}": "median", f"{main} without worst{NARROW}1{NARROW}%": "trimmed_mean"}
    named = named if num_tasks >= 100 else {f"median {main}": "median"}  # of fewer tasks none are left out
    return [Column(name, [_number(row[main][key], main) for row in rows]) for name, key in named.items()]


def _head(metric: str) -> str:
    from metafunc.results.tables import arrow

    return f"{metric.replace('_', ' ') if metric == 'calibration_error' else metric} {arrow(metric)}"


def _legend(test: Row, rows: Sequence[Row], metrics: Sequence[str], own: int | None) -> str:
    from metafunc.results.rounded import undecided

    result = "" if own is None else f"{RESULT} the result, after {counted(own, 'steps')} as in training. "
    joint = " joint_nll: as nll, row by row." if "joint_nll" in rows[0] and "joint_nll" not in metrics else ""
    wide = undecided(rows, test)
    return f"{result}±: 95 % interval.{joint}{' ' * bool(wide)}{wide}"


def _folded_from(rows: Sequence[Row], own: int | None) -> int:
    """The first of the rows beyond the result's that diverge; all that follow are said in one line."""
    wild = (row["step"] for row in rows if own is not None and row["step"] > own and _diverges(row))
    return next(wild, len(rows))


def _diverges(row: Row) -> bool:
    first = next(value for value in row.values() if isinstance(value, Mapping))
    return bool(row["diverged"]) or first["mean"] is None or abs(first["mean"]) >= LARGE


def _folded(rows: Sequence[Row], num_tasks: int) -> str:
    steps = f"{rows[0]['step']} to {rows[-1]['step']} steps" if len(rows) > 1 else counted(rows[0]["step"], "steps")
    most = max(row["diverged"] for row in rows)
    counts = (
        f": {most} of {counted(num_tasks, 'tasks')} without a finite error" if most else ": errors beyond a million"
    )
    return f"after {steps}, more than in training, it diverges{counts}."


def _show_shots(console: Console, rows: Sequence[Row], metrics: Sequence[str]) -> None:
    """One row per number of support rows."""
    first = Column("shots", [str(row["shots"]) for row in rows])
    columns = [Column(_head(metric), [_interval(row[metric], metric) for row in rows]) for metric in metrics]
    for table in blocks(console, first, [Column("steps", [str(row["step"]) for row in rows]), *columns]):
        console.print(table)


def _show_fitted(console: Console, rows: Sequence[Row], own: int | None) -> None:
    """What validation tasks decided, and which of them did not count."""
    if left_out := [(row["noise_tasks_left_out"], row["step"]) for row in rows if row.get("noise_tasks_left_out")]:
        each = ", ".join(f"{count} after {counted(step, 'steps')}" for count, step in left_out)
        console.print(f"The noise scale leaves out validation tasks that diverged: {each}.\n", style="yellow")
    chosen = rows[-1 if own is None else own]
    if scalars := [name for name in FITTED if name in chosen]:
        fitted = ", ".join(f"{name.replace('_', ' ')} {tidy(chosen[name])}" for name in scalars)
        fitted += " in units of each task's own" * bool(chosen.get("noise_in_task_units"))
        console.print(f"fitted on validation tasks, after {counted(chosen['step'], 'steps')}: {fitted}\n")


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


def _show_probe(console: Console, probe: Mapping[str, Any]) -> None:
    """What a learner makes of its own support set, of none and of another task's, and what follows from it."""
    from metafunc.results.tables import uses_support

    metric = probe["metric"]
    verdict = uses_support(probe)
    gain = probe.get("gain")
    by = "" if gain is None else f" (it is worth {_interval(gain, metric)} against another task's)"
    console.print(Text.assemble("uses its support set: ", (verdict, "bold"), (by if verdict != "no" else "", "dim")))
    named = {"own": "its own support set", "empty": "no support set", "shuffled": "another task's"}
    lines = [(f"{metric} after adapting to {what}", _interval(probe[name], metric)) for name, what in named.items()]
    if "chance" in probe:
        chance = _number(probe["chance"], metric)
        lines.append((f"{metric} before adaptation", f"{_interval(probe, metric)} (chance {chance})"))
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        console.print(f"  {name:{width}}  {text}")
    console.print()


def _covered(found: Mapping[str, Any], regression: bool) -> str:
    """What conformal intervals or sets are worth."""
    coverage, size = found["coverage"], found["size"]
    width = f"intervals {tidy(size['mean'])} wide" if regression else f"sets of {tidy(size['mean'])} classes"
    half = f" ± {100 * coverage['ci95']:.1f} %" if coverage["ci95"] is not None else ""
    share = f"{100 * coverage['mean']:.1f} %{half}"
    return (
        f"conformal at {100 * found['level']:g} %: {width} cover {share} of the rows of new "
        f"tasks (threshold from {counted(found['num_validation_tasks'], 'validation tasks')}, after "
        f"{counted(found['steps'], 'steps')})"
    )


def _interval(entry: Mapping[str, Any] | float | None, metric: str) -> str:
    """A mean with its interval, or the number of all tasks together, which has none."""
    if not isinstance(entry, Mapping):
        return _number(entry, metric)
    from metafunc.results.rounded import UNDECIDED, says_nothing

    mean, half = entry["mean"], entry["ci95"]
    if says_nothing(half, metric):
        return f"{_number(mean, metric)} {UNDECIDED}"
    return _number(mean, metric) + (f" ± {_number(half, metric)}" if half is not None else "")


def _number(value: float | None, metric: str) -> str:
    from metafunc.evaluation.metrics.table import METRICS  # with torch, which help does not wait for

    return f"{100 * value:.1f} %" if value is not None and METRICS[metric].percent else tidy(value)
