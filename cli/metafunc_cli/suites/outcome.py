"""What came of a suite: its families' comparisons, read from their folders, as one table, pictures and files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metafunc_cli.display.blocks import Column, blocks
from metafunc_cli.display.drawing import prepare
from metafunc_cli.display.screen import Screen
from metafunc_cli.presets import citations
from metafunc_cli.suites import adaptation, further
from metafunc_cli.suites.narrowed import trained
from metafunc_cli.suites.suite import Suite


def report_of(screen: Screen, suite: Suite, plan: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """The suite's table, from the families' folders: what `results.suite.summarise` finds, and what it is of."""
    from metafunc.results import per_task
    from metafunc.results.suite import FamilyResult, summarise
    from metafunc.training import json_file

    tested = []
    for family in suite.families:
        folder = out / family.name
        entries = {entry.algorithm: entry for entry in per_task.read(folder / per_task.NAME).entries}
        rows = {row["algorithm"]: row for row in json_file.read(folder / "compare.json")["rows"]}
        tested.append(
            FamilyResult(
                family.name,
                family.tasks,
                family.metric,
                tuple(entries[name] for name in suite.learners),
                tuple(entries[name] for name in suite.references),
                {name: rows[name]["cpu_seconds"] for name in suite.learners if name.split("+")[0] in trained(suite)},
                adaptation.seconds(screen, folder, suite.algorithms),
            )
        )
    about = {"suite": suite.name, "about": suite.about, "budget": plan["budget"], "measured": plan.get("measured", {})}
    report = {**about, "commands": plan["commands"], **summarise(tested)}
    for family, described in zip(suite.families, report["families"], strict=True):
        described["further"] = further.results(suite, family, out / family.name)
    return report


def write(report: Mapping[str, Any], cited: Sequence[citations.Used], out: Path, *, paper: bool) -> list[Path]:
    """Write the table in every format, the citations and the pictures; their paths."""
    from metafunc.data.atomic_write import write_json, write_text
    from metafunc.results.plot_suite import plot_suite
    from metafunc.results.suite_tables import further_tests, to_csv, to_latex, to_markdown

    bibliography = citations.bibtex(cited)
    page = [f"# {report['suite']}", report["about"], f"Trained for: {report['budget']}", to_markdown(report).rstrip()]
    page += [beside.rstrip()] if (beside := further_tests(report)) else []
    page += ["## Papers", f"```bibtex\n{bibliography}```"]
    texts = {"md": "\n\n".join(page) + "\n", "csv": to_csv(report), "bib": bibliography}
    texts |= {"tex": to_latex(report)} if paper else {}
    write_json(out / "bench.json", report)
    for kind, text in texts.items():
        write_text(out / f"bench.{kind}", text)
    prepare()
    of = f"suite {report['suite']}: {report['budget']}"
    drawn = plot_suite(report, out / "figures", of=of, formats=("png", "pdf") if paper else ("png",))
    return [out / "bench.json", *(out / f"bench.{kind}" for kind in texts), *drawn]


def show(screen: Screen, report: Mapping[str, Any]) -> None:
    """Print the table."""
    from metafunc.results.suite_tables import explained, further_columns, ranked
    from metafunc.results.tables import head, spoken

    names = [*report["learners"], *report["references"]]
    columns = []
    for each in report["families"]:
        rows = {row["learner"]: row for row in each["rows"]}
        cells = [spoken(rows[name]["mean"], rows[name]["ci95"], each["metric"]) for name in names]
        marked = [f"{cell} *" if rows[name]["best"] else cell for name, cell in zip(names, cells, strict=True)]
        columns.append(Column(f"{each['family']}\n{head(each['metric'])}", marked))
    average = report["ranks"]["average"]
    if len(report["learners"]) > 1:
        columns.append(Column("average\nrank", [f"{average[name]:.2f}" if name in average else "" for name in names]))
    screen.out.print(f"suite {report['suite']}: {report['budget']}", style="bold")
    for table in blocks(screen.out, Column("", names), columns):
        screen.out.print(table)
    screen.out.print(f"{ranked(report)}\n{explained(report).replace('Bold:', '*:')}", style="dim")
    beside = [Column(f"{family}\n{test}\n{metric}", cells) for family, test, metric, cells in further_columns(report)]
    for table in blocks(screen.out, Column("further tests", names), beside) if beside else ():
        screen.out.print(table)
