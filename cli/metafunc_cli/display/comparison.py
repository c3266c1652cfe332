"""Prints a comparison on a terminal: one row per learner, or one column where that leaves more room for the numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from metafunc.checks import counted
from metafunc_cli.display.blocks import NARROW, Column, blocks, fits

Row = Mapping[str, Any]


def show(console: Console, report: Mapping[str, Any]) -> None:
    """Print a comparison, with each learner's difference to the first below each metric.

    Args:
        console: where.
        report: what `--json` prints.
    """
    from metafunc.results.finding import finding
    from metafunc.results.tables import explained, head, metrics_of, tested_on

    rows = report["rows"]
    names = metrics_of(rows[0])
    title = f"  {tested_on(report)}, the same for all"
    console.print(Text.assemble((f"comparison on {report['tasks']}", "bold"), (title, "dim")))
    about = [_about(row) for row in rows]
    heads = [*map(head, names), "seconds", "parameters"]
    cells: list[list[Text | str]] = [[*(_cell(row, name) for name in names), *_size(row)] for row in rows]
    first = Column("", [Text.assemble(row["algorithm"], (f"\n{a}", "dim")) for row, a in zip(rows, about, strict=True)])
    columns = [Column(name, each) for name, each in zip(heads, _columns_of(cells), strict=True)]
    if not fits(console, first, columns):
        first = Column("", heads)
        columns = [Column(f"{r['algorithm']}\n{a}", each) for r, a, each in zip(rows, about, cells, strict=True)]
    for table in blocks(console, first, columns):
        console.print(table)
    console.print(finding(report), style="bold")
    console.print(explained(report), style="dim")


def show_numbers(console: Console, reports: Sequence[Mapping[str, Any]], number: str, of: str) -> None:
    """Print comparisons that differ in a number: a row for each learner below each metric, a column for each.

    Args:
        console: where.
        reports: the comparisons, of the same learners.
        number: its key in each of them.
        of: what it is a number of.
    """
    from metafunc.results.tables import head, metrics_of, spoken, varied

    first: list[Text | str] = []
    columns: list[list[Text | str]] = [[] for _ in reports]
    for metric in metrics_of(reports[0]["rows"][0]):
        first += [Text(head(metric), "dim"), *(f"  {row['algorithm']}" for row in reports[0]["rows"])]
        for column, each in zip(columns, reports, strict=True):
            said = [(spoken(row[metric]["mean"], row[metric]["ci95"], metric), row["best"]) for row in each["rows"]]
            column += ["", *(Text(text, "bold" if metric in best else "") for text, best in said)]
    console.print(Text.assemble((f"{reports[0]['tasks']} by {of}", "bold")))
    heads = [f"{each[number]:,}" for each in reports]
    for table in blocks(console, Column(of, first), [Column(*each) for each in zip(heads, columns, strict=True)]):
        console.print(table)
    console.print(varied(reports), style="dim")


def _about(row: Row) -> str:
    """How many trainings, and after how many steps; to be broken at the comma only."""
    parts = (counted(len(row["seeds"]), "seeds"), counted(row["steps"], "steps"))
    return ", ".join(part.replace(" ", NARROW) for part in parts)


def _columns_of(cells: Sequence[Sequence[Text | str]]) -> list[list[Text | str]]:
    return [list(column) for column in zip(*cells, strict=True)]


def _cell(row: Row, metric: str) -> Text:
    from metafunc.results.tables import spoken

    cell = Text(spoken(row[metric]["mean"], row[metric]["ci95"], metric), "bold" if metric in row["best"] else "")
    if metric in row["paired"]:
        paired = row["paired"][metric]
        cell.append(f"\nΔ {spoken(paired['diff'], paired['ci95'], metric, signed=True)}", style="not bold dim")
    return cell


def _size(row: Row) -> tuple[str, str]:
    """How long the training has taken, where that is known, and how many meta-parameters there are."""
    return "" if row["seconds"] is None else f"{row['seconds']:.0f}", f"{row['parameters']:,}"
