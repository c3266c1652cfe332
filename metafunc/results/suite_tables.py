"""A suite as text: Markdown for pages, CSV for programs, LaTeX for papers, each of what `suite.summarise` found."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from metafunc.data.safe_text import csv_cell, csv_quoting, markdown_cell
from metafunc.evaluation.metrics.table import higher_is_better, label
from metafunc.results.rounded import undecided
from metafunc.results.tables import head, latex, spoken, tested_on

Report = Mapping[str, Any]
OF_ROW = ("mean", "ci95", "low", "high")
COLUMNS = (
    "family", "tasks", "metric", "learner", "reference", "seeds", "interval", "steps", *OF_ROW,
    "diff", "diff_ci95", "diff_low", "diff_high", "best", "rank", "cpu_seconds", "adaptation_seconds", "parameters",
)  # fmt: skip


def to_markdown(report: Report) -> str:
    """Two tables, of scores and of paired differences to the first learner, and what they are."""
    heads = ["", *(f"{markdown_cell(each['family'])}<br>{head(each['metric'])}" for each in report["families"])]
    names = [*report["learners"], *report["references"]]
    scores = [
        [
            markdown_cell(name),
            *(_score(row, each, "**{}**") for each, row in _across(report, name)),
            _rank(report, name),
        ]
        for name in names
    ]
    parts = [_markdown([*heads, "average rank"], scores), explained(report, markdown_cell)]
    if len(report["learners"]) > 1:
        first, *others = report["learners"]
        heads[0] = f"difference to {markdown_cell(first)}"
        rows = [
            [markdown_cell(name), *(_difference(row, each) for each, row in _across(report, name))] for name in others
        ]
        parts += [_markdown(heads, rows)]
    return "\n\n".join([*parts, ranked(report, markdown_cell)]) + "\n"


def to_csv(report: Report) -> str:
    """One line for each family and learner; what is not known is empty."""
    text = io.StringIO()
    names = [name for each in report["families"] for name in (each["family"], *_names(report))]
    writer = csv.writer(text, lineterminator="\n", quoting=csv_quoting(names))
    writer.writerow(COLUMNS)
    for each in report["families"]:
        for row in each["rows"]:
            paired = {f"diff_{name}": value for name, value in row["paired"].items()}
            values = {
                **row,
                **{name: each[name] for name in ("tasks", "metric")},
                **paired,
                "family": csv_cell(each["family"]),
                "learner": csv_cell(row["learner"]),
                "seeds": " ".join(map(str, row["seeds"])),
                "diff": row["paired"].get("diff"),
            }
            writer.writerow([values.get(name) for name in COLUMNS])
    return text.getvalue()


def to_latex(report: Report) -> str:
    """The scores as a table for the package booktabs, references below a rule; its caption says what intervals are."""
    arrows = [r"$\uparrow$" if higher_is_better(each["metric"]) else r"$\downarrow$" for each in report["families"]]
    heads = ["", *(latex(each["family"]) for each in report["families"]), "average"]
    units = ["", *(f"{latex(label(e['metric']))} {a}" for e, a in zip(report["families"], arrows, strict=True)), "rank"]

    def rows(names: Sequence[str]) -> list[str]:
        bold = r"\textbf{{{}}}"
        cells = {name: [_score(row, each, bold, latex) for each, row in _across(report, name)] for name in names}
        return [" & ".join([latex(name), *cells[name], _rank(report, name)]) + r" \\" for name in names]

    beside = [r"\midrule", *rows(report["references"])] if report["references"] else []
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex(f'{explained(report)} {ranked(report)}')}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            *(r"\toprule", " & ".join(heads) + r" \\", " & ".join(units) + r" \\", r"\midrule"),
            *rows(report["learners"]),
            *beside,
            *(r"\bottomrule", r"\end{tabular}", r"\end{table}", ""),
        ]
    )


def further_tests(report: Report) -> str:
    """A table of what else the same trainings were tested on; empty where that is nothing."""
    columns = further_columns(report)
    if not columns:
        return ""
    heads = ["further tests", *(f"{markdown_cell(family)}, {test}<br>{metric}" for family, test, metric, _ in columns)]
    cells = zip(map(markdown_cell, _names(report)), *(each for *_, each in columns), strict=True)
    said = (
        "Of the same trainings. Of a split, ± is as above. Row by row: the NLL of all query rows together, each from "
        "the support set and the rows before it; ±: 95 % interval over seeds, by Student's quantiles, or over the "
        "tasks of one."
    )
    return f"{_markdown(heads, [*map(list, cells)])}\n\n{said}\n"


def further_columns(report: Report) -> list[tuple[str, str, str, list[str]]]:
    """For each further test its family, its name, the head of its metric, and a cell for each learner and reference."""
    found = []
    for family in report["families"]:
        for each in family.get("further", ()):
            rows = {row["learner"]: row for row in each["rows"]}
            cells = [
                spoken(rows[name]["mean"], rows[name]["ci95"], each["metric"]) if name in rows else ""
                for name in _names(report)
            ]
            found.append((family["family"], each["test"], head(each["metric"]), cells))
    return found


def ranked(report: Report, written: Callable[[str], str] = str) -> str:
    """What average ranks say, and what they are over, in a few sentences."""
    found, number = report["ranks"], report["ranks"]["families"]
    if len(report["learners"]) == 1:
        return "One learner has no rank."
    if number == 1:
        return "One task family says nothing about others: there is no test of ranks."
    difference = found["critical_difference"]
    said = [f"Ranks are over {number} task families, each of which counts once, by its mean over seeds and tasks."]
    if found["p_value"] is not None:
        doubt = "" if found["p_value"] < 0.05 else ", so that no order is beyond doubt"
        said.append(f"Friedman's test: χ² = {found['friedman']:.1f}, p = {found['p_value']:.2g}{doubt}.")
    said.append(f"Nemenyi's test at 5 %: average ranks differ from {difference:.2f} on.")
    if found["alike"]:
        groups = "; ".join(", ".join(written(name) for name in group) for group in found["alike"])
        said.append(f"Not to be told apart: {groups}.")
    return " ".join(said)


def explained(report: Report, written: Callable[[str], str] = str) -> str:
    """What the intervals are over, of one table of all families."""
    families = report["families"]
    counts = sorted({len(row["seeds"]) for each in families for row in each["rows"] if not row["reference"]})
    seeds = "tasks only, of one training each" if counts == [1] else f"{counts[-1]} seeds and the tasks"
    tasks = dict.fromkeys(tested_on(each) for each in families)
    gap = " Gap: NLL beyond that of the exact prediction." if any(e["metric"] == "gap" for e in families) else ""
    beside = f" Not ranked: {', '.join(map(written, report['references']))}." if report["references"] else ""
    return (
        f"Meta-test on {' or '.join(tasks)} of each family, the same for all learners. ±: 95 % interval over {seeds}, "
        "by Student's quantiles. Differences are paired by task. Bold: the best learner of a family, where the "
        f"interval of its difference to each other one excludes zero.{gap}{beside}{_undecided(families)}"
    )


def _undecided(families: Sequence[Report]) -> str:
    """What is said of intervals that say nothing, of each number of groups once."""
    rows = {each["family"]: [{each["metric"]: row, "paired": {each["metric"]: row["paired"]}} for row in each["rows"]]
            for each in families}  # fmt: skip
    return "".join(dict.fromkeys(f" {said}" for each in families if (said := undecided(rows[each["family"]], each))))


def _names(report: Report) -> list[str]:
    return [*report["learners"], *report["references"]]


def _across(report: Report, name: str) -> list[tuple[Report, Report]]:
    """Each family with a learner's row in it."""
    return [(each, row) for each in report["families"] for row in each["rows"] if row["learner"] == name]


def _score(row: Report, family: Report, bold: str, written: Callable[[str], str] = str) -> str:
    text = written(spoken(row["mean"], row["ci95"], family["metric"]))
    return bold.format(text) if row["best"] else text


def _difference(row: Report, family: Report) -> str:
    paired = row["paired"]
    return spoken(paired["diff"], paired["ci95"], family["metric"], signed=True)


def _rank(report: Report, name: str) -> str:
    found = report["ranks"]["average"].get(name)
    return "" if found is None else f"{found:.2f}"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
