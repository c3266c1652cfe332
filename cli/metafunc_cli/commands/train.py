"""`metafunc train`: meta-train, meta-test, and report what came out."""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from metafunc_cli.commands import eval
from metafunc_cli.commands.timing import Clock
from metafunc_cli.display.beforehand import announce
from metafunc_cli.display.durations import counted, duration
from metafunc_cli.display.progress import Callback, Estimate, both, progress
from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import OK, UsageError
from metafunc_cli.settings import compose
from metafunc_cli.settings.compose import Request
from metafunc_cli.settings.names import look_over_imports

RUNS = Path("runs")


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc train --help`."""
    request = compose.read(argv)
    settings = request.settings
    data, training = compose.anchored(settings.data), compose.anchored(settings.training, "init_from")
    request = replace(request, settings=replace(settings, data=data, training=training))
    _refuse_to_overwrite(request)
    if training.init_from is not None and request.output.imports:
        source = Path(training.init_from) / "config.json"
        look_over_imports(compose.sections_of(source), source, allowed=True)
    from metafunc.training.config import build
    from metafunc.training.tracking import Tracking

    screen = Screen(json=request.output.json, quiet=request.output.quiet)
    if request.note:
        screen.say(request.note)
    with refusals(request.settings, ("metafunc", "train", *argv)):
        trackers = [Tracking(name) for name in dict.fromkeys(request.output.log)]
        learner, family = build(request.settings.to_json(), imports=True)
    if request.output.dry_run:
        from metafunc_cli.commands.dry_run import preview

        return preview(screen, request.settings, learner, family)
    with ExitStack() as stack:  # open until the meta-test, whose numbers they get too
        return _train(screen, request, learner, family, [stack.enter_context(tracker) for tracker in trackers])


def _refuse_to_overwrite(request: Request) -> None:
    out = request.output.out
    if out and (Path(out) / "config.json").exists() and not (request.output.overwrite or request.output.dry_run):
        raise UsageError(
            f"{out} holds a run already. Take another --out, go on with it by --resume {shlex.quote(out)}, or delete "
            "it by --overwrite."
        )
    if request.output.overwrite and not out:
        raise UsageError("--overwrite deletes the run that --out names: give --out as well.")


def _train(screen: Screen, request: Request, learner: Any, family: Any, trackers: Sequence[Any]) -> int:
    from metafunc.training import config, tracking
    from metafunc.training.events import Interrupted
    from metafunc.training.run import Run

    settings, names = request.settings, request.settings.names
    with refusals(settings):
        announce(screen, request, learner, family)
    quick = f"that is long; a first look ends within a minute: {_quick(names)}"
    clock, estimate = Clock(), Estimate(screen, "" if request.output.quick else quick)
    chosen = request.output.resume or request.output.out
    run = Run(Path(chosen) if chosen else new_folder(names))
    go_on = eval.command("train", run.path, names) + " --log " * bool(trackers) + " ".join(t.name for t in trackers)
    try:
        with (
            progress(screen.err, f"{names['algorithm']} on {names['tasks']}", quiet=screen.quiet) as advance,
            refusals(request.settings),
        ):
            callback = Callback(screen, advance)
            meta = config.train(
                settings.to_json(),
                out=run.path,
                resume=request.output.resume is not None,
                overwrite=request.output.overwrite,
                imports=request.output.imports,
                trackers=trackers,
                on_event=clock.around(both(callback, estimate)),
                built=(learner, family),
            ).fit.best
    except Interrupted as stopped:
        screen.say(f"{stopped} Go on with:\n  {go_on}")
        return 128 + stopped.signal
    except (KeyboardInterrupt, SystemExit):
        screen.say(f"Stopped at once. Go on from the last checkpoint with:\n  {go_on}")
        raise
    finally:
        if not chosen and not any(run.path.iterdir()):
            run.path.rmdir()
    report: dict[str, Any] = {"algorithm": names["algorithm"], "tasks": names["tasks"], "run": str(run.path)}
    if settings.training.test_tasks:
        test = eval.usual_test(settings.training)
        report = eval.meta_test(screen, learner, meta, family, test, settings, run, run.meta_test)
        for tracker in trackers:
            tracker.log(tracking.of_meta_test(report), settings.training.steps)
    wrote = [entry.name + "/" * entry.is_dir() for entry in sorted(run.path.iterdir()) if entry.name[0] != "."]
    following = eval.command("plot", run.path, names)
    lines = [("run", str(run.path)), ("wrote", ", ".join(wrote)), ("next", following)]
    if clock.steps and clock.taken.wall is not None:
        lines.insert(0, ("trained", f"{counted(clock.steps, 'step')} in {duration(clock.taken.wall)}"))
    show_lines(screen.out, lines)
    screen.result(report)
    return OK


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
