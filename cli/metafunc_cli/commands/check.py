"""`metafunc check`: whether the meta-gradients through a module, a loss or a learner can be trusted."""

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import tyro
from rich.console import Console
from rich.live import Live
from rich.text import Text

from metafunc_cli.display.claims import Claim, show_claims
from metafunc_cli.display.results import tidy
from metafunc_cli.display.screen import Screen
from metafunc_cli.errors import FAILURE, OK, UsageError, unknown
from metafunc_cli.settings import compose
from metafunc_cli.settings.checking_options import Checking
from metafunc_cli.settings.generated import ALGORITHMS
from metafunc_cli.settings.misspelt import look_over
from metafunc_cli.settings.run_argument import HELP, words_and_flags
from metafunc_cli.settings.signature import spoken
from metafunc_cli.settings.user_builders import is_own

if TYPE_CHECKING:
    from metafunc.testing.numerics.report import Report


HOLDS, FAILS, UNKNOWN = "holds", "fails", "not measured"
STYLES = {HOLDS: "green", FAILS: "bold red", UNKNOWN: "yellow"}
HEADS = ("identity", "error", "tolerance", "verdict")
DESCRIPTION = f"""Check the identities that meta-gradients have to fulfil, by routes that share nothing, in float64.

TARGET is package.module:name of a torch.nn.Module (a factory or an instance), of a MetaLearner (or what builds one),
or of a loss with --params and --batch; or an algorithm: {", ".join(ALGORITHMS)}. The current folder is importable.

Exit code: 0 all hold, 1 some fail or all gradients are zero, 2 usage."""


class OnCheck(Protocol):
    """Called before a check with its name, and after it with its verdict as well."""

    def __call__(self, name: str, verdict: str | None = None, /) -> None: ...


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc check --help`."""
    options = _options(argv)
    shape = _shape(options.input_shape)
    if not is_own(options.target) and options.target not in ALGORITHMS:
        raise unknown("algorithm", options.target, ALGORITHMS)
    if options.coherence:
        return _coherence(options)
    # Imported here, because help and usage errors answer without torch.
    from metafunc_cli.commands.check_target import checklist_of

    screen = Screen(json=options.json, quiet=options.quiet)
    found = checklist_of(options, shape)
    for note in found.notes:
        screen.out.print(note, markup=False, highlight=False, soft_wrap=True)
    with _showing(screen.err, [step.name for step in found.steps], quiet=screen.quiet) as on_check:
        reports = []
        for step in found.steps:
            on_check(step.name)
            reports.append(step.run())
            on_check(step.name, verdict(reports[-1]))
    rows = [_claim(step.name, step.summary, report) for step, report in zip(found.steps, reports, strict=True)]
    show_claims(screen.out, HEADS, rows)
    for report in reports:
        if verdict(report) != HOLDS:
            screen.out.print(Text.assemble((f"{report.identity}: ", "bold"), _reason(report)), soft_wrap=True)
    counted = {result: [verdict(report) for report in reports].count(result) for result in (HOLDS, FAILS, UNKNOWN)}
    screen.out.print(
        Text(f"{counted[HOLDS]} of {len(reports)} hold, {counted[FAILS]} fail, {counted[UNKNOWN]} {UNKNOWN}.")
    )
    held = all(report.holds for report in reports)
    screen.result(
        {
            "target": options.target,
            "holds": held,
            "not_measured": counted[UNKNOWN],
            "notes": [*found.notes],
            "identities": [_plain(step.summary, report) for step, report in zip(found.steps, reports, strict=True)],
        }
    )
    return OK if held else FAILURE


def _options(argv: Sequence[str]) -> Checking:
    """What was asked for; help ends the program here."""
    if not HELP & {*argv}:
        look_over("metafunc check", argv, [("", Checking(target=""))])
        targets, _ = words_and_flags(argv, ("", Checking))
        if len(targets) != 1:
            given = f"not {len(targets)}: {', '.join(targets)}" if targets else "such as maml, or package.module:name"
            raise UsageError(f"check takes one target, {given}.")
    with compose.uncoloured():
        return tyro.cli(Checking, args=[*argv], prog="metafunc check", description=DESCRIPTION)


def _coherence(options: Checking) -> int:
    if is_own(options.target):
        raise UsageError(f"--coherence is asked of an algorithm of the table, and {options.target} is yours: call "
                         "metafunc.evaluation.coherence.gaps on it.")  # fmt: skip
    for name in ("params", "batch", "input_shape", "input_dtype", "first_order"):
        if getattr(options, name):
            raise UsageError(f"--{name.replace('_', '-')} changes nothing beside --coherence: leave it out.")
    from metafunc_cli.commands.check_coherence import check
    from metafunc_cli.display.screen import refusals

    with refusals():
        return check(Screen(json=options.json, quiet=options.quiet), options.target)


def verdict(report: "Report") -> str:
    """In a word or two."""
    if not report.measured:
        return UNKNOWN
    return HOLDS if report.holds else FAILS


def _shape(given: str | None) -> tuple[int, ...] | None:
    if given is None:
        return None
    try:
        shape = tuple(int(part) for part in given.replace("x", ",").strip("()").split(",") if part.strip())
    except ValueError:
        shape = (0,)
    if any(size < 1 for size in shape):
        raise UsageError(f"--input-shape {given} is no shape: give sizes such as 3,32,32, without the batch axis.")
    return shape


def _claim(name: str, summary: str, report: "Report") -> Claim:
    result = verdict(report)
    numbers = ["", ""] if result == UNKNOWN else [_number(report.error), _number(report.tolerance)]
    return Claim(name, spoken(summary), numbers, Text(result, STYLES[result]))


def _reason(report: "Report") -> str:
    """Why it does not hold, or why it was not measured."""
    if not report.measured:
        return f"{UNKNOWN}. {report.why}"
    return f"{report.claim} Worst in {report.leaf}." if report.leaf else report.claim


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}" if math.isfinite(value) else tidy(None)


def _plain(summary: str, report: "Report") -> Mapping[str, Any]:
    values = {**dataclasses.asdict(report), "summary": summary, "verdict": verdict(report)}
    del values["measured"]  # The verdict tells it.
    if report.holds:
        values["claim"] = ""  # What would be wrong is not.
    for name in ("error", "tolerance"):
        values[name] = values[name] if math.isfinite(values[name]) else None
    return values


@contextmanager
def _showing(console: Console, names: Sequence[str], *, quiet: bool) -> Iterator[OnCheck]:
    """A list that fills on a terminal; elsewhere one line per check."""
    began: dict[str, float] = {}
    done: list[Text] = []

    def line(name: str, result: str | None) -> Text:
        seconds = time.monotonic() - began[name]
        ending = (f"{result:13}{seconds:6.1f} s", STYLES[result]) if result else ("...", "dim")
        return Text.assemble(f"{name:24}", ending)

    if quiet:
        yield lambda name, result=None, /: None
    elif console.is_terminal:
        with Live(console=console, transient=True, refresh_per_second=4) as live:

            def show(name: str, result: str | None = None, /) -> None:
                began.setdefault(name, time.monotonic())
                done.extend([line(name, result)] if result else [])
                waiting = [] if result else [line(name, None)]
                rest = Text(f"{len(names) - len(done)} left", "dim")
                live.update(Text("\n").join([*done, *waiting, rest]))
                if result:
                    del began[name]

            yield show
    else:

        def say(name: str, result: str | None = None, /) -> None:
            began.setdefault(name, time.monotonic())
            if result:
                console.print(line(name, result), soft_wrap=True)
                del began[name]

        yield say
