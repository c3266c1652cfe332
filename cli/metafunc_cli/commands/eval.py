"""`metafunc eval`: meta-test a run again, on other tasks or with more steps."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc.checks import counted
from metafunc_cli import joined
from metafunc_cli.display.progress import progress
from metafunc_cli.display.results import show, show_lines
from metafunc_cli.display.screen import Screen, if_stopped, refusals
from metafunc_cli.errors import OK, UsageError
from metafunc_cli.settings import compose, typed_json, user_builders
from metafunc_cli.settings.check_least import check_least
from metafunc_cli.settings.compose import Settings
from metafunc_cli.settings.generated import FAMILIES
from metafunc_cli.settings.names import SECTIONS, refuse_imports, row
from metafunc_cli.settings.options import Report, Testing, Training
from metafunc_cli.settings.run_argument import parse, run_and_flags

if TYPE_CHECKING:
    from metafunc.execution.distributed import Ranks
    from metafunc.training.record import Columns
    from metafunc.training.run import Run

WHAT = "Meta-test a run on new tasks, after each number of adaptation steps."
MORE = "With a RUN, --data.num-shots and all other options of its tasks can be set too."


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc eval --help`."""
    families = (("data", family.fields) for family in FAMILIES.values())
    run, flags = run_and_flags("eval", argv, ("", Testing), ("", Report), *families)
    if run is None:
        parse("metafunc eval RUN", f"{WHAT} {MORE}", flags, {"testing": Testing(), "report": Report()})
        return OK
    settings = _settings(Path(run), allowed="--imports" in flags)
    usual = usual_test(settings.training)
    parts = {"testing": usual, "data": settings.data, "report": Report()}
    found, asked = parse(f"metafunc eval {run}", WHAT, flags, parts), ["eval", *argv]
    check_least(found.testing, num_tasks=1, num_steps=0, chunk_size=1, joint_rows=1, shots=0)
    command = shlex.join(["metafunc", *asked])
    return joined.shared(
        asked, found.report.ranks, lambda ranks: _test(Path(run), settings, usual, found, command, ranks)
    )


def usual_test(training: Training) -> Testing:
    """The meta-test that follows a training."""
    return Testing(
        num_tasks=training.test_tasks or Testing.num_tasks,
        num_steps=training.test_steps,
        seed=training.seed,
        device=training.device,
    )


def meta_test(
    screen: Screen,
    learner: Any,
    meta: Any,
    family: Any,
    test: Testing,
    settings: Settings,
    run: "Run",
    file: Path,
    asked: str = "",
    *,
    ranks: "Ranks",
) -> dict[str, Any]:
    """Score a learner on new tasks, write and show the report, and return it; `asked` is how to repeat it."""
    from metafunc import tree
    from metafunc.evaluation import by_shots
    from metafunc.evaluation import meta_test as meta_tests
    from metafunc.execution import device
    from metafunc.execution.plan import Execution
    from metafunc.training import record
    from metafunc.training.build import own_steps

    training = settings.training
    threads = ranks.tell(run.env["threads"] if ranks.first else None)[0]
    execution = Execution(chunk_size=test.chunk_size, device=test.device, deterministic=training.deterministic)
    again = f"The training is saved; repeat the meta-test with:\n  {asked or command('eval', run.path, settings.names)}"
    with (
        if_stopped(screen, again),
        progress(screen.err, "meta-testing", quiet=screen.quiet) as advance,
        device.surroundings(threads=threads),
        refusals(),
    ):
        begun = record.run_sum(run.path) if ranks.first else None
        evaluate = partial(
            meta_tests.evaluate,
            learner,
            meta,
            num_tasks=test.num_tasks,
            num_steps=test.num_steps,
            seed=test.seed,
            split=test.split,
            gap=not test.no_gap,
            joint=test.joint,
            joint_rows=test.joint_rows,
            execution=execution,
            on_progress=lambda done, total: advance(done, total, ""),
            ranks=ranks,
        )
        with_shots = by_shots.evaluate_by_shots(family, test.shots, evaluate) if test.shots else {}  # or is refused
        result = evaluate(family)
        if not ranks.first:
            return {}
        covered = None if test.conformal is None else _conformal(learner, meta, family, test, result)
        if record.run_sum(run.path) != begun:
            raise ValueError(f"{run.path} holds another run by now: the meta-test of the one before it is not kept.")
    report = _report(result, test, settings, run)
    report |= {} if covered is None else {"conformal": covered}
    report |= {"by_shots": by_shots.rows(with_shots, own_steps(run.config))} if with_shots else {}
    return _kept(screen, run, file, report, result, tree.size(meta), family.info)


def _kept(
    screen: Screen, run: "Run", file: Path, report: dict[str, Any], result: Any, size: int, info: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the report, before it is shown, since a terminal may be gone."""
    from metafunc.results import pictures
    from metafunc.results.units import by_step_in_units
    from metafunc.training.build import own_steps

    report |= by_step_in_units(info, result)
    run.write(file.name, report)
    steps = own_steps(run.config)
    pictures.write_calibration(run, file.name, result)
    _write_numbers(file, report, result, steps or 1, size)
    _show(screen, report, steps)
    return report


def _report(result: Any, test: Testing, settings: Settings, run: "Run") -> dict[str, Any]:
    """A meta-test in the form of JSON, with what it is of."""
    from metafunc.evaluation.meta_test import report

    return report(
        result,
        algorithm="+".join([settings.names["algorithm"], *test.transforms]),
        tasks=settings.names["tasks"],
        run=str(run.path),
        seed=settings.training.seed,
        steps=settings.training.steps,
    )


def _write_numbers(file: Path, report: Mapping[str, Any], result: Any, steps: int, parameters: int) -> None:
    """Write the numbers of every task beside a meta-test's report."""
    from metafunc.results import per_task
    from metafunc.results.comparison import Entry

    tested = Entry(report["algorithm"], (report["seed"],), (result,), steps, None, parameters)
    per_task.write_one(numbers_of(file), report["tasks"], tested)


def numbers_of(report: Path) -> Path:
    """The file of a meta-test's numbers, task by task, beside its report."""
    return report.with_name(report.name.replace("meta_test", "evaluation", 1)).with_suffix(".parquet")


def _show(screen: "Screen", report: Mapping[str, Any], steps: int | None) -> None:
    """Print a meta-test, and a table's errors before adaptation and in the row of the result in the units of its
    targets: after the trained number of steps, or the last where that is not known or was not tested."""
    from metafunc.results.units import errors_in_units

    show(screen.out, report, steps)
    last = len(report["meta_test"]["by_step"]) - 1
    result = steps if steps is not None and steps < last else last
    rows = {"before adaptation": 0, **({f"after {counted(result, 'steps')}": result} if result else {})}
    errors: Mapping[str, Any] = report.get("rmse_in_units", {})
    if said := errors_in_units({name: {of: each[row] for of, each in errors.items()} for name, row in rows.items()}):
        screen.out.print(f"{said}\n", soft_wrap=True)


def _conformal(learner: Any, meta: Any, family: Any, test: Testing, result: Any) -> dict[str, Any]:
    """What conformal intervals are worth after the last step of a meta-test."""
    from metafunc.evaluation import conformal, fitting

    assert test.conformal is not None
    judged = fitting.as_fitted(learner, result.pooled, -1)
    found = conformal.conformal(
        judged,
        meta,
        family,
        level=test.conformal,
        num_tasks=test.num_tasks,
        num_steps=test.num_steps,
        seed=test.seed,
        split=test.split,
    )
    return {"steps": len(result.by_step) - 1, **found.to_json()}


def command(name: str, run: Path, names: Mapping[str, str]) -> str:
    """A command on a run, to be typed as it is; user-supplied names have to be allowed again."""
    flag = "--resume " if name == "train" else ""
    own = " --imports" if any(map(user_builders.is_own, names.values())) else ""
    return f"metafunc {name} {flag}{shlex.quote(str(run))}{own}"


def _settings(run: Path, *, allowed: bool) -> Settings:
    """The settings of a run, as recorded."""
    file = run / "config.json"
    recorded = compose.recorded_in(run)
    if missing := [section for section in (*SECTIONS, "training") if section not in recorded]:
        raise UsageError(f"{file} does not state which {missing[0]} it was made with: test it in Python instead.")
    if not allowed:
        refuse_imports(recorded, file)
    names = {section: recorded[section].pop("name") for section in SECTIONS}
    parts = [
        compose.instance(fields, typed_json.checked(fields, recorded[section], section))
        for section, fields in (
            *((section, row(section, name).fields) for section, name in names.items()),
            ("training", Training),
        )
    ]
    return Settings(names, *parts)


def _test(folder: Path, settings: Settings, usual: Testing, found: Any, asked: str, ranks: "Ranks") -> int:
    from metafunc.execution.rank_agreement import agreement
    from metafunc.training.build import tasks_of, transformed
    from metafunc.training.load import load
    from metafunc.training.run import Run

    run, screen = Run(folder), Screen(json=found.report.json, quiet=found.report.quiet, silent=not ranks.first)
    if found.testing.conformal is not None and not 0 < found.testing.conformal < 1:
        raise UsageError(f"--conformal {found.testing.conformal:g} is no share of rows: give one such as 0.9.")
    with refusals(settings), agreement(ranks) as settled:
        data = compose.anchored(_with_rows(found.data, settings.data, found.testing.shots))
        config = dataclasses.replace(settings, data=data).to_json()
        columns = run.columns
        if columns is not None:
            config["tasks"] |= _as_trained(columns, found.data)
        family = tasks_of(config, imports=found.report.imports)
        loaded: tuple[Any, Any] = load(
            run.path,
            which=found.testing.checkpoint,
            imports=found.report.imports,
            num_classes=family.num_outputs if family.kind == "classification" else None,
        )
        learner = transformed(run.config, loaded[0], family, found.testing.transforms, imports=found.report.imports)
        tested = {**config, "testing": dataclasses.asdict(found.testing)}
        joined.hold_alike(settled, loaded[1], tested, family)
    same = run.same_data(family.info)
    if not same:
        screen.say(
            "warning: this is not the data, or not its division into training and test, that the run was trained with: "
            "what is tested here may have been trained on."
        )
    changes = _changes((usual, found.testing), (settings.data, data), ignored=("path",) * same)
    file = run.path / f"meta_test{changes}.json"
    report = meta_test(screen, learner, loaded[1], family, found.testing, settings, run, file, asked, ranks=ranks)
    if not ranks.first:
        return OK
    show_lines(screen.out, [("wrote", str(file)), ("next", command("plot", run.path, settings.names))])
    screen.result(report)
    return OK


def _with_rows(asked: Any, trained: Any, shots: Sequence[int]) -> Any:
    """Tasks with as many support rows as the largest number of shots, where the command line does not say how many."""
    if not shots or getattr(asked, "num_shots", None) != getattr(trained, "num_shots", None):
        return asked
    return dataclasses.replace(asked, num_shots=max(shots)) if hasattr(asked, "num_shots") else asked


def _as_trained(columns: "Columns", data: Any) -> dict[str, Any]:
    """How another table is read: its columns go by their names, whatever their order, and are in the run's units."""
    names: dict[str, Any] = {"input_columns": columns["inputs"]}
    names |= {} if "classes" in columns else {"target_columns": columns["targets"]}
    for setting, known in names.items():
        asked = getattr(data, setting)
        if asked and sorted(asked) != sorted(known):
            raise UsageError(
                f"The run was trained with {setting} {' '.join(known)}, and goes by these names: leave out "
                f"--data.{setting.replace('_', '-')}, and call the columns so in the file."
            )
    return {**names, "units": columns}


def _changes(*pairs: tuple[Any, Any], ignored: Sequence[str] = ()) -> str:
    """What differs from the run's own meta-test, for the name of a file."""
    ignored = ("chunk_size", "device", "no_gap", *ignored)
    changed = [
        f"-{field.name}={getattr(new, field.name)}"
        for old, new in pairs
        for field in dataclasses.fields(new)
        if field.name not in ignored and getattr(old, field.name) != getattr(new, field.name)
    ]
    return "".join(changed).replace("/", "_").replace(" ", "")
