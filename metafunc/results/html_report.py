"""`metafunc report`: a finished run or comparison as one HTML file, which asks for nothing and runs no stored code."""

from pathlib import Path
from typing import Any

from metafunc.data.atomic_write import refuse_link, write_text
from metafunc.results import html_comparison, html_run
from metafunc.results.html_parts import page
from metafunc.training.record import CONFIG
from metafunc.types import MetaLearner

REPORT = "report.html"
MARK = "<!doctype html>\n<!-- A report of metafunc. -->"
"""How every report begins: no other file is replaced."""


def html_report(
    source: str | Path,
    out: str | Path | None = None,
    *,
    learner: MetaLearner[Any, Any] | None = None,
    imports: bool = False,
    seed: int = 0,
    called: str | None = None,
) -> Path:
    """Write a report of a run or a comparison: tables that sort, pictures, and functions to explore.

    Args:
        source: the folder of a run, or of a comparison.
        out: the file; by default `report.html` in that folder. An older report is replaced, and no other file.
        learner: your own learner, for a run whose configuration does not name one of the table's.
        imports: allow importing the modules that a run's configuration names; do so for runs of your own only.
        seed: of the new functions that a run's report shows; those of a comparison were drawn with it.
        called: the folder of a run in the commands of its report; by default `source`.

    Returns:
        The file: one page without a request to anywhere.

    Raises:
        ValueError: the folder is neither, the run has no checkpoint, or `out` is a link or no report.
        FileError: one of the folder's files is not what was written.

    Examples:
        >>> import tempfile, metafunc
        >>> from metafunc.training.config import build
        >>> config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}}
        >>> folder = tempfile.mkdtemp()
        >>> _ = metafunc.fit(*build(config), steps=2, out=folder, recording=metafunc.Recording(config=config))
        >>> html_report(folder).name
        'report.html'
    """
    folder = Path(source)
    file = folder / REPORT if out is None else Path(out)
    _check_out(file)
    if (folder / CONFIG).exists():
        parts = html_run.parts(folder, learner, imports=imports, seed=seed, called=called or str(folder))
    elif (folder / html_comparison.TABLE).exists():
        parts = html_comparison.parts(folder)
    else:
        raise ValueError(
            f"{folder} is neither a run nor a comparison: it has no {CONFIG} and no {html_comparison.TABLE}. Give the "
            "folder that metafunc train or metafunc compare wrote."
        )
    write_text(file, page(*parts))
    return file


def _check_out(file: Path) -> None:
    """Refuse to write where something else lies, before any work."""
    refuse_link(file)
    if file.is_dir():
        raise ValueError(f"{file} is a folder: give the name of a file, such as {file / REPORT}.")
    if not file.parent.is_dir():
        raise ValueError(f"{file.parent} is no folder: make it first, or give another file.")
    if file.exists():
        with file.open("rb") as opened:
            begins = opened.read(len(MARK.encode()))
        if begins != MARK.encode():
            raise ValueError(f"{file} exists and is no report: give another file, or delete it.")
