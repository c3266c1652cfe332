"""`metafunc compare`: train algorithms on a task family, or take finished runs, and test all on the same new tasks."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen
from metafunc_cli.errors import OK, UsageError, unknown
from metafunc_cli.settings import compose, user_builders
from metafunc_cli.settings.arguments import VARIADIC, Taken, taken
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, MODELS
from metafunc_cli.settings.names import choose, row
from metafunc_cli.settings.options import Comparison, Training
from metafunc_cli.settings.run_argument import HELP, parse

WHAT = (
    "Train every ALGORITHM on TASKS with every seed, or take finished RUNs, meta-test all on the same new tasks, and "
    "compare: metafunc compare --algorithms maml platipus --tasks sine_or_line --seeds 3 --steps 2000, or metafunc "
    "compare RUN RUN. A training that the folder holds already is not repeated, an interrupted one goes on.\n\n"
    "All options of metafunc train can be given too: --inner-lr 0.01 for every algorithm that has it, --maml.inner-lr "
    "0.01 for one, and --model, --model.hidden, --data.num-shots and --num-tasks for all.\n\n"
    "Intervals are 95 %, by a bootstrap over seeds and tasks; differences are to the first, paired by task."
)
NOT_HERE = {
    "--seed": "--seeds",
    "--test-tasks": "--test-tasks",
    "--test-steps": "--test-steps",
    "--steps": "--steps",
}
"""Checking of `train` that are this command's own, under the same or another name."""


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc compare --help`."""
    own, names, passed = _sorted(argv)
    found: Comparison = parse("metafunc compare", WHAT, own, {"comparison": Comparison()}).comparison
    _check(found, names, passed)
    screen = Screen(json=found.json, quiet=found.quiet)
    user_builders.look_in_current_folder()
    requests = {} if names else _requests(screen, found, passed)
    out = Path(found.out or ("runs/compare" if names else f"runs/compare-{found.tasks}"))
    if names and (out / "config.json").exists():
        raise UsageError(f"{out} is a run; give --out another folder.")
    from metafunc.data.atomic_write import write_json, write_text
    from metafunc.results import comparison
    from metafunc.results.tables import to_csv, to_markdown
    from metafunc.training.events import Interrupted
    from metafunc_cli.commands import trials

    try:
        trained = trials.from_runs(names, imports=found.imports) if names else trials.train(screen, requests, out)
    except Interrupted as stopped:
        screen.say(f"{stopped} Go on with:\n  metafunc compare {shlex.join(argv)}")
        return 128 + stopped.signal
    entries = trials.meta_test(screen, trained, found)
    report = comparison.compare(trained[0].tasks, entries)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "compare.json", report)
    write_text(out / "compare.csv", to_csv(report))
    write_text(out / "compare.md", to_markdown(report))
    wrote = [out / f"compare.{kind}" for kind in ("json", "csv", "md")]
    show(screen.out, report)
    if not found.no_figures:
        wrote += trials.draw(trained, entries, out / "figures")
    show_lines(screen.out, [("wrote", ", ".join(map(str, wrote)))])
    screen.result(report)
    return OK


def show(console: Console, report: Mapping[str, Any]) -> None:
    """Print a comparison: a row a learner, its difference to the first below each metric."""
    from metafunc.evaluation.metrics.table import label
    from metafunc.results.tables import explained, metrics_of, spoken

    rows = report["rows"]
    names = metrics_of(rows[0])
    title = f"  {report['num_tasks']} new tasks, the same for all"
    console.print(Text.assemble((f"comparison on {report['tasks']}", "bold"), (title, "dim")))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in (*map(label, names), "seconds", "parameters"):
        table.add_column(name, justify="right")
    for entry in rows:
        trials: list[Text] = []
        for m in names:
            cell = Text(spoken(entry[m]["mean"], entry[m]["ci95"], m), style="bold" if m in entry["best"] else "")
            if m in entry["paired"]:
                paired = entry["paired"][m]
                cell.append(f"\nΔ {spoken(paired['diff'], paired['ci95'], m, signed=True)}", style="not bold dim")
            trials.append(cell)
        about = f"\n{_counted(len(entry['seeds']), 'seed')}, {_counted(entry['steps'], 'step')}"
        seconds = "" if entry["seconds"] is None else f"{entry['seconds']:.0f}"
        table.add_row(Text.assemble(entry["algorithm"], (about, "dim")), *trials, seconds, f"{entry['parameters']:,}")
    console.print(table)
    console.print(explained(report), style="dim")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _sorted(argv: Sequence[str]) -> tuple[list[str], list[str], list[tuple[str, list[str]]]]:
    """This command's own flags, the names that belong to none, and the other flags with their values."""
    own = {**taken("", Comparison), **dict.fromkeys(HELP, Taken(0, str))}
    known = {**_of_train(), **own}
    mine: list[str] = []
    names: list[str] = []
    passed: list[tuple[str, list[str]]] = []
    waiting = [*argv]
    while waiting:
        token = waiting.pop(0)
        if not _is_flag(token):
            names.append(token)
            continue
        given, joined, _ = token.partition("=")
        flag = _spelled(given)
        algorithm, dot, rest = flag.removeprefix("--").partition(".")
        of_one = f"--{rest}" if dot and algorithm in ALGORITHMS else flag
        number = 0 if joined else known.get(of_one, Taken(1, str)).number
        values: list[str] = []
        while waiting and not _is_flag(waiting[0]) and (number == VARIADIC or len(values) < number):
            values.append(waiting.pop(0))
        if flag in own:
            mine += [token, *values]
        else:
            passed.append((flag, [token.replace(given, of_one, 1), *values]))
    return mine, names, passed


def _spelled(flag: str) -> str:
    """A flag in its usual spelling: with hyphens, but for an algorithm's name before the dot."""
    hyphened = flag.replace("_", "-")
    algorithm, dot, rest = hyphened.removeprefix("--").partition(".")
    name = algorithm.replace("-", "_")
    return f"--{name}.{rest}" if dot and name in ALGORITHMS else hyphened


def _is_flag(token: str) -> bool:
    return token.startswith("-") and not token[1:2].isdigit() and token[1:2] not in (".", "")


def _of_train(algorithm: str | None = None, tasks: str | None = None, model: str | None = None) -> dict[str, Taken]:
    """The flags that `train` knows, of everything or of one algorithm, family and network."""
    parts: list[tuple[str, type]] = [("", Training)]
    if algorithm is not None and tasks is not None:
        names, _ = choose([algorithm, tasks], model, {}, None)
        parts += [(prefix, row(section, names[section]).fields) for section, prefix in SECTIONS.items()]
    else:
        tables = {"": ALGORITHMS, "data": FAMILIES, "model": MODELS}
        parts += [(prefix, entry.fields) for prefix, table in tables.items() for entry in table.values()]
    found = {"--model": Taken(1, str), "--init-from": Taken(1, str)}
    for prefix, fields in parts:
        found |= taken(prefix, fields)
    return {flag: takes for flag, takes in found.items() if flag not in NOT_HERE}


SECTIONS = {"algorithm": "", "tasks": "data", "model": "model"}


def _check(found: Comparison, names: Sequence[str], passed: Sequence[tuple[str, list[str]]]) -> None:
    example = "metafunc compare --algorithms maml platipus --tasks sine_or_line --seeds 3 --steps 2000"
    if names and (found.algorithms or found.tasks):
        raise UsageError(
            "compare takes runs, or --algorithms and --tasks to train, and not both: "
            f"{', '.join(names)} is one too many."
        )
    if names:
        if passed:
            raise UsageError(f"{passed[0][0]} is for trainings, and {', '.join(names)} are finished: leave it out.")
        for name in names:
            if not (Path(name) / "config.json").exists():
                raise UsageError(f"{name} is no run: it has no config.json. Give folders that metafunc train wrote.")
        return
    if not found.algorithms or found.tasks is None:
        missing = "--algorithms" if not found.algorithms else "--tasks"
        raise UsageError(f"compare needs {missing}, or the folders of finished runs. For example: {example}")
    for algorithm in found.algorithms:
        if not user_builders.is_own(algorithm) and algorithm not in ALGORITHMS:
            raise unknown("algorithm", algorithm, ALGORITHMS)
    if found.tasks not in FAMILIES:
        raise unknown("task family", found.tasks, FAMILIES)
    if len({*found.algorithms}) < len(found.algorithms):
        raise UsageError(f"--algorithms names one of {', '.join(found.algorithms)} twice.")
    for name, value, least in (
        ("--seeds", found.seeds, 1), ("--test-tasks", found.test_tasks, 1), ("--test-steps", found.test_steps, 0)
    ):  # fmt: skip
        if value < least:
            raise UsageError(f"{name} is {value}; it has to be at least {least}.")


def _requests(
    screen: Screen, found: Comparison, passed: Sequence[tuple[str, list[str]]]
) -> dict[str, list[compose.Request]]:
    """By algorithm, what `train` would be asked for, a seed each."""
    assert found.tasks is not None
    model = next((words[-1] for flag, words in passed if flag == "--model"), None)
    known = {algorithm: _of_train(algorithm, found.tasks, model) for algorithm in found.algorithms}
    flags: dict[str, list[str]] = {algorithm: [] for algorithm in found.algorithms}
    # What is said of one algorithm counts more than what is said of all, in whatever order they stand.
    for flag, words in sorted(passed, key=lambda each: each[0].removeprefix("--").partition(".")[0] in ALGORITHMS):
        if flag in NOT_HERE:
            raise UsageError(f"{flag} is an option of train; compare has {NOT_HERE[flag]}.")
        owner, dot, rest = flag.removeprefix("--").partition(".")
        if dot and owner in ALGORITHMS:
            if owner not in known:
                raise UsageError(f"{flag} is for {owner}, which --algorithms does not name.")
            takers = [owner] if f"--{rest}" in known[owner] else []
        else:
            takers = [algorithm for algorithm in known if flag in known[algorithm]]
        if not takers:
            raise unknown("option", flag, sorted({f for each in known.values() for f in each}))
        for algorithm in takers:
            flags[algorithm] += words
        others = [] if dot and owner in ALGORITHMS else [name for name in known if name not in takers]
        if others:
            screen.say(f"note: {flag} is for {', '.join(takers)}; {', '.join(others)} has no such option.")
    steps = [] if found.steps is None else ["--steps", str(found.steps)]
    requests = {
        algorithm: [
            compose.read([algorithm, found.tasks, *steps, *flags[algorithm], "--seed", str(seed)])
            for seed in range(found.seeds)
        ]
        for algorithm in found.algorithms
    }
    return {
        algorithm: [
            dataclasses.replace(r, settings=dataclasses.replace(r.settings, data=compose.anchored(r.settings.data)))
            for r in each
        ]
        for algorithm, each in requests.items()
    }
