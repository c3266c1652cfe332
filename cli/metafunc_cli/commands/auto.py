"""`metafunc auto`: try learners on a table, each tested on tasks that it was not trained on, and train the best one.

The stack, a mixture of the learners by weights from held-out rows, is one of those that are tried.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc.checks import above, at_least
from metafunc_cli.commands import eval
from metafunc_cli.commands.train import new_folder
from metafunc_cli.display.comparison import show
from metafunc_cli.display.progress import Callback, progress
from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen, if_stopped, refusals
from metafunc_cli.errors import OK, UsageError
from metafunc_cli.settings import compose
from metafunc_cli.settings.arguments import ONE, Taken, taken, tokens
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES
from metafunc_cli.settings.options import Choosing, Output, Training
from metafunc_cli.settings.run_argument import HELP, parse

if TYPE_CHECKING:
    from metafunc.training.portfolio import Chosen

WHAT = (
    "Choose the learner that predicts the tasks of a TABLE best, and train it on all of them: metafunc auto TABLE.csv "
    "--data.task-column patient --data.target-columns dose --data.num-shots 5. Columns that are not named are guessed. "
    "Each learner of a portfolio, from ridge regression on the support set to a neural process, is trained once for "
    "each fold of the tasks and tested on the fold that was left out; the table shows them all, the best first, and "
    "the mixture of them that predicts held-out rows best, their stack. What wins is trained, one of them or the "
    "stack.\n\n"
    "The options --data.*, --seed, --out, --overwrite, --json and --quiet are those of metafunc train. metafunc train "
    "auto is the same."
)
OF_TRAIN = ("--seed", "--out", "--overwrite", "--json", "--quiet")
"""The options of `train`, beside those of the data, that mean the same here."""
STACK = "stack"
PLACEHOLDER = "ridge"
"""A learner of regressions, under whose name the other options are read."""


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc auto --help`."""
    mine, rest = _sorted(argv)
    asked: Choosing = parse("metafunc auto", WHAT, mine, {"choosing": Choosing()}).choosing
    try:
        above(0, **{"--minutes": asked.minutes})
        at_least(3, **{"--folds": asked.folds})
    except ValueError as error:
        raise UsageError(str(error)) from error
    request = compose.read([PLACEHOLDER, *rest], ("metafunc", "auto", *argv))
    tasks = _tasks(request)
    output, seed = request.output, request.settings.training.seed
    if output.out and (Path(output.out) / "config.json").exists() and not output.overwrite:
        raise UsageError(f"{output.out} holds a run already: take another --out, or delete it by --overwrite.")
    from metafunc.data.atomic_write import write_json, write_text
    from metafunc.results.comparison import Entry, compare
    from metafunc.results.tables import to_csv, to_markdown
    from metafunc.results.units import errors_in_units, with_rmse_in_units
    from metafunc.training import portfolio
    from metafunc.training.build import tasks_of
    from metafunc.training.config import train
    from metafunc.training.run import Run

    screen = Screen(json=output.json, quiet=output.quiet)
    if request.note:
        screen.say(request.note)
    again = f"Nothing is kept of a choice that is not finished. Begin again with:\n  metafunc auto {shlex.join(argv)}"
    with if_stopped(screen, again), refusals(request.settings, ("metafunc", "auto", *argv)):
        with progress(screen.err, "choosing", quiet=screen.quiet) as advance:
            chosen = portfolio.choose(
                lambda fold: tasks_of({"tasks": {**tasks, "fold": fold}}),
                minutes=asked.minutes,
                num_folds=asked.folds,
                seed=seed,
                on_progress=lambda name, done, total: advance(round(done), round(total), f"s  {name}"),
            )
        entries = [
            Entry(one.candidate.name, (seed,), (one.evaluation,), one.steps, one.seconds, one.parameters)
            for one in chosen.tested
        ]
        report = compare(tasks["name"], entries)
        folds = _folds(chosen)
        with_rmse_in_units(folds, report["rows"], entries)
        show(screen.out, report)
        if said := errors_in_units({row["algorithm"]: row.get("rmse_in_units", {}) for row in report["rows"]}):
            screen.out.print(f"{said}\n", soft_wrap=True)
        screen.say(_why(chosen, report))
        run = Run(Path(output.out) if output.out else new_folder({"algorithm": "auto", "tasks": tasks["name"]}))
        config = chosen.best.config(compose.plain({**tasks, **portfolio.ALL}), seed=seed)
        with progress(screen.err, f"{chosen.best.name} on all tasks", quiet=screen.quiet) as advance:
            train(config, out=run.path, overwrite=output.overwrite, on_event=Callback(screen, advance))
        run.write(run.meta_test.name, _as_tested(chosen, config, str(run.path)))
        write_json(run.path / "auto.json", report)
        write_text(run.path / "auto.csv", to_csv(report))
        write_text(run.path / "auto.md", to_markdown(report))
    names = {"algorithm": config["algorithm"]["name"], "tasks": tasks["name"], "model": "mlp"}
    following = f"{eval.command('predict', run.path, names)} --support S.csv --query Q.csv --out predictions.csv"
    show_lines(screen.out, [("run", str(run.path)), ("table", f"{run.path / 'auto.md'}"), ("next", following)])
    screen.result({"run": str(run.path), **_found(chosen), **report})
    return OK


def _found(chosen: "Chosen") -> dict[str, Any]:
    """What was chosen, as JSON has it."""
    without = {"left_out": dict(chosen.left_out), "shortened": dict(chosen.shortened)}
    return {"best": chosen.best.name, "stack": chosen.shares, **without}


def _tasks(request: compose.Request) -> dict[str, Any]:
    """The section `tasks` of the configurations, whose parts auto decides.

    Raises:
        UsageError: they are of no table, or are divided already.
    """
    name, data = request.settings.names["tasks"], compose.anchored(request.settings.data)
    if name != compose.TABULAR:
        raise UsageError(f"auto chooses for a table of a regression, and {name} is none: give it a TABLE.csv.")
    usual = compose.instance(FAMILIES[name].fields, {"path": ""})
    if data.fold or data.split_column or data.fractions != usual.fractions:
        raise UsageError(
            "auto leaves out each part of the tasks in turn: give --folds, and not --data.fold, --data.split-column or "
            "--data.fractions."
        )
    return {"name": name, **compose.plain(vars(data))}


def _sorted(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """This command's own flags, and the words that are as those of `train`."""
    own = {**taken("", Choosing), **dict.fromkeys(HELP, Taken(0, str))}
    others = {**taken("", Training), **taken("", Output), **taken("data", FAMILIES[compose.TABULAR].fields)}
    mine: list[str] = []
    rest: list[str] = []
    given = False
    for token in tokens(argv, lambda flag: {**others, **own}.get(flag, ONE)):
        if not token.flag:
            _check_name(token.words[0])
        if token.flag in others and token.flag not in OF_TRAIN and not token.flag.startswith("--data."):
            raise UsageError(f"auto decides itself what {token.flag} is: leave it out, and see metafunc auto --help.")
        (mine if token.flag in own else rest).extend(token.words)
        given = given or token.flag in ("", "--data.path")
    if not given and not HELP & {*mine}:
        raise UsageError("auto needs a table: metafunc auto TABLE.csv.")
    return mine, rest


def _as_tested(chosen: "Chosen", config: dict[str, Any], run: str) -> dict[str, Any]:
    """The cross-validated meta-test as that of the run, which has no tasks left to test on."""
    from metafunc.evaluation.meta_test import report

    training, (best, *_) = config["training"], chosen.tested
    names = {"algorithm": config["algorithm"]["name"], "tasks": config["tasks"]["name"]}
    return report(best.evaluation, **names, run=run, seed=training["seed"], steps=training["steps"])


def _check_name(word: str) -> None:
    """Refuse the names of the house, which are no tables; but for the family of tables."""
    if word in ALGORITHMS:
        raise UsageError(
            f"auto chooses among algorithms: leave out {word}, or train it by metafunc train {word} TABLE.csv."
        )
    if word in FAMILIES and word != compose.TABULAR:
        raise UsageError(f"auto chooses for a table of a regression, and {word} is none: give it a TABLE.csv.")


def _folds(chosen: "Chosen") -> list[tuple[Mapping[str, Any], int]]:
    """Of each fold the info of its family, and how many tasks were tested."""
    from metafunc.training.candidates import episodes_of

    parts = next(one.parts for one in chosen.tested if one.parts)
    return [(part.family.info, episodes_of(part.family)) for part in parts]


def _why(chosen: "Chosen", report: dict[str, Any]) -> str:
    """What was chosen, and how sure that is, in a few sentences."""
    best, *others = report["rows"]
    equal = [row["algorithm"] for row in others if (row["paired"]["nll"]["low"] or 0.0) <= 0.0]
    doubt = f"; {'; '.join(equal)} may be as good" if equal else ""
    late, wild = ([name for name, why in chosen.left_out.items() if why == of] for of in ("no time", "diverged"))
    more = f" There was no time for: {'; '.join(late)}." if late else ""
    more += f" Trained for fewer steps than it should be: {'; '.join(chosen.shortened)}." if chosen.shortened else ""
    more += " Give more --minutes." if more else ""
    more += f" Diverged: {'; '.join(wild)}." if wild else ""
    shares = ", ".join(f"{name} {share:.2f}" for name, share in chosen.shares.items())
    mixed = f" The stack is {shares}." if shares else ""
    name = "The stack" if best["algorithm"] == STACK else best["algorithm"]
    chosen_by = f"The best of {len(report['rows'])} scores is somewhat too good for new tasks." if others else ""
    won = f"{name} predicts the tasks that were left out best, by the NLL{doubt}."
    parts = [won if others else f"{name} is the only one that was tested.", chosen_by, mixed.strip()]
    return " ".join([*filter(None, parts), f"It is trained on all tasks now.{more}"])
