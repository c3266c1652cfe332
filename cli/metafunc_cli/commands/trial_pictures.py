"""What is drawn of a comparison, for its report and as figures, where that is not up to date."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc_cli.commands import trial_marks
from metafunc_cli.commands.timing import validations_of
from metafunc_cli.commands.trials import Contender
from metafunc_cli.display.drawing import prepare
from metafunc_cli.settings.comparison_options import Comparison

if TYPE_CHECKING:
    from metafunc.results.compared import Compared
    from metafunc.results.comparison import Entry


def draw(
    rows: Sequence[Contender],
    entries: "Sequence[Entry]",
    report: Mapping[str, Any],
    asked: Comparison,
    command: Sequence[str],
    out: Path,
) -> tuple[list[Path], list[Path]]:
    """Write the numbers of the pictures, and the figures.

    Args:
        rows: what was tested.
        entries: their tests.
        report: what `comparison.compare` found.
        asked: for figures or none, and in which formats.
        command: the words of the command, for the report.
        out: the folder.

    Returns:
        What was written, and what was up to date.
    """
    from metafunc.results import drawn, pictures
    from metafunc.results.plot_comparison import plot_comparison

    learners = _compared(rows, entries)
    marks = [trial_marks.of_row(row, asked) for row in rows]

    # What the trials name was allowed, or typed.
    def numbers() -> list[Path]:
        return [pictures.write(pictures.pictures(learners, command, imports=True), out)]

    def figures() -> list[Path]:
        prepare()
        return plot_comparison(learners, out / "figures", report=report, formats=asked.format, imports=True)

    source = drawn.source_of(learners, report, marks, versions=pictures.versions())
    formats = drawn.source_of(learners, report, marks, versions=_versions(), formats=[*asked.format])
    parts = [
        drawn.unless_drawn(out, "numbers", source, numbers),
        *([] if asked.no_figures else [drawn.unless_drawn(out, "figures", formats, figures)]),
    ]
    return [path for files, now in parts if now for path in files], [
        path for files, now in parts if not now for path in files
    ]


def _versions() -> dict[str, str]:
    """What draws figures."""
    import matplotlib

    from metafunc.results import pictures

    return {**pictures.versions(), "matplotlib": matplotlib.__version__}


def _compared(rows: Sequence[Contender], entries: "Sequence[Entry]") -> "list[Compared]":
    """What pictures show of each learner."""
    from metafunc.evaluation.fitting import as_fitted
    from metafunc.results.compared import Compared

    return [
        Compared(
            entry,
            tuple(trial.run for trial in row.trials),
            as_fitted(row.trials[0].learner, entry.evaluations[0].pooled, entry.row),
            row.trials[0].meta,
            () if row.transforms else tuple(validations_of(trial.run) for trial in row.trials),
        )
        for row, entry in zip(rows, entries, strict=True)
    ]
