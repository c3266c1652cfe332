"""`metafunc optimise`: find the best row of a pool in few evaluations, with a meta-learned surrogate."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from metafunc.checks import counted
from metafunc.training import record
from metafunc_cli.commands.train import new_folder
from metafunc_cli.display.blocks import Column, blocks
from metafunc_cli.display.progress import Callback, progress
from metafunc_cli.display.results import show_lines, tidy
from metafunc_cli.display.screen import Screen, if_stopped, refusals
from metafunc_cli.errors import OK, UsageError
from metafunc_cli.settings import compose, space_argument
from metafunc_cli.settings.check_least import check_least
from metafunc_cli.settings.decision_options import Optimising
from metafunc_cli.settings.names import look_over_imports
from metafunc_cli.settings.run_or_training import Asked, run_or_training

WHAT = (
    "Bayesian optimisation with a meta-learner as the surrogate: metafunc optimise RUN, or metafunc optimise ALGORITHM "
    "TABLE | TASKS with the options of metafunc train, which trains it first. The rows of each test task are a pool, "
    "and the table shows the regret that is left after each number of evaluations (x 100: 0 for the best row of the "
    "task, 100 for the worst), beside random choice, a Gaussian process from scratch, RGPE, and where tasks share "
    "their rows the best configuration on average and an empirical Gaussian process.\n\n"
    "For a search of your own: metafunc optimise RUN OBSERVED.csv --pool CANDIDATES.csv prints what to try next, and "
    "metafunc optimise RUN --evaluated OBSERVED.csv --box COLUMN:LOW..HIGH ... where in a continuous box."
)
COLUMNS = (1, 3, 5, 10, 20, 30, 50, 100)
"""Numbers of evaluations that the table shows."""


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc optimise --help`."""
    asked = run_or_training("optimise", argv, WHAT, Optimising)
    own: Optimising = asked.own
    check_least(own, evaluations=1, test_pools=1, rows=2, top=1)
    if own.box or own.evaluated:
        return _suggest_in_box(asked, own)
    if asked.run is not None and (asked.tables or own.pool):
        return _suggest(asked, own)
    if own.pool:
        raise UsageError("--pool is for a search of your own, which takes a trained run: metafunc optimise RUN ...")
    screen = Screen(json=asked.shown.json, quiet=asked.shown.quiet)
    run = run_of(asked, screen)
    from metafunc.results import optimise

    again = f"Nothing is kept of an optimisation that is not finished. Begin again with:\n  {command('optimise', argv)}"
    with if_stopped(screen, again), refusals(), progress(screen.err, "optimising", quiet=screen.quiet) as advance:
        report = optimise.optimise_tasks(
            optimise.trained(run, imports=True),  # what it names was looked over, or typed
            acquisition=own.acquisition,
            num_evaluations=own.evaluations,
            minimise=own.minimise,
            num_tasks=own.test_pools,
            num_rows=own.rows,
            seed=own.choice_seed,
            on_progress=lambda name, done, total: advance(done, total, name),
        )
    if report["of_training"]:
        screen.say("warning: the run was trained on all tasks, and these are tasks of its training.")
    show_report(
        screen, run, report, f"optimise-{own.acquisition}{'-minimise' * own.minimise}",
        title="Regret of Bayesian optimisation", y="Normalised regret (× 100)", x="Evaluations", scale=100.0,
    )  # fmt: skip
    return OK


def command(name: str, argv: Sequence[str]) -> str:
    """The command line as it was typed."""
    return shlex.join(["metafunc", name, *argv])


def run_of(
    asked: Asked, screen: Screen, check: Callable[[Mapping[str, Any], Any], None] = lambda config, learner: None
) -> Path:
    """The run that was named, or one that is trained here, if its configuration and its learner pass a check."""
    if asked.run is not None:
        file = asked.run / "config.json"
        look_over_imports(record.config(asked.run), file, allowed=asked.shown.imports)
        return asked.run
    request = compose.read(asked.words, asked.typed)
    if request.output.out and (Path(request.output.out) / "config.json").exists() and not request.output.overwrite:
        raise UsageError(
            f"{request.output.out} holds a run already: name it in place of the algorithm, or take another --out."
        )
    if request.output.dry_run or request.output.resume:
        raise UsageError("--dry-run and --resume are for metafunc train: train there, and name the run here.")
    from metafunc.training.config import build, train

    settings = request.settings
    if request.note:
        screen.say(request.note)
    data = compose.anchored(settings.data)
    config = {**settings.to_json(), "tasks": {"name": settings.names["tasks"], **compose.plain(vars(data))}}
    with refusals(settings):
        built = build(config, imports=True)
        check(config, built[0])
        folder = Path(request.output.out) if request.output.out else new_folder(settings.names)
        with progress(screen.err, settings.names["algorithm"], quiet=screen.quiet) as advance:
            train(
                config,
                out=folder,
                overwrite=request.output.overwrite,
                imports=request.output.imports,
                on_event=Callback(screen, advance),
                built=built,
            )
    return folder


def show_report(
    screen: Screen, run: Path, report: dict[str, Any], name: str, *, title: str, y: str, x: str, scale: float
) -> None:
    """Write a report, its table and its picture into the run's folder, and show them."""
    from metafunc.data.atomic_write import write_json, write_text
    from metafunc.results import decisions
    from metafunc.results.figures.regret import decision_curves
    from metafunc.results.figures.style import save
    from metafunc_cli.display.drawing import prepare

    prepare()
    counts = [point["evaluations"] for point in report["rows"][0]["curve"]]
    shown = [count for count in COLUMNS if count in counts] or counts
    shown += [counts[-1]] if counts[-1] not in shown else []
    cells = decisions.table(report["rows"], shown, scale=scale, digits=1 if scale > 1 else 3)
    pools = "-".join(dict.fromkeys(map(str, report["pool_rows"])))
    groups = report.get("groups")
    tasks = counted(report["num_tasks"], "new tasks" if groups is None else "episodes")
    tasks += "" if groups is None else f" of {counted(groups['number'], groups['of'])}"
    over = f"{tasks} of {report['tasks']}, pools of {pools} rows"
    file, picture = run / f"{name}.json", run / "figures" / f"{name}.png"
    write_json(file, report)
    write_text(file.with_suffix(".md"), decisions.to_markdown(cells))
    figure = decision_curves(
        report["rows"], title=title, subtitle=f"Mean over {over}. Band: its 95 % interval.", y=y, x=x, scale=scale
    )
    save(figure, picture)
    screen.out.print(Text.assemble((f"{y} after so many {x.lower()}", "bold"), (f"  {over}", "dim")))
    head, *rows = cells
    columns = [Column(name, each) for name, *each in zip(head, *rows, strict=True)]
    for table in blocks(screen.out, columns[0], columns[1:], ["bold", *[""] * (len(rows) - 1)]):
        screen.out.print(table)
    screen.out.print("±: 95 % interval over tasks. *: differs from the first row, paired by task.\n", style="dim")
    show_lines(screen.out, [("wrote", str(file)), ("drew", str(picture))])
    screen.result(report)


def _suggest(asked: Asked, own: Optimising) -> int:
    """The next row of a table to try."""
    assert asked.run is not None
    if len(asked.tables) != 1 or own.pool is None:
        raise UsageError(
            "A search of your own takes a run, a table of what was observed, and one of what can be tried: metafunc "
            f"optimise {asked.run} OBSERVED.csv --pool CANDIDATES.csv."
        )
    screen = Screen(json=asked.shown.json, quiet=True)
    look_over_imports(record.config(asked.run), asked.run / "config.json", allowed=asked.shown.imports)
    from metafunc.results import optimise

    with refusals():
        found = optimise.suggest(
            optimise.trained(asked.run, imports=asked.shown.imports),
            observed=asked.tables[0],
            pool=own.pool,
            acquisition=own.acquisition,
            minimise=own.minimise,
            target=own.target,
            top=own.top,
            seed=own.choice_seed,
        )
    target = f"log {found['target']}" if found["logarithm"] else found["target"]
    if found["tried"]:
        screen.say(f"note: {own.pool} has {counted(found['tried'], 'rows')} observed already, not suggested again.")
    for each in found["suggestions"]:
        inputs = ", ".join(f"{name} {value}" for name, value in each["inputs"].items())
        spread = "" if each["sd"] is None else f" ± {tidy(each['sd'])}"
        shown = f"{target} {tidy(each['mean'])}{spread}, {found['acquisition']} {tidy(each['acquisition'])}"
        show_lines(screen.out, [("try", f"row {each['row']}: {inputs}"), ("expect", shown)])
    screen.result(found)
    return OK


def _suggest_in_box(asked: Asked, own: Optimising) -> int:
    """The next points of a box to evaluate."""
    if own.pool:
        raise UsageError("A search is of a table of candidates, --pool, or of a box, --box: leave one out.")
    if asked.run is None or asked.tables or not own.box:
        raise UsageError(
            "A search of a box takes a run, a range for every input, and a table of what has been evaluated if there "
            "is one: metafunc optimise RUN --box COLUMN:LOW..HIGH ... --evaluated OBSERVED.csv."
        )
    box = space_argument.box_of(own.box)
    screen = Screen(json=asked.shown.json, quiet=True)
    look_over_imports(record.config(asked.run), asked.run / "config.json", allowed=asked.shown.imports)
    from metafunc.results.optimise import trained
    from metafunc.results.optimise_box import suggest_in_box

    try:
        import botorch  # noqa: F401 - whether it is there
    except ModuleNotFoundError as error:
        if error.name != "botorch":
            raise
        raise UsageError("--box needs botorch: pip install 'metafunc[botorch]'") from error
    with refusals():
        found = suggest_in_box(
            trained(asked.run, imports=asked.shown.imports),
            box=box,
            evaluated=own.evaluated,
            acquisition=own.acquisition,
            minimise=own.minimise,
            target=own.target,
            top=own.top,
            seed=own.choice_seed,
        )
    for each in found["suggestions"]:
        inputs = ", ".join(f"{name} {tidy(value)}" for name, value in each["inputs"].items())
        target = f"log {found['target']}" if found["logarithm"] else found["target"]
        shown = f"{target} {tidy(each['mean'])}"
        if each["sd"] is not None:
            ends = f"{tidy(each['q05'])} to {tidy(each['q95'])}"
            shown += f" ± {tidy(each['sd'])}, 90 % of {found['target']} from {ends}"
        show_lines(screen.out, [("try", inputs), ("expect", shown)])
    screen.result(found)
    return OK
