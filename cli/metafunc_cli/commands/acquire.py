"""`metafunc acquire`: active learning, the error against labels that a learner asks for."""

from collections.abc import Mapping, Sequence
from typing import Any

from metafunc_cli.commands.optimise import command, run_of, show_report
from metafunc_cli.display.progress import progress
from metafunc_cli.display.screen import Screen, if_stopped, refusals
from metafunc_cli.errors import OK, UsageError
from metafunc_cli.settings.check_least import check_least
from metafunc_cli.settings.decision_options import Acquiring
from metafunc_cli.settings.run_or_training import run_or_training

WHAT = (
    "Active learning: a run's learner asks for the labels of the rows that it is least sure about, against "
    "labels at random, paired over new tasks: metafunc acquire RUN, or metafunc acquire ALGORITHM TABLE | TASKS with "
    "the options of metafunc train, which trains it first."
)


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc acquire --help`."""
    asked = run_or_training("acquire", argv, WHAT, Acquiring)
    own: Acquiring = asked.own
    check_least(own, labels=1, first=0, test_pools=1, rows=1)
    if asked.tables:
        raise UsageError(f"acquire takes a run alone, and {asked.tables[0]} is none: leave it out.")
    screen = Screen(json=asked.shown.json, quiet=asked.shown.quiet)

    def check(config: Mapping[str, Any], learner: Any) -> None:
        from metafunc.results.labels import check_labels

        check_labels(config, learner, acquisition=own.acquisition, num_rows=own.rows)

    run = run_of(asked, screen, check)
    from metafunc.results import labels, optimise

    again = f"Nothing is kept of what is not finished. Begin again with:\n  {command('acquire', argv)}"
    flags = {"num_labels": "--labels"}
    with (
        if_stopped(screen, again),
        refusals(flags=flags),
        progress(screen.err, "acquiring", quiet=screen.quiet) as advance,
    ):
        report = labels.acquire_labels(
            optimise.trained(run, imports=True),  # what it names was looked over, or typed
            acquisition=own.acquisition,
            num_labels=own.labels,
            first=own.first,
            num_tasks=own.test_pools,
            num_rows=own.rows,
            seed=own.choice_seed,
            on_progress=lambda name, done, total: advance(done, total, name),
        )
    regression = report["metric"] == "mse"
    show_report(
        screen, run, report, f"acquire-{own.acquisition}",
        title="Error against labels that the learner asks for", x="Labels",
        y="Mean squared error" if regression else "Wrong classes (%)", scale=1.0 if regression else 100.0,
    )  # fmt: skip
    return OK
