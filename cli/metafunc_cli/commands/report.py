"""`metafunc report`: a run or a comparison as one HTML file."""

from collections.abc import Sequence
from pathlib import Path

from metafunc.training import record
from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen, if_stopped, refusals
from metafunc_cli.errors import OK
from metafunc_cli.settings.names import look_over_imports
from metafunc_cli.settings.options import Reporting
from metafunc_cli.settings.run_argument import COMPARISON, parse, run_and_flags

WHAT = (
    "Write a report of a run or a comparison, as one HTML file that a browser opens without a network: the table, "
    "sortable; pictures of adaptation, learning and calibration; new functions, task by task and step by step; the "
    "command and the versions."
)


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc report --help`."""
    source, flags = run_and_flags("report", argv, ("", Reporting), comparisons=True)
    usage = f"metafunc report {source or 'RUN|COMPARISON'}"
    found: Reporting = parse(usage, WHAT, flags, {"reporting": Reporting()}).reporting
    folder = Path(source or "")
    if not (folder / COMPARISON).exists() or (folder / "config.json").exists():
        look_over_imports(record.config(folder), folder / "config.json", allowed=found.imports)
    from metafunc.results.html_report import html_report

    screen = Screen(json=found.json, quiet=True)
    with if_stopped(screen, "No report is written, or it is whole."), refusals():
        file = html_report(folder, found.out, imports=found.imports, seed=found.seed)
    show_lines(screen.out, [("wrote", f"{file} ({file.stat().st_size / 1e6:.1f} MB)")])
    screen.result({"source": source, "report": str(file)})
    return OK
