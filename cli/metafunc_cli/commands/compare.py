"""`metafunc compare`: train algorithms on a task family, or take finished runs, and test all on the same new tasks."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc_cli import joined
from metafunc_cli.commands import compare_requests, train_tasks, transformed_trials, trial_cells, trial_folds
from metafunc_cli.display.comparison import show
from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen, if_stopped, refusals
from metafunc_cli.errors import OK, UsageError
from metafunc_cli.settings import compose
from metafunc_cli.settings.comparison_options import Comparison

if TYPE_CHECKING:
    from metafunc.execution.distributed import Ranks
    from metafunc_cli.commands.trials import Contender


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc compare --help`."""
    found, names, _ = compare_requests.read(argv)
    if names:
        return joined.shared(["compare", *argv], found.ranks, lambda ranks: _shown(argv, found, names, ranks))
    return _shown(argv, found, names)


def _shown(argv: Sequence[str], found: Comparison, names: Sequence[str], ranks: "Ranks | None" = None) -> int:
    screen = Screen(json=found.json, quiet=found.quiet, silent=ranks is not None and not ranks.first)
    again = f"metafunc compare {shlex.join(argv)}"
    if found.train_tasks:
        report, code = train_tasks.compared(screen, argv, found, names, lambda line: compared(screen, line, again))
    else:
        report, code = compared(screen, argv, again, ranks)
    if report is not None:
        screen.result(report)
    return code


def compared(
    screen: Screen, argv: Sequence[str], again: str, ranks: "Ranks | None" = None
) -> tuple[dict[str, Any] | None, int]:
    """Train what is missing, test all, write and show the table.

    Args:
        screen: where it is shown.
        argv: the words of the command.
        again: the command that goes on where this one is stopped.
        ranks: those that share the tests of finished runs; by default this process alone.

    Returns:
        What compare.json holds, and the exit code; None where a signal stopped it between two steps, nothing was
        trained, or another rank has it.

    Raises:
        UsageError: something of it cannot be compared.
    """
    found, names, passed = compare_requests.read(argv)
    typed = ("metafunc", "compare", *argv)
    requests = {} if names else compare_requests.requested(screen, found, passed, typed)
    out = compare_requests.folder(found)
    if names and (out / "config.json").exists():
        raise UsageError(f"{out} is a run; give --out another folder.")
    from metafunc.data.atomic_write import refuse_link
    from metafunc.execution.distributed import ALONE
    from metafunc.training.events import Interrupted

    with refusals():
        refuse_link(out / "figures")
    with if_stopped(screen, f"What is trained is kept. Go on with:\n  {again}"):
        try:
            if names:
                tested = _tested(screen, _runs(found, names, ranks or ALONE), out, found, {}, ranks or ALONE)
            elif found.cell is not None:
                return _cell(screen, requests, out, found.cell)
            elif found.folds is not None:
                tested = trial_folds.cross_validated(screen, argv, requests, out, found, _tried)
            else:
                tested = _tried(screen, argv, requests, out, found)
        except Interrupted as stopped:
            screen.say(f"{stopped} Go on with:\n  {again}")
            return None, 128 + stopped.signal
        if tested.failed and not tested.rows:
            return None, trial_cells.report_failed(screen, tested.failed)
        if ranks is not None and not ranks.first:
            return None, OK
        report = _written(screen, argv, tested, out, found)
    return report, trial_cells.report_failed(screen, tested.failed) if tested.failed else OK


def _tried(
    screen: Screen, argv: Sequence[str], requests: Mapping[str, list[compose.Request]], out: Path, found: Comparison
) -> trial_folds.Tested:
    """Train what is not trained yet, and test it."""
    from metafunc.execution.distributed import ALONE
    from metafunc_cli.commands import trials

    transformed_trials.refuse_transforms(requests, found.algorithms)
    rows, failed = trials.train(screen, argv, requests, out, found)
    return _tested(screen, transformed_trials.transformed(rows, found.algorithms), out, found, failed, ALONE)


def _tested(
    screen: Screen,
    rows: "Sequence[Contender]",
    out: Path,
    found: Comparison,
    failed: trial_cells.Failed,
    ranks: "Ranks",
) -> trial_folds.Tested:
    """Test what the folder has no test of."""
    from metafunc.results import per_task
    from metafunc_cli.commands import trial_tests

    if not rows:
        return trial_folds.Tested([], [], failed)
    kept = trial_tests.kept_in(screen, out / per_task.NAME, ranks)
    entries = trial_tests.meta_test(screen, rows, found, kept=kept, ranks=ranks)
    with_shots = trial_tests.by_shots(screen, rows, found, ranks) if found.shots else []
    return trial_folds.Tested(rows, entries, failed, with_shots)


def _written(
    screen: Screen, argv: Sequence[str], tested: trial_folds.Tested, out: Path, found: Comparison
) -> dict[str, Any]:
    """Write and show the table and the pictures. Returns what compare.json holds."""
    from metafunc.data.atomic_write import make_folder, write_json, write_text
    from metafunc.results import comparison, per_task
    from metafunc.results.tables import to_csv, to_markdown
    from metafunc.results.units import errors_in_units, with_rmse_in_units
    from metafunc_cli.commands import trial_marks, trial_pictures

    rows, entries, file = tested.rows, tested.entries, out / per_task.NAME
    report = comparison.compare(rows[0].tasks, entries)
    if found.folds is not None:
        report["folds"] = found.folds
    if tested.by_shots:
        report["by_shots"] = tested.by_shots
    if tested.failed:
        report |= trial_cells.described(tested.failed, found.algorithms[0], rows[0].algorithm)
    whole = [(rows[0].trials[0].family.info, entries[0].evaluations[0].num_tasks)]
    with_rmse_in_units(tested.folds or whole, report["rows"], entries)
    if tested.folds:
        trial_folds.say_what_was_drawn(screen, tested, report)
    make_folder(out)
    # What is pooled over folds is kept by fold.
    marks = [] if found.folds is not None else [trial_marks.of_row(row, found) for row in rows]
    per_task.write(file, rows[0].tasks, entries, marks)
    write_json(out / "compare.json", report)
    write_text(out / "compare.csv", to_csv(report))
    said = errors_in_units({row["algorithm"]: row.get("rmse_in_units", {}) for row in report["rows"]})
    write_text(out / "compare.md", to_markdown(report) + f"\n{said}\n" * bool(said))
    wrote = [*(out / f"compare.{kind}" for kind in ("json", "csv", "md")), file]
    show(screen.out, report)
    if said:
        screen.out.print(f"{said}\n", soft_wrap=True)
    drawn, as_they_were = trial_pictures.draw(rows, entries, report, found, ["metafunc", "compare", *argv], out)
    lines = {"in": str(out), "wrote": _within(out, [*wrote, *drawn]), "kept": _within(out, as_they_were)}
    show_lines(screen.out, [(name, text) for name, text in lines.items() if text])
    return report


def _runs(found: Comparison, names: Sequence[str], ranks: "Ranks") -> "list[Contender]":
    """The finished runs, which are the same on all ranks."""
    from metafunc.execution.rank_agreement import agreement

    with agreement(ranks) as settled:
        rows = transformed_trials.from_runs(names, imports=found.imports)
        for trial in [trial for row in rows for trial in row.trials]:
            joined.hold_alike(settled, trial.meta, {**trial.run.config, "comparison": asdict(found)}, trial.family)
    return rows


def _cell(
    screen: Screen, requests: Mapping[str, list[compose.Request]], out: Path, number: int
) -> tuple[dict[str, Any], int]:
    """Do one of the trainings, for others to compare."""
    from metafunc_cli.commands import trials

    trial = trials.train_cell(screen, requests, out, number)
    show_lines(screen.out, [("trained", str(trial.run.path))])
    return {"cell": number, "run": str(trial.run.path)}, OK


def _within(folder: Path, paths: Sequence[Path]) -> str:
    return ", ".join(str(path.relative_to(folder)) for path in paths)
