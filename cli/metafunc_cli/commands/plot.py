"""`metafunc plot`: draw the pictures of a run."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from metafunc.training import record
from metafunc_cli.display.drawing import prepare
from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen, if_stopped, refusals
from metafunc_cli.errors import OK
from metafunc_cli.settings.names import look_over_imports
from metafunc_cli.settings.options import Plotting
from metafunc_cli.settings.run_argument import parse, run_and_flags

WHAT = (
    "Draw a run into its folder figures: the learning curve, the adaptation curves of its meta-tests, and new tasks "
    "before and after adaptation."
)


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc plot --help`."""
    run, flags = run_and_flags("plot", argv, ("", Plotting))
    found: Plotting = parse(f"metafunc plot {run or 'RUN'}", WHAT, flags, {"plotting": Plotting()}).plotting
    file = Path(run or "") / "config.json"
    look_over_imports(record.config(file.parent), file, allowed=found.imports)
    from metafunc.results.plot_run import plot_run

    prepare()
    screen = Screen(json=found.json, quiet=True)
    again = f"Figures that were drawn are whole; draw all of them with:\n  {shlex.join(['metafunc', 'plot', *argv])}"
    with if_stopped(screen, again), refusals():
        drawn = plot_run(
            file.parent,
            transforms=found.transforms,
            imports=found.imports,
            seed=found.seed,
            formats=found.format,
        )
    show_lines(screen.out, [("drew", str(path)) for path in drawn])
    screen.result({"run": run, "figures": [str(path) for path in drawn]})
    return OK
