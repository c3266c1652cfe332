"""What a suite's folder trains, fixed before the first training and read again where it goes on."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metafunc.checks import counted
from metafunc_cli.display.screen import refusals
from metafunc_cli.errors import UsageError
from metafunc_cli.settings.bench_options import Benching
from metafunc_cli.settings.compose import Request
from metafunc_cli.suites import budget
from metafunc_cli.suites.narrowed import line, trained
from metafunc_cli.suites.setting import at
from metafunc_cli.suites.suite import Suite

NAME = "plan.json"
Requests = Mapping[str, Mapping[str, Sequence[Request]]]
"""By family and algorithm, what `train` would be asked for, one for each seed."""


def planned(
    suite: Suite,
    asked: Benching,
    steps: int | None,
    requests: Requests,
    out: Path,
    on_progress: Callable[[str, int, int], None],
    waits: Callable[[], None],
) -> dict[str, Any]:
    """The plan that a folder has, or a new one.

    Args:
        suite: what is compared.
        asked: how long it is trained.
        steps: of every training; None: the suite's own, or those of the minutes.
        requests: what is trained, as the suite has it.
        out: the folder.
        on_progress: called with what is measured, what is done and all.
        waits: called before this process waits for another that makes the plan.

    Returns:
        "suite"; "budget", a sentence; "asked", what tells a plan from others; "commands" by family, the words of
        `metafunc compare` but for --out; "measured", where minutes were given, by family and algorithm {"steps",
        "seconds_per_step", "seconds_per_validation"}.

    Raises:
        UsageError: the folder has another plan.
        FileError: its plan is damaged.
    """
    from metafunc.data.atomic_write import make_folder, write_json
    from metafunc.training import json_file
    from metafunc.training.folder_lock import one_after_another

    lines = {family.name: line(suite, family, steps) for family in suite.families}
    asks = {"minutes": asked.minutes, "equal": asked.equal if asked.minutes is not None else None, "lines": lines}
    make_folder(out)
    with one_after_another(out, waits):  # so that cells that start at the same time have the same plan
        if (out / NAME).exists():
            found = json_file.read(out / NAME)
            if found.get("asked") != asks:
                raise UsageError(
                    f"{out} was begun with other learners, families or settings, or another time: its commands are in "
                    f"{out / NAME}. Take another --out."
                )
            return found
        plan = {"suite": suite.name, "budget": _said(asked, steps), "asked": asks, "commands": lines}
        if asked.minutes is not None:
            plan |= _shared_out(suite, asked.minutes, asked.equal, lines, requests, on_progress)
        write_json(out / NAME, plan)
    return plan


def shown(words: Sequence[str], out: Path) -> str:
    """A command of a plan as it can be typed."""
    return f"metafunc compare {shlex.join([*words, '--out', str(out)])}"


def _said(asked: Benching, steps: int | None) -> str:
    if asked.minutes is not None:
        shared = "processor seconds" if asked.equal == "seconds" else "outer steps"
        return f"{asked.minutes:g} min of a processor for all trainings, each with the same {shared}."
    return "The suite's own steps." if steps is None else f"{counted(steps, 'outer steps')} for each training."


def _shared_out(
    suite: Suite,
    minutes: float,
    equal: str,
    lines: Mapping[str, Sequence[str]],
    requests: Requests,
    on_progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """The commands with the steps that there is time for, and what was measured."""
    cells = [(family.name, algorithm) for family in suite.families for algorithm in trained(suite)]
    costs = []
    for number, (family, algorithm) in enumerate(cells):
        on_progress(f"{family} {algorithm}", number, len(cells))
        with at(f"{family}, {algorithm}"), refusals():
            costs.append(budget.measured(requests[family][algorithm][0].settings.to_json()))
    share = budget.same_seconds if equal == "seconds" else budget.same_steps
    shares = share(costs, 60 * minutes / suite.seeds) if cells else []
    if short := [" ".join(cell) for cell, each in zip(cells, shares, strict=True) if each.steps < 1]:
        raise UsageError(
            f"--minutes {minutes:g} leaves no time for a step and its validations in {len(short)} of "
            f"{counted(len(cells), 'trainings')}, such as {short[0]}: give more, or fewer --seeds, --families or "
            "--learners."
        )
    commands = {name: [*words] for name, words in lines.items()}
    found: dict[str, dict[str, Any]] = {name: {} for name in lines}
    for (family, algorithm), cost, each in zip(cells, costs, shares, strict=True):
        commands[family] += [f"--{algorithm}.steps", str(each.steps)]
        if each.validate_every is not None:
            commands[family] += [f"--{algorithm}.validate-every", str(each.validate_every)]
        found[family][algorithm] = {
            "steps": each.steps, "seconds_per_step": cost.step, "seconds_per_validation": cost.validation
        }  # fmt: skip
    return {"commands": commands, "measured": found}
