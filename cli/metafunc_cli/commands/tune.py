"""`metafunc tune`: search the settings of a training by validation."""

import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc.checks import counted
from metafunc_cli.cells.cell import Cell, Ended
from metafunc_cli.cells.words import without
from metafunc_cli.display.blocks import Column, blocks
from metafunc_cli.display.drawing import prepare
from metafunc_cli.display.progress import Callback, progress
from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen, if_stopped, refusals
from metafunc_cli.errors import FAILURE, OK, UsageError
from metafunc_cli.settings import compose, space_argument, user_builders
from metafunc_cli.settings.arguments import ONE, Taken, taken, tokens
from metafunc_cli.settings.check_least import check_least
from metafunc_cli.settings.compose import Request
from metafunc_cli.settings.run_argument import HELP, parse
from metafunc_cli.settings.tuning_options import Tuning

if TYPE_CHECKING:
    from metafunc.training.events import Event
    from metafunc.training.search_space import Space
    from metafunc.training.tried import Found

WHAT = (
    "Search the settings of a training by validation: metafunc tune ALGORITHM TASKS --space inner_lr:1e-4..0.3:log "
    "num_steps:1..3 --trials 50. Each trial is a run; one that is worse at a validation than the median of the others "
    "is pruned, as is one that diverges. The tasks of the test split are never drawn.\n\n"
    "All options of metafunc train that decide a training can be given too, and are the same for all trials. The same "
    "command goes on with a search that was interrupted, and takes part in one that goes on elsewhere in the same "
    "folder."
)
NOT_HERE = ("--resume", "--overwrite", "--go-on", "--ranks", "--log", "--dry-run", "--test-tasks", "--test-steps")
"""Options of `train` that mean nothing here."""
OF_ONE = {"--jobs": 1, "--scheduler": 1, "--json": 0, "--worker": 0, "--quiet": 0}
"""What a search says beside what its workers do, and how many words follow."""


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc tune --help`."""
    own, rest = _sorted(argv)
    asked: Tuning = parse("metafunc tune", WHAT, own, {"tuning": Tuning()}).tuning
    _check(asked)
    request = _anchored(compose.read(rest, ("metafunc", "tune", *argv)))
    space = space_argument.space_of(asked.space, request.settings)
    given = {word.partition("=")[0].replace("_", "-") for word in rest}
    if twice := [flag for flag in (f"--{name}" for name in _searched(asked)) if flag in given]:
        raise UsageError(f"{twice[0]} is searched by --space, and given as well: leave one of them out.")
    _library()
    from metafunc.training.events import Interrupted

    names = request.settings.names
    out = Path(asked.out or f"runs/tune-{names['algorithm'].replace(':', '.')}-{names['tasks']}")
    screen = Screen(json=asked.json, quiet=asked.quiet)
    if request.note:
        screen.say(request.note)
    with if_stopped(screen, f"The trials are kept. Go on with:\n  metafunc tune {shlex.join(argv)}"):
        if (asked.jobs > 1 or asked.scheduler) and not asked.worker:
            _look_over(request, space)
            if code := _workers(screen, argv, asked):
                return code
        try:
            found = _search(screen, request, space, out, asked)
        except Interrupted as stopped:
            screen.say(f"{stopped} Go on with:\n  metafunc tune {shlex.join(argv)}")
            return 128 + stopped.signal
    if asked.worker:
        return OK
    return _report(screen, found, request, rest, out, asked)


def _searched(asked: Tuning) -> list[str]:
    return [word.partition(":")[0].removeprefix("--").replace("_", "-") for word in asked.space]


def _anchored(request: Request) -> Request:
    """The same, with the data and the run to start from by their full paths."""
    settings = request.settings
    data, training = compose.anchored(settings.data), compose.anchored(settings.training, "init_from")
    return dataclasses.replace(request, settings=dataclasses.replace(settings, data=data, training=training))


def _sorted(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """This command's own flags, and the words of `train`."""
    own = {**taken("", Tuning), **dict.fromkeys(HELP, Taken(0, str))}
    mine: list[str] = []
    rest: list[str] = []
    for token in tokens(argv, lambda flag: own.get(flag, ONE)):
        if token.flag in NOT_HERE:
            raise UsageError(f"{token.flag} is an option of train, and means nothing to tune.")
        if token.flag and token.flag not in own and (close := get_close_matches(token.flag, own, n=1, cutoff=0.85)):
            raise UsageError(f"tune has no option {token.flag}: is {close[0]} meant?")
        (mine if token.flag in own else rest).extend(token.words)
    return mine, rest


def _check(asked: Tuning) -> None:
    if not asked.space:
        raise UsageError(
            "tune needs --space, what to search. For example: metafunc tune maml sinusoid --space "
            "inner_lr:1e-4..0.3:log"
        )
    check_least(asked, trials=1, jobs=1, search_seed=0)


def _library() -> None:
    """Import Optuna, which then says no more than what has to be known.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UsageError("tune needs Optuna: pip install 'metafunc[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _look_over(request: Request, space: "Space") -> None:
    """Refuse, once and before there are workers, what each of them would."""
    from metafunc.training.search import looked_over

    with refusals(request.settings):
        looked_over(request.settings.to_json(), space, imports=True)


def _workers(screen: Screen, argv: Sequence[str], asked: Tuning) -> int:
    """Let several processes take the trials. Returns the exit code of the first that did not end well."""
    from metafunc_cli.cells.spread import spread

    words = ("tune", *without(argv, OF_ONE), "--worker", "--quiet")
    cells = [Cell(f"worker {number}", words) for number in range(asked.jobs)]

    def on_end(cell: Cell, ended: Ended) -> None:
        for warning in ended.warnings:
            screen.say(f"warning: {cell.name}: {warning}")

    if not screen.quiet:
        screen.say(f"{counted(asked.trials, 'trials')}, by {counted(asked.jobs, 'workers')}")
    ended = spread(cells, jobs=len(cells), scheduler=asked.scheduler, on_end=on_end)
    failed = {name: each for name, each in ended.items() if each.code}
    for name, each in failed.items():
        screen.say(f"{name} failed (exit code {each.code}): {each.message}")
    return next((each.code for each in failed.values()), OK)


def _search(screen: Screen, request: Request, space: "Space", out: Path, asked: Tuning) -> "Found":
    """Take trials until there are enough."""
    from metafunc.training.search import search

    with progress(screen.err, "trials", quiet=screen.quiet) as advance, refusals(request.settings):

        def on_trial(number: int, values: Mapping[str, Any]) -> "Callable[[Event], None]":
            tried = shlex.join(space_argument.flags_of(values, request.settings))
            advance(number, asked.trials, tried)
            return Callback(screen, lambda done, total, extra: advance(number, asked.trials, f"{done}/{total} {extra}"))

        return search(
            request.settings.to_json(),
            space,
            out=out,
            num_trials=asked.trials,
            seed=asked.search_seed,
            prunes=not asked.no_pruning,
            storage=asked.storage,
            imports=True,
            on_trial=on_trial,
        )


def _report(screen: Screen, found: "Found", request: Request, rest: Sequence[str], out: Path, asked: Tuning) -> int:
    """Write and show what was found. Returns the exit code."""
    from metafunc.data.atomic_write import refuse_link, write_json, write_text
    from metafunc.results import search_report
    from metafunc.training.search_space import configured

    report = search_report.described(found)
    ranked, names = found.ranked, request.settings.names
    if ranked:
        report["command"] = shlex.join(
            ["metafunc", "train", *rest, *space_argument.flags_of(ranked[0].values, request.settings)]
        )
    write_json(out / "tune.json", report)
    write_text(out / "tune.csv", search_report.to_csv(found))
    wrote = ["tune.json", "tune.csv"]
    failed = [one for one in found.tried if one.state == "failed"]
    for one in failed:
        screen.say(f"trial {one.number} failed: {one.message}")
    if not ranked:
        screen.say(f"There is no best trial: {search_report.counted(found)}.")
        return FAILURE
    write_json(out / "best.json", configured(request.settings.to_json(), ranked[0].values))
    write_text(out / "tune.md", search_report.to_markdown(found))
    wrote += ["tune.md", "best.json"]
    if not asked.no_figures:
        refuse_link(out / "figures")
        prepare()
        of = f"{names['algorithm']} on {names['tasks']}: {search_report.counted(found)}"
        wrote += [str(path.relative_to(out)) for path in search_report.draw(found, out / "figures", of=of)]
    allowed = ["--imports"] if any(map(user_builders.is_own, names.values())) else []
    heads, rows = search_report.rows_of(found)
    columns = [Column(head, [row[i] for row in rows]) for i, head in enumerate(heads)]
    screen.out.print(f"{names['algorithm']} on {names['tasks']}: {search_report.counted(found)}", style="bold")
    for table in blocks(screen.out, columns[0], columns[1:]):
        screen.out.print(table)
    screen.out.print(
        "A score is a trial's best validation, and that of the best trial is good by luck as well: judge its settings "
        "on new tasks, with other seeds.\n",
        style="dim",
    )
    show_lines(
        screen.out,
        [
            ("in", str(out)),
            ("wrote", ", ".join(wrote)),
            ("best", f"trial {ranked[0].number}, {ranked[0].run}"),
            ("again", report["command"]),
            ("or", shlex.join(["metafunc", "train", "--config", str(out / "best.json"), *allowed])),
        ],
    )
    screen.result(report)
    return OK
