"""A comparison as text: CSV for programs, Markdown for pages, and the pieces that a terminal shows."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metafunc.checks import counted
from metafunc.data.safe_text import csv_cell, csv_quoting, markdown_cell
from metafunc.data.sampling import TRAINED
from metafunc.evaluation.metrics.table import higher_is_better, label
from metafunc.results.finding import finding
from metafunc.results.rounded import spoken as spoken
from metafunc.results.rounded import undecided

if TYPE_CHECKING:
    from pandas import DataFrame


BOLD = "Bold: the best, where the interval of its difference to each other row excludes zero."


def metrics_of(row: Mapping[str, Any]) -> list[str]:
    """The metrics of a row of a report."""
    return [name for name, value in row.items() if isinstance(value, Mapping) and "mean" in value]


def arrow(metric: str) -> str:
    """Which way a metric is good.

    Examples:
        >>> arrow("accuracy"), arrow("nll")
        ('↑', '↓')
    """
    return "↑" if higher_is_better(metric) else "↓"


def head(metric: str) -> str:
    """What stands above a column of a metric: its name, with its unit, and which way is good."""
    return f"{label(metric)} {arrow(metric)}"


def uses_support(probe: Mapping[str, Any]) -> str:
    """Whether a learner needs the support set of its task, by the probe of memorisation: "yes", "no" or "not shown".

    It does where it predicts better than after adapting to another task's support set, beyond the 95 % interval of the
    difference, task by task.

    Args:
        probe: what a meta-test recorded as `memorisation_probe`.

    Examples:
        >>> uses_support({"gain": {"mean": 0.5, "ci95": 0.1}}), uses_support({"gain": {"mean": 0.05, "ci95": 0.1}})
        ('yes', 'not shown')
    """
    gain = probe.get("gain") or {"mean": None, "ci95": None}
    if gain["mean"] is None or gain["ci95"] is None:
        return "not shown"
    return "yes" if gain["mean"] > gain["ci95"] else "no" if gain["mean"] < -gain["ci95"] else "not shown"


def to_csv(report: Mapping[str, Any]) -> str:
    """The table as comma-separated values: an interval is half its width, a difference is to the first row. Of a table
    `rmse[TARGET]` is the root mean squared error of a target in its unit, with the ends of its interval."""
    names = metrics_of(report["rows"][0])
    columns = [f"{m}{suffix}" for m in names for suffix in ("", "_ci95", "_diff", "_diff_ci95")]
    targets = [*report["rows"][0].get("rmse_in_units", ())]
    columns += [csv_cell(f"rmse[{target}]") + suffix for target in targets for suffix in ("", "_low", "_high")]
    text = io.StringIO()
    quoting = csv_quoting(row["algorithm"] for row in report["rows"])
    writer = csv.writer(text, lineterminator="\n", quoting=quoting)
    writer.writerow(["algorithm", "seeds", "steps", "interval", *columns, "seconds", "parameters"])
    for row in report["rows"]:
        cells = [
            cell
            for m in names
            for paired in (row["paired"].get(m, {"diff": None, "ci95": None}),)
            for cell in (row[m]["mean"], row[m]["ci95"], paired["diff"], paired["ci95"])
        ]
        cells += [row["rmse_in_units"][target][name] for target in targets for name in ("rmse", "low", "high")]
        seeds = " ".join(map(str, row["seeds"]))
        writer.writerow(
            [
                csv_cell(row["algorithm"]),
                seeds,
                row["steps"],
                row["interval"],
                *cells,
                row["seconds"],
                row["parameters"],
            ]
        )
    return text.getvalue()


def to_markdown(report: Mapping[str, Any]) -> str:
    """The table as Markdown: one column per metric with the difference to the first row below, the best in bold."""
    names = metrics_of(report["rows"][0])
    header = ["", *map(head, names), "seconds", "parameters"]
    lines = [header, ["---"] * len(header)]
    for row in report["rows"]:
        cells = []
        for m in names:
            mean = spoken(row[m]["mean"], row[m]["ci95"], m)
            mean = f"**{mean}**" if m in row["best"] else mean
            paired = row["paired"].get(m)
            cells.append(mean + (f"<br>Δ {spoken(paired['diff'], paired['ci95'], m, signed=True)}" if paired else ""))
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
        lines.append([markdown_cell(row["algorithm"]), *cells, seconds, f"{row['parameters']:,}"])
    return "\n".join(
        ["| " + " | ".join(line) + " |" for line in lines]
        + ["", finding(report, markdown_cell), "", explained(report, markdown_cell), ""]
    )


def by_number(reports: Sequence[Mapping[str, Any]], number: str, of: str) -> str:
    """Comparisons that differ in a number as Markdown: for each metric a row per learner and a column per number.

    Args:
        reports: the comparisons, of the same learners.
        number: its key in each of them.
        of: what it is a number of.
    """
    lines = [["", of, *(f"{each[number]:,}" for each in reports)], ["---"] * (2 + len(reports))]
    for metric in metrics_of(reports[0]["rows"][0]):
        for rows in zip(*(each["rows"] for each in reports), strict=True):
            said = [spoken(row[metric]["mean"], row[metric]["ci95"], metric) for row in rows]
            marked = [f"**{cell}**" if metric in row["best"] else cell for cell, row in zip(said, rows, strict=True)]
            lines.append([markdown_cell(rows[0]["algorithm"]), head(metric), *marked])
    table = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([*table, "", varied(reports), ""])


def varied(reports: Sequence[Mapping[str, Any]]) -> str:
    """What the intervals of comparisons that differ in a number are, in a sentence."""
    wide = dict.fromkeys(undecided(each["rows"], each) for each in reports)
    return " ".join([intervals(reports[0]), BOLD, *filter(None, wide)])


def numbers_to_csv(reports: Sequence[Mapping[str, Any]], number: str) -> str:
    """Comparisons that differ in a number as comma-separated values: a line per metric, learner and number.

    Args:
        reports: the comparisons.
        number: its key in each of them, and the name of its column.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv_quoting(r["algorithm"] for r in reports[0]["rows"]))
    writer.writerow(["metric", "algorithm", number, "mean", "ci95", "low", "high"])
    for metric in metrics_of(reports[0]["rows"][0]):
        for each in reports:
            for row in each["rows"]:
                found = [row[metric][name] for name in ("mean", "ci95", "low", "high")]
                writer.writerow([metric, csv_cell(row["algorithm"]), each[number], *found])
    return text.getvalue()


def to_frame(report: Mapping[str, Any]) -> "DataFrame":
    """The table as a data frame: one row per learner, and the columns of the CSV file.

    Returns:
        By algorithm: "seeds" (how many), "steps", "interval"; for each metric METRIC, METRIC_ci95 (half the width of
        the 95 % interval), METRIC_diff and METRIC_diff_ci95, to the first row; "seconds" and "parameters". What was not
        finite, and the first row's differences, are NaN.
    """
    import pandas

    names = metrics_of(report["rows"][0])
    rows = []
    for row in report["rows"]:
        found = {"algorithm": row["algorithm"], "seeds": len(row["seeds"]), "steps": row["steps"]}
        found["interval"] = row["interval"]
        for m in names:
            paired = row["paired"].get(m, {"diff": None, "ci95": None})
            numbers = (row[m]["mean"], row[m]["ci95"], paired["diff"], paired["ci95"])
            for suffix, number in zip(("", "_ci95", "_diff", "_diff_ci95"), numbers, strict=True):
                found[m + suffix] = math.nan if number is None else number
        seconds = math.nan if row["seconds"] is None else row["seconds"]
        rows.append(found | {"seconds": seconds, "parameters": row["parameters"]})
    return pandas.DataFrame(rows).set_index("algorithm")


def to_latex(report: Mapping[str, Any]) -> str:
    """The table in LaTeX, for the package booktabs: the best in bold where there is no doubt, differences below.

    Returns:
        A `table` with a caption that says what the intervals are.
    """
    names = metrics_of(report["rows"][0])
    arrow = {m: r"$\uparrow$" if higher_is_better(m) else r"$\downarrow$" for m in names}
    lines = [["", *(f"{latex(label(m))} {arrow[m]}" for m in names), "parameters"]]
    for row in report["rows"]:
        means = [latex(spoken(row[m]["mean"], row[m]["ci95"], m)) for m in names]
        marked = [rf"\textbf{{{cell}}}" if m in row["best"] else cell for m, cell in zip(names, means, strict=True)]
        lines.append([latex(row["algorithm"]), *marked, f"{row['parameters']:,}"])
        if row["paired"]:
            gaps = [row["paired"].get(m) for m in names]
            said = [p and spoken(p["diff"], p["ci95"], m, signed=True) for m, p in zip(names, gaps, strict=True)]
            lines.append([r"\quad $\Delta$", *(latex(text or "") for text in said), ""])
    head, *body = (" & ".join(line) + r" \\" for line in lines)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex(explained(report))}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(names) + 1)}}}",
            *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def latex(text: str) -> str:
    r"""Text as LaTeX shows it.

    Examples:
        >>> print(latex("mr_cnp: 95 % ± 2"))
        mr\_cnp: 95 \% $\pm$ 2
    """
    marks = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    marks |= {mark: rf"\{mark}" for mark in "&%$#_{}"}
    marks |= {"±": r"$\pm$", "Δ": r"$\Delta$", "σ": r"$\sigma$", "−": "$-$", "χ": r"$\chi$", "²": "$^2$"}
    return "".join(marks.get(character, character) for character in text)


def explained(report: Mapping[str, Any], written: Callable[[str], str] = str) -> str:
    """What the intervals of a table are, in a sentence, with names as they are written in its format."""
    rows = report["rows"]
    gap = " Gap: NLL beyond that of the exact prediction, paired by task." if "gap" in metrics_of(rows[0]) else ""
    missing = f", for {written(report['missing'])} has no row" if "missing" in report else ""
    difference = f"Δ: difference to {written(rows[0]['algorithm'])}{missing}, paired by task."
    return " ".join(filter(None, [intervals(report), difference, BOLD, gap.strip(), undecided(rows, report)]))


def intervals(report: Mapping[str, Any]) -> str:
    """What a comparison was tested on, and what its intervals are over."""
    counts = sorted({len(row["seeds"]) for row in report["rows"]})
    over = {
        True: "tasks only, for there is one training each, so they tell nothing about another training",
        False: f"{counts[-1]} seeds and the tasks",
    }[counts == [1]]
    mixed = " (of rows with one seed: over tasks only)" if counts[0] == 1 < counts[-1] else ""
    left_out = f", each left out by one of {report['folds']} folds" if "folds" in report else ""
    return (
        f"Meta-test on {tested_on(report)}{left_out}, the same for all. ±: 95 % interval over {over}{mixed}, by "
        "Student's quantiles."
    )


def tested_on(test: Mapping[str, Any]) -> str:
    """How many tasks a meta-test or a comparison was on, and of how many things these are made.

    Examples:
        >>> tested_on({"num_tasks": 600})
        '600 new tasks'
        >>> tested_on({"num_tasks": 600, "groups": {"number": 8, "of": "tasks", "per_episode": 1}})
        '600 episodes of 8 new tasks'
    """
    kind = "training" if test.get("split") == "train" else "new"
    if (groups := test.get("groups")) is None:
        return counted(test["num_tasks"], f"{kind} tasks")
    known = groups["number"] > groups["per_episode"]
    about = "" if known else ", which tell nothing about others, so that there is no interval"
    of = groups["of"] if groups["of"] == TRAINED else f"{kind} {groups['of']}"
    return f"{counted(test['num_tasks'], 'episodes')} of {counted(groups['number'], of)}{about}"
