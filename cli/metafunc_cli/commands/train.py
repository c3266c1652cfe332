"""`metafunc train`: meta-train, meta-test, and report what came out."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc_cli import ended, launch
from metafunc_cli.commands import eval
from metafunc_cli.display.progress import Callback, progress
from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import DIVERGED, OK, UsageError
from metafunc_cli.settings import compose
from metafunc_cli.settings.compose import Request
from metafunc_cli.settings.names import look_over_imports

if TYPE_CHECKING:
    from metafunc.execution.distributed import Ranks

RUNS = Path("runs")


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc train --help`."""
    request = compose.read(argv)
    settings = request.settings
    data, training = compose.anchored(settings.data), compose.anchored(settings.training, "init_from")
    request = replace(request, settings=replace(settings, data=data, training=training))
    _refuse(request)
    if request.output.ranks > 1 and not (launch.is_rank() or request.output.dry_run):
        return launch.launch(argv, request.output.ranks)
    if request.output.out and ended.diverged_before(Path(request.output.out)):
        return DIVERGED  # as was said, with the task
    if not launch.is_rank():
        return _begin(argv, request)
    from metafunc.execution import distributed

    with distributed.join() as ranks:
        if request.output.ranks not in (1, ranks.size):
            raise UsageError(f"There are {ranks.size} ranks already: leave out --ranks {request.output.ranks}.")
        return _begin(argv, request, ranks, distributed.advice(os.environ))


def _begin(argv: Sequence[str], request: Request, ranks: "Ranks | None" = None, advice: str | None = None) -> int:
    from metafunc.execution.distributed import ALONE
    from metafunc.execution.rank_agreement import agreement

    ranks, training = ranks or ALONE, request.settings.training
    if training.init_from is not None and request.output.imports:
        source = Path(training.init_from) / "config.json"
        look_over_imports(compose.sections_of(source), source, allowed=True)
    from metafunc.training.config import build

    screen = Screen(json=request.output.json, quiet=request.output.quiet, silent=not ranks.first)
    for note in filter(None, (request.note, advice)):
        screen.say(note)
    with refusals(request.settings, ("metafunc", "train", *argv)), agreement(ranks) as settled:
        learner, family = build(request.settings.to_json(), imports=True)
        settled.reach()
    if request.output.dry_run:
        from metafunc_cli.commands.dry_run import preview

        return preview(screen, request.settings, learner, family)
    return _train(screen, request, learner, family, ranks)


def _refuse(request: Request) -> None:
    output, out = request.output, request.output.out
    if output.ranks < 1:
        raise UsageError(f"--ranks must be at least 1, not {output.ranks}.")
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


def _train(screen: Screen, request: Request, learner: Any, family: Any, ranks: "Ranks") -> int:
    from metafunc.training import config
    from metafunc.training.events import Diverged, Interrupted
    from metafunc.training.run import Run

    settings, names = request.settings, request.settings.names
    chosen = request.output.resume or request.output.out
    run = Run(Path(chosen or ranks.tell(str(new_folder(names)) if ranks.first else None)[0]))
    states = ranks.first and (launch.is_rank() or request.output.go_on)
    try:
        with (
            progress(screen.err, f"{names['algorithm']} on {names['tasks']}", quiet=screen.quiet) as advance,
            refusals(request.settings),
        ):
            meta = config.train(
                settings.to_json(),
                out=run.path,
                resume=request.output.resume is not None or request.output.go_on,
                overwrite=request.output.overwrite,
                imports=request.output.imports,
                on_event=Callback(screen, advance),
                built=(learner, family),
                ranks=ranks,
            ).fit.best
    except Interrupted as stopped:
        if states:
            ended.write(run.path, "interrupted")
        screen.say(f"{stopped} Go on with:\n  {eval.command('train', stopped.run, names)}")
        return 128 + stopped.signal
    except Diverged:
        if states:
            ended.write(run.path, "diverged")
        raise
    except (KeyboardInterrupt, SystemExit):
        screen.say(f"Stopped at once. Go on from the last checkpoint with:\n  {eval.command('train', run.path, names)}")
        raise
    finally:
        if not chosen and ranks.first and not any(run.path.iterdir()):
            run.path.rmdir()
    report: dict[str, Any] = {"algorithm": names["algorithm"], "tasks": names["tasks"], "run": str(run.path)}
    if settings.training.test_tasks:
        test = eval.usual_test(settings.training)
        try:
            report = eval.meta_test(screen, learner, meta, family, test, settings, run, run.meta_test, ranks=ranks)
        except (KeyboardInterrupt, SystemExit):
            if states:
                ended.write(run.path, "interrupted")
            raise
    if not ranks.first:
        return OK
    if states:
        ended.write(run.path, "finished")
    wrote = [entry.name + "/" * entry.is_dir() for entry in sorted(run.path.iterdir()) if entry.name[0] != "."]
    following = eval.command("plot", run.path, names)
    show_lines(screen.out, [("run", str(run.path)), ("wrote", ", ".join(wrote)), ("next", following)])
    screen.result(report)
    return OK


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
