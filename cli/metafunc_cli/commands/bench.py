"""`metafunc bench`: a suite of comparisons, from one command to one table with ranks, pictures and citations."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from metafunc_cli.commands import compare, compare_requests
from metafunc_cli.commands.same_tasks import check_same_tasks
from metafunc_cli.commands.trial_cells import checked, folder_name, numbered, refuse_two_ways
from metafunc_cli.display.progress import progress
from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import OK, UsageError, unknown
from metafunc_cli.presets import citations
from metafunc_cli.settings.arguments import ONE, Taken, taken, tokens
from metafunc_cli.settings.bench_options import Benching
from metafunc_cli.settings.comparison_options import Comparison
from metafunc_cli.settings.compose import Request
from metafunc_cli.settings.run_argument import HELP, parse
from metafunc_cli.suites import exported, further
from metafunc_cli.suites import suite as suites
from metafunc_cli.suites.narrowed import data_of, line, narrowed
from metafunc_cli.suites.plan import Requests, planned, shown
from metafunc_cli.suites.setting import as_in_file, at
from metafunc_cli.suites.suite import Family, Suite

WHAT = (
    "Train every learner of a SUITE on every one of its task families, test all on the same tasks, and put them into "
    "one table, with average ranks, what a score costs, and the papers to cite: metafunc bench regression-1d --seeds 3 "
    "--minutes 60 --out DIR. A SUITE is one of those that metafunc bench --list shows, or a file of your own, "
    "SUITE.toml.\n\n"
    "Every family is a metafunc compare of its own (--show prints them) in a folder of its own; further tests of the "
    "same trainings follow it. A training that is there already is not repeated, and an interrupted one goes on.\n\n"
    "Intervals are 95 %, over seeds and tasks; ranks are over the families."
)


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc bench --help`."""
    name, flags = _sorted(argv)
    usage = f"metafunc bench {shlex.quote(name)}" if name else "metafunc bench"
    asked: Benching = parse(usage, WHAT, flags, {"benching": Benching()}).benching
    if asked.list:
        return _list(asked)
    if name is None:
        raise UsageError(f"bench needs a suite: {', '.join(suites.known())}, or a file of your own, SUITE.toml.")
    refuse_two_ways(asked)
    suite, steps = narrowed(suites.read(name), asked)
    out = Path(asked.out or f"runs/bench-{suite.name}{'-quick' * asked.quick}")
    suite = exported.with_tables(suite, out)
    if asked.show:
        _looked_over(suite, steps, read=False)
        for family in suite.families:
            print(shown(line(suite, family, steps), out / family.name))
            for words in further.commands(suite, family, out / family.name).values():
                print("metafunc", shlex.join(words))
        return OK
    _needs_scipy()
    exported.export(suite, out)
    requests = _looked_over(suite, steps)
    cell = None if asked.cell is None else _cell(asked.cell, requests)
    screen = Screen(json=asked.json, quiet=asked.quiet)
    again = f"metafunc bench {shlex.join(argv)}"
    waits = partial(screen.say, f"Another process makes the plan of {out}, and this one waits for it.")
    with progress(screen.err, "how long steps take", quiet=asked.quiet) as advance:
        plan = planned(suite, asked, steps, requests, out, lambda what, done, total: advance(done, total, what), waits)
    if cell is not None:
        return _trained(screen, asked, *cell, plan, out, again)
    codes = _compared(screen, suite, asked, plan, out, again)
    code = next((each for each in codes.values() if each), OK)
    whole = tuple(family for family in suite.families if codes.get(family.name) == OK)
    if code > 128 or not whole:  # a signal, or nothing to show
        return code
    for name in (name for name, each in codes.items() if each):
        screen.say(f"{name} is left out of the table: a learner is missing.")
    return _reported(screen, replace(suite, families=whole), asked, plan, requests, out) or code


def _sorted(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The suite, and the flags."""
    known = {**taken("", Benching), **dict.fromkeys(HELP, Taken(0, str))}
    names: list[str] = []
    flags: list[str] = []
    suite = {*suites.known()}
    ends = lambda flag, word: word in suite or word.endswith(".toml")  # noqa: E731 - after --families, say
    for token in tokens(argv, lambda flag: known.get(flag, ONE), ends=ends):
        (flags if token.flag else names).extend(token.words)
    if len(names) > 1:
        raise UsageError(f"bench takes one suite, not {len(names)}: {', '.join(names)}.")
    return (names[0] if names else None), flags


def _list(asked: Benching) -> int:
    screen = Screen(json=asked.json, quiet=asked.quiet)
    found = [suites.read(name) for name in suites.known()]
    rows: list[dict[str, Any]] = [
        {
            "suite": each.name,
            "about": each.about,
            "learners": [*each.learners],
            "references": [*each.references],
            "families": [family.name for family in each.families],
            "trainings": len(each.learners) * len(each.families) * each.seeds,
        }
        for each in found
    ]
    for row in rows:
        screen.out.print(row["suite"], style="bold")
        screen.out.print(f"  {row['about']}")
        for key in ("learners", "references", "families"):
            screen.out.print(f"  {key}: {', '.join(row[key]) or 'none'}")
    screen.result({"suites": rows})
    return OK


def _needs_scipy() -> None:
    try:
        import scipy.stats  # noqa: F401 - said before hours of training, and not after
    except ImportError as error:
        raise UsageError("bench takes its tests of ranks from scipy: pip install 'metafunc[bench]'") from error


def _looked_over(suite: Suite, steps: int | None, *, read: bool = True) -> Requests:
    """What `train` would be asked for by each cell; whatever cannot be built or judged is refused, with its place.

    Args:
        suite: the suite.
        steps: of every training, where they are given.
        read: whether data are read; otherwise only settings are looked at where a family has some.
    """
    silent, found = Screen(json=False, quiet=True, silent=True), {}
    for family in suite.families:
        with at(f"{suite.file.name}: families.{family.name}"), as_in_file(family.settings):
            own, _, passed = compare_requests.read(line(suite, family, steps))
            found[family.name] = compare_requests.requested(silent, own, passed)
            if not read and "path" in data_of(family):
                continue
            built = {}
            for algorithm, (request, *_) in found[family.name].items():
                with at(algorithm), refusals(request.settings):
                    built[algorithm] = _built(request)
            with at("metric"):
                _check_metric(family.metric, built[algorithm][1], own.split)
            _check_further(family, built, {name: each for name, (each, *_) in found[family.name].items()}, own)
    return found


def _check_further(
    family: Family, built: Mapping[str, tuple[Any, Any]], requests: Mapping[str, Request], asked: Comparison
) -> None:
    """Refuse a split that the tasks do not have or learners do not share, and learners that rows cannot be added to."""
    from metafunc.evaluation.autoregressive import check_row_by_row

    for number, split in enumerate(family.splits):
        with at(f"splits[{number}]"):
            tasks = [(name, each, requests[name].settings.to_json()["tasks"]) for name, (_, each) in built.items()]
            check_same_tasks(tasks, replace(asked, split=split))
    for number, algorithm in enumerate(family.row_by_row):
        with at(f"row-by-row[{number}]: {algorithm}"), refusals():
            check_row_by_row(*built[algorithm])


def _built(request: Request) -> tuple[Any, Any]:
    """The learner and the tasks of a cell, which can be built, trained and validated as it asks for.

    Raises:
        ValueError: it cannot.
    """
    from metafunc.data import generator_for
    from metafunc.evaluation.validation import metric_to_follow
    from metafunc.training import config

    settings = request.settings.to_json()
    learner, family = config.build(settings, imports=False)
    config.check(settings, learner, family)
    training = request.settings.training
    if training.validate_by is not None and training.validate_every is not None:
        draws = generator_for(0, "look", 0)
        meta = learner.init(draws)
        task = learner.prepare(meta, family.validation(draws, 1), draws, step=None, num_steps=0)
        metric_to_follow(learner, meta, family, task, training.validate_by)
    return learner, family


def _check_metric(metric: str, tasks: Any, split: str) -> None:
    from metafunc.evaluation.metrics.table import METRICS, of_kind

    beyond = [name for name, row in METRICS.items() if tasks.kind in row.kinds and row.beyond is not None]
    known = [*of_kind(tasks.kind), *(beyond if split in tasks.optima else ())]
    if metric not in known:
        raise unknown("metric of these tasks", metric, known)


def _compared(
    screen: Screen, suite: Suite, asked: Benching, plan: dict[str, Any], out: Path, again: str
) -> dict[str, int]:
    """Train and test every family that a signal does not come before; by family the exit code."""
    codes = {}
    for number, family in enumerate(suite.families):
        words = [*plan["commands"][family.name], "--out", str(out / family.name)]
        words += [] if asked.figures else ["--no-figures"]
        words += ["--jobs", str(asked.jobs)] if asked.jobs != 1 else []
        words += ["--scheduler", asked.scheduler] if asked.scheduler is not None else []
        screen.say(f"family {number + 1} of {len(suite.families)}: {family.name}") if not asked.quiet else None
        _, code = compare.compared(screen, words, again)
        codes[family.name] = code or further.test(screen, suite, family, out / family.name, again)
        if codes[family.name] > 128:
            break
    return codes


def _cell(number: int, requests: Requests) -> tuple[str, int]:
    """The family of the training with a number, and its number among that family's."""
    cells = [
        (family, within, f"{family}/{folder_name(*trained)}")
        for family, by_algorithm in requests.items()
        for within, trained in enumerate(numbered(by_algorithm))
    ]
    return cells[checked(number, [name for *_, name in cells])][:2]


def _trained(
    screen: Screen, asked: Benching, family: str, within: int, plan: dict[str, Any], out: Path, again: str
) -> int:
    """Do one of the trainings of all families."""
    words = [*plan["commands"][family], "--out", str(out / family), "--cell", str(within)]
    report, code = compare.compared(screen, words, again)
    if report is not None:
        screen.result({**report, "cell": asked.cell})
    return code


def _reported(
    screen: Screen, suite: Suite, asked: Benching, plan: dict[str, Any], requests: Requests, out: Path
) -> int:
    from metafunc_cli.suites import outcome

    report = outcome.report_of(screen, suite, plan, out)
    cited = [
        citations.Used(algorithm, each[0].settings.names["tasks"], each[0].preset.source if each[0].preset else "")
        for by_algorithm in requests.values()
        for algorithm, each in by_algorithm.items()
    ]
    wrote = outcome.write(report, cited, out, paper=asked.paper)
    outcome.show(screen, report)
    show_lines(screen.out, [("in", str(out)), ("wrote", ", ".join(str(path.relative_to(out)) for path in wrote))])
    screen.result(report)
    return OK
