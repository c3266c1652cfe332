"""The report of a run: its meta-tests step by step, and new tasks, as far as it has got."""

import shlex
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import torch

from metafunc import tree
from metafunc.checks import counted
from metafunc.data.sampling import DataUnavailable
from metafunc.evaluation.metrics.table import METRICS, label
from metafunc.results import html_sections as sections
from metafunc.results import pictures
from metafunc.results.entry_numbers import validated
from metafunc.results.explorer import Explorable, Explored, explored
from metafunc.results.html_parts import Cell, pairs, section, table
from metafunc.results.html_sections import Specs
from metafunc.results.pictures import Calibration
from metafunc.results.plot_run import functions
from metafunc.results.tables import spoken, tested_on
from metafunc.training.build import own_steps
from metafunc.training.load import load
from metafunc.training.record import CONFIG
from metafunc.training.recorded_noise import fitted_noise
from metafunc.training.run import Run
from metafunc.types import MetaLearner

PROBED = {"own": "after adaptation on its own support set", "empty": "on none", "shuffled": "on another task's"}
"""What the memorisation probe adapts on."""
MANY_POINTS = 400
"""Of a loss that is drawn; of more, means of as many in a row."""


def parts(
    folder: Path, learner: MetaLearner[Any, Any] | None, *, imports: bool, seed: int, called: str
) -> tuple[str, str, dict[str, Any]]:
    """The title, the body and the data of the page.

    Raises:
        ValueError: the run has no checkpoint, or needs `learner` or `imports`.
        FileError: a file of the run is not what was written.
    """
    run = Run(folder)
    env, config, reports = run.env, run.config, run.reports()
    loaded, meta = load(folder, learner, imports=imports)
    named, kind = str(config.get("algorithm", {}).get("name", "a learner")), env["data"]["kind"]
    title, steps = f"{named} on {env['data']['name']}", own_steps(config) or 1
    specs: Specs = {}
    main = reports.pop(run.meta_test, None)
    tests = {**({run.meta_test: main} if main else {}), **reports}
    shown, data = sections.functions(specs, _functions(run, loaded, meta, named, seed, imports=imports))
    body = [
        sections.header(f"metafunc run {folder.name}", title, _lead(called, main, steps), _note(env, main)),
        *(_tested(run, file, report, steps) for file, report in tests.items()),
        shown,
        *(_adaptation(specs, file, report) for file, report in tests.items()),
        sections.learning(specs, {named: [_learning(run, kind)]}),
        sections.calibrated(specs, _calibration(run, named), kind),
        sections.made(["metafunc", "train", "--config", f"{called}/{CONFIG}"], _versions(env), _settings(config)),
    ]
    return title, "".join(body), {"specs": specs, **data}


def _lead(called: str, main: Mapping[str, Any] | None, steps: int) -> str:
    if main is None:
        return f"It has no meta-test yet: metafunc eval {shlex.quote(called)} makes one."
    rows = main["meta_test"]["by_step"]
    metric, row = _metrics(rows)[0], rows[min(steps, len(rows) - 1)]
    before, after = (spoken(each[metric]["mean"], each[metric]["ci95"], metric) for each in (rows[0], row))
    number, name = row["step"], label(metric)
    taken = counted(number, "steps")
    return f"{name[0].upper()}{name[1:]} {after} after {taken} of adaptation, and {before} before."


def _note(env: Mapping[str, Any], main: Mapping[str, Any] | None) -> str:
    on = f"Meta-test on {tested_on(main['meta_test'])}; ±: 95 % interval over them. " if main else ""
    return f"{on}Trained on {env['device']} ({env['device_name']}), {counted(env['threads'], 'threads')}."


def _metrics(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name for name in METRICS if all(isinstance(row.get(name), Mapping) for row in rows)]


def _name(file: Path) -> str:
    """What tells a meta-test from the run's own."""
    return file.stem.removeprefix("meta_test").lstrip("-")


def _tested(run: Run, file: Path, report: Mapping[str, Any], steps: int) -> str:
    """The table of a meta-test: one row for each number of steps, that of the training marked."""
    test = report["meta_test"]
    rows = test["by_step"]
    names = _metrics(rows)
    pooled = [m for m in METRICS if m not in names and all(isinstance(row.get(m), float | int) for row in rows)]
    diverged = any(row.get("diverged") for row in rows)
    lines = []
    for row in rows:
        cells = [Cell(counted(row["step"], "steps"), row["step"])]
        cells += [Cell(spoken(row[m]["mean"], row[m]["ci95"], m), row[m]["mean"]) for m in names]
        cells += [Cell(spoken(row[m], None, m), row[m]) for m in pooled]
        lines.append(cells + ([Cell(counted(row["diverged"], "tasks"), row["diverged"])] if diverged else []))
    heads = ["adaptation", *map(sections.arrowed, (*names, *pooled)), *(["diverged"] if diverged else [])]
    looks = ["result" if row["step"] == min(steps, len(rows) - 1) else "" for row in rows]
    title = "Results" if file == run.meta_test else f"Results: {_name(file)}"
    note = f"{report['algorithm']}, {tested_on(test)}. Marked: as many steps as in training."
    anchor = "results" if file == run.meta_test else f"results-{_name(file)}"
    return section(anchor, title, table(heads, lines, looks), _probe(test.get("memorisation_probe")), note=note)


def _probe(found: Mapping[str, Any] | None) -> str:
    """The memorisation probe: a row for each support set."""
    if found is None:
        return ""
    metric = found["metric"]
    each = {"before adaptation": found, **{text: found[name] for name, text in PROBED.items() if name in found}}
    values = {text: spoken(one["mean"], one["ci95"], metric) for text, one in each.items()}
    chance = {"chance": f"{100 * found['chance']:.3g} %"} if "chance" in found else {}
    what = f"Memorisation probe, {label(metric)}: what a learner knows without the right support set."
    head = f'<p class="note after">{escape(what)}</p>'
    return head + pairs({**values, **chance})


def _adaptation(specs: Specs, file: Path, report: Mapping[str, Any]) -> str:
    rows = {report["algorithm"]: report["meta_test"]["by_step"]}
    return sections.adaptation(specs, rows, _name(file))


def _learning(run: Run, kind: Any) -> list[dict[str, Any]]:
    """The validations, or the loss where there are less than two."""
    found = validated(run)
    if len(found) > 1 or kind == "control":
        return found
    losses = [{"step": line["step"], "loss": line["loss"]} for line in run.lines() if line.get("loss") is not None]
    size = -(-len(losses) // MANY_POINTS) or 1
    blocks = [losses[i : i + size] for i in range(0, len(losses), size)]
    return [{"step": b[-1]["step"], "loss": sum(line["loss"] for line in b) / len(b)} for b in blocks]


def _calibration(run: Run, name: str) -> dict[str, Calibration]:
    file = pictures.calibration_file(run.meta_test.name)
    if not (run.path / file).exists():
        return {}
    again = "Delete it; metafunc eval makes it again."
    found: Calibration = run.read(file, Calibration, again)
    return {name: found}


def _functions(
    run: Run, learner: MetaLearner[Any, Any], meta: Any, name: str, seed: int, *, imports: bool
) -> Explored | None:
    settings, seen = run.config.get("tasks"), run.env["data"]
    if settings is None or (seen["kind"], seen["input_shape"], seen["num_outputs"]) != ("regression", [1], 1):
        return None
    if ":" in settings["name"] and not imports:
        return None
    steps = own_steps(run.config) or 1
    try:
        one = tree.at(functions(learner, meta, settings, seed, 1, imports=imports), 0)
        with torch.no_grad():
            path = learner.path(meta, one.support, max(steps, len(fitted_noise(run)) - 1))
        found = Explorable(name, learner, meta, len(tree.unstack(path)) - 1, fitted_noise(run))
        return explored([found], run, seed=seed, imports=imports)
    except DataUnavailable as error:
        warnings.warn(f"No function is shown: {error}", stacklevel=2)
        return None


def _versions(env: Mapping[str, Any]) -> dict[str, Any]:
    names = ("metafunc", "torch", "numpy", "python", "platform", "git")
    return {name: env[name] for name in names if env.get(name) is not None}


def _settings(config: Mapping[str, Any]) -> str:
    """All settings, by section."""
    flat = {
        f"{part}.{name}" if isinstance(settings, Mapping) else part: value
        for part, settings in config.items()
        for name, value in (settings.items() if isinstance(settings, Mapping) else [("", settings)])
    }
    return f"<details><summary>All settings</summary>{pairs(flat)}</details>"
