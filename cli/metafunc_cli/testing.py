"""`metafunc eval`: meta-test a run again, on other tasks or with more steps."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from metafunc_cli import compose, custom, strict
from metafunc_cli.arguments import Taken, split, taken
from metafunc_cli.compose import Settings
from metafunc_cli.config import FAMILIES
from metafunc_cli.errors import OK, UsageError
from metafunc_cli.names import SECTIONS, refuse_imports, row
from metafunc_cli.options import Report, Testing, Training
from metafunc_cli.progress import progress
from metafunc_cli.results import show, show_paths
from metafunc_cli.screen import Screen, refusals

if TYPE_CHECKING:
    from metafunc.run import Run


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc eval --help`."""
    known = {"--help": Taken(0, str), "-h": Taken(0, str), **taken("", Testing), **taken("", Report)}
    for family in FAMILIES.values():
        known |= taken("data", family.fields)
    arguments = split(argv, known, ())
    if not arguments.names and not {"-h", "--help"} & {*arguments.flags}:
        raise UsageError("eval needs the folder of a run, for example: metafunc eval runs/maml-sinusoid-1")
    if len(arguments.names) > 1:
        raise UsageError(f"eval takes one run, not {len(arguments.names)}: {', '.join(arguments.names)}.")
    if not arguments.names:
        _parse("RUN", arguments.flags, Testing(), None)
    run = arguments.names[0]
    settings = _settings(run, allowed="--imports" in arguments.flags)
    usual = usual_test(settings.training)
    found = _parse(run, arguments.flags, usual, settings.data)
    return _test(run, settings, usual, found)


def usual_test(training: Training) -> Testing:
    """The meta-test that follows a training."""
    return Testing(
        num_tasks=training.test_tasks or Testing.num_tasks,
        num_steps=training.test_steps,
        seed=training.seed,
        device=training.device,
    )


def meta_test(
    screen: Screen, learner: Any, meta: Any, family: Any, test: Testing, settings: Settings, run: "Run"
) -> dict[str, Any]:
    """Score a learner on new tasks, show the table, and return the report."""
    from metafunc import edge, evaluation

    training = settings.training
    try:
        with (
            progress(screen.err, "meta-testing", quiet=screen.quiet) as advance,
            edge.surroundings(threads=run.env["threads"], deterministic=training.deterministic),
            refusals(),
        ):
            result = evaluation.evaluate(
                learner,
                meta,
                family,
                num_tasks=test.num_tasks,
                num_steps=test.num_steps,
                seed=test.seed,
                split=test.split,
                chunk_size=test.chunk_size,
                device=test.device,
                on_progress=lambda done, total: advance(done, total, ""),
            )
    except KeyboardInterrupt:
        screen.say(f"The training is saved; repeat the meta-test with:\n  {command('eval', run.path, settings.names)}")
        raise
    report = evaluation.report(
        result,
        algorithm=settings.names["algorithm"],
        tasks=settings.names["tasks"],
        run=str(run.path),
        seed=training.seed,
        steps=training.steps,
    )
    show(screen.out, report)
    return report


def command(name: str, run: Path, names: Mapping[str, str]) -> str:
    """A command on a run, to be typed as it is; names of the user's own have to be allowed again."""
    flag = {"train": "--resume ", "eval": "", "plot": ""}[name]
    own = " --imports" if any(map(custom.is_own, names.values())) and name != "plot" else ""
    return f"metafunc {name} {flag}{shlex.quote(str(run))}{own}"


def _settings(run: str, *, allowed: bool) -> Settings:
    """The settings of a run, as recorded."""
    file = Path(run) / "config.json"
    if not file.exists():
        raise UsageError(f"{run} is no run: it has no config.json. Give the folder that metafunc train wrote.")
    recorded = compose.sections_of(file)
    if missing := [section for section in (*SECTIONS, "training") if section not in recorded]:
        raise UsageError(f"{file} does not say which {missing[0]} it was made with: test it in Python instead.")
    if not allowed:
        refuse_imports(recorded, file)
    names = {section: recorded[section].pop("name") for section in SECTIONS}
    parts = [
        compose.instance(fields, strict.checked(fields, recorded[section], section))
        for section, fields in (
            *((section, row(section, name).fields) for section, name in names.items()),
            ("training", Training),
        )
    ]
    return Settings(names, *parts)


def _parse(run: str, flags: Sequence[str], usual: Testing, data: Any) -> Any:
    fields: list[tuple[str, Any]] = [("testing", tyro.conf.OmitArgPrefixes[Testing])]
    fields += [("data", type(data))] if data is not None else []
    whole = make_dataclass("Eval", [*fields, ("report", tyro.conf.OmitArgPrefixes[Report])])
    given = {"testing": usual, "report": Report()} | ({"data": data} if data is not None else {})
    more = (
        "" if data is not None else " With a RUN, --data.num-shots and all other options of its tasks can be set too."
    )
    with compose.uncoloured():
        return tyro.cli(
            whole,
            args=flags,
            default=whole(**given),
            prog=f"metafunc eval {run}",
            description="Meta-test a run on new tasks, after each number of adaptation steps." + more,
        )


def _test(name: str, settings: Settings, usual: Testing, found: Any) -> int:
    from metafunc import checkpoint, experiment
    from metafunc.run import Run

    run, screen = Run(Path(name)), Screen(json=found.report.json, quiet=found.report.quiet)
    custom.look_in_current_folder()
    with refusals():
        config = dataclasses.replace(settings, data=found.data).to_json()
        family = experiment.tasks_of(config)
        loaded: tuple[Any, Any] = experiment.load(
            run.path, which=found.testing.checkpoint, imports=found.report.imports
        )
    report = meta_test(screen, *loaded, family, found.testing, settings, run)
    file = run.path / f"meta_test{_changes((usual, found.testing), (settings.data, found.data))}.json"
    checkpoint.write_json(file, report)
    show_paths(screen.out, run.path, [file.name], [command("plot", run.path, settings.names)])
    screen.result(report)
    return OK


def _changes(*pairs: tuple[Any, Any]) -> str:
    """What differs from the run's own meta-test, for the name of a file."""
    ignored = ("chunk_size", "device", "path")
    changed = [
        f"-{field.name}={getattr(new, field.name)}"
        for old, new in pairs
        for field in dataclasses.fields(new)
        if field.name not in ignored and getattr(old, field.name) != getattr(new, field.name)
    ]
    return "".join(changed).replace("/", "_").replace(" ", "")
