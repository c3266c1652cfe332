"""`metafunc train`: meta-train, meta-test, and report what came out."""

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc.checks import counted
from metafunc_cli import ended, joined, launch
from metafunc_cli.commands import eval, train_folds
from metafunc_cli.commands.timing import Clock
from metafunc_cli.display.beforehand import announce
from metafunc_cli.display.durations import duration
from metafunc_cli.display.progress import Callback, Estimate, both, progress
from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import DIVERGED, OK, UsageError
from metafunc_cli.settings import compose
from metafunc_cli.settings.compose import Request
from metafunc_cli.settings.names import look_over_imports

if TYPE_CHECKING:
    from metafunc.execution.distributed import Ranks
    from metafunc.training.run import Run

RUNS = Path("runs")


@dataclass(frozen=True)
class _Job:
    """A training: what was asked for, what it was built into, who gets its numbers, and who shares it."""

    screen: Screen
    request: Request
    learner: Any
    family: Any
    trackers: Sequence[Any]
    ranks: "Ranks"


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc train --help`."""
    if (words := train_folds.comparison(argv)) is not None:
        from metafunc_cli.commands import compare

        return compare.main(words)
    request = compose.read(argv)
    settings = request.settings
    data, training = compose.anchored(settings.data), compose.anchored(settings.training, "init_from")
    request = replace(request, settings=replace(settings, data=data, training=training))
    _refuse(request)
    if request.output.out and ended.diverged_before(Path(request.output.out)):
        return DIVERGED  # as was said, with the task
    asked = 1 if request.output.dry_run and not launch.is_rank() else request.output.ranks
    return joined.shared(["train", *argv], asked, partial(_begin, argv, request))


def _begin(argv: Sequence[str], request: Request, ranks: "Ranks") -> int:
    from metafunc.execution.distributed import advice
    from metafunc.execution.rank_agreement import agreement

    training = request.settings.training
    if training.init_from is not None and request.output.imports:
        source = Path(training.init_from) / "config.json"
        look_over_imports(compose.sections_of(source), source, allowed=True)
    from metafunc.training.config import build
    from metafunc.training.tracking import Tracking

    screen = Screen(json=request.output.json, quiet=request.output.quiet, silent=not ranks.first)
    for note in filter(None, (request.note, advice(os.environ))):
        screen.say(note)
    with refusals(request.settings, ("metafunc", "train", *argv)), agreement(ranks) as settled:
        trackers = [Tracking(name) for name in dict.fromkeys(request.output.log) if ranks.first]
        learner, family = build(request.settings.to_json(), imports=True)
        settled.reach()
    train_folds.advise(screen, argv, request, family)
    if request.output.dry_run:
        from metafunc_cli.commands.dry_run import preview

        return preview(screen, request, learner, family)
    with ExitStack() as stack:  # open until the meta-test, whose numbers they get too
        trackers = [stack.enter_context(tracker) for tracker in trackers]
        return _train(_Job(screen, request, learner, family, trackers, ranks))


def _refuse(request: Request) -> None:
    output, out = request.output, request.output.out
    if output.go_on and (not out or output.overwrite):
        raise UsageError("--go-on begins or goes on with the run that --out names: give --out, and no --overwrite.")
    allowed = output.overwrite or output.dry_run or output.go_on
    if launch.shows() and out and (Path(out) / "config.json").exists() and not allowed:
        raise UsageError(
            f"{out} holds a run already. Take another --out, go on with it by --resume {shlex.quote(out)}, or delete "
            "it by --overwrite."
        )
    if output.overwrite and not out:
        raise UsageError("--overwrite deletes the run that --out names: give --out as well.")


def _train(job: _Job) -> int:
    from metafunc.training.events import Interrupted
    from metafunc.training.run import Run

    output, ranks = job.request.output, job.ranks
    chosen, clock = output.resume or output.out, Clock()
    run = Run(_announced(job, chosen))
    states = ranks.first and (launch.is_rank() or output.go_on)
    try:
        with ended.stated(run.path) if states else nullcontext():
            report = _tested(job, run, _stoppable(job, run, clock))
    except Interrupted as stopped:
        job.screen.say(f"{stopped} Go on with:\n  {_go_on(job, run)}")
        return 128 + stopped.signal
    finally:
        if not chosen and ranks.first and not any(run.path.iterdir()):
            run.path.rmdir()
    if ranks.first:
        _show(job, run, report, clock)
    return OK


def _tested(job: _Job, run: "Run", meta: Any) -> dict[str, Any]:
    """The report: what was trained, and the meta-test if there is to be one."""
    from metafunc.training import tracking

    settings, names = job.request.settings, job.request.settings.names
    if not settings.training.test_tasks:
        return {"algorithm": names["algorithm"], "tasks": names["tasks"], "run": str(run.path)}
    test = eval.usual_test(settings.training)
    report = eval.meta_test(
        job.screen, job.learner, meta, job.family, test, settings, run, run.meta_test, ranks=job.ranks
    )
    for tracker in job.trackers:
        tracker.log(tracking.of_meta_test(report), settings.training.steps)
    return report


def _announced(job: _Job, chosen: str | None) -> Path:
    """Say what will be trained, and reserve the folder; all ranks learn of it, or that it cannot be."""
    from metafunc.execution.rank_agreement import agreement

    with agreement(job.ranks) as settled:
        with refusals(job.request.settings):
            announce(job.screen, job.request, job.learner, job.family, job.ranks.size)
        new = None if chosen or not job.ranks.first else str(new_folder(job.request.settings.names))
        found = settled.reach(new)[0]
    return Path(chosen or found)


def _stoppable(job: _Job, run: "Run", clock: Clock) -> Any:
    """What `_trained` gives; where it is stopped at once, how to go on is said."""
    from metafunc.training.events import Interrupted

    try:
        return _trained(job, run, clock)
    except Interrupted:  # which has saved
        raise
    except (KeyboardInterrupt, SystemExit):
        job.screen.say(f"Stopped at once. Go on from the last checkpoint with:\n  {_go_on(job, run)}")
        raise


def _trained(job: _Job, run: "Run", clock: Clock) -> Any:
    """The meta-parameters that were best."""
    from metafunc.training import config

    output, settings = job.request.output, job.request.settings
    quick = f"that is long; a first look ends within a minute: {_quick(settings.names)}"
    estimate = Estimate(job.screen, "" if output.quick else quick)
    title = f"{settings.names['algorithm']} on {settings.names['tasks']}"
    with progress(job.screen.err, title, quiet=job.screen.quiet) as advance, refusals(settings):
        return config.train(
            settings.to_json(),
            out=run.path,
            resume=output.resume is not None or output.go_on,
            overwrite=output.overwrite,
            imports=output.imports,
            trackers=job.trackers,
            on_event=clock.around(both(Callback(job.screen, advance), estimate)),
            built=(job.learner, job.family),
            ranks=job.ranks,
        ).fit.best


def _go_on(job: _Job, run: "Run") -> str:
    """The command that goes on with a run, with the trackers that it had."""
    logs = " --log " * bool(job.trackers) + " ".join(tracker.name for tracker in job.trackers)
    return eval.command("train", run.path, job.request.settings.names) + logs


def _show(job: _Job, run: "Run", report: Mapping[str, Any], clock: Clock) -> None:
    """Print what was written, and what comes next."""
    wrote = [entry.name + "/" * entry.is_dir() for entry in sorted(run.path.iterdir()) if entry.name[0] != "."]
    following = eval.command("plot", run.path, job.request.settings.names)
    lines = [("run", str(run.path)), ("wrote", ", ".join(wrote)), ("next", following)]
    if clock.steps and clock.taken.wall is not None:
        lines.insert(0, ("trained", f"{counted(clock.steps, 'steps')} in {duration(clock.taken.wall)}"))
    show_lines(job.screen.out, lines)
    job.screen.result(report)


def _quick(names: Mapping[str, str]) -> str:
    """The command for a first look at the same."""
    own = [names["algorithm"], names["tasks"]]
    return shlex.join(["metafunc", "train", *own, "--quick"])


def new_folder(names: Mapping[str, str]) -> Path:
    """A new folder for a run that was given none; making it is what reserves it."""
    from metafunc.data.atomic_write import make_folder

    make_folder(RUNS)
    stem = "-".join(names[section].rpartition(":")[2] for section in ("algorithm", "tasks"))
    for number in count(1):
        folder = RUNS / f"{stem}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count never ends")
