"""`metafunc plot`: the pictures of a run, as far as it has got."""

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from metafunc import tree
from metafunc.checks import counted
from metafunc.data.atomic_write import refuse_link
from metafunc.data.sampling import DataUnavailable, generator_for
from metafunc.data.table import FAMILIES
from metafunc.evaluation import metrics, returns
from metafunc.evaluation.prediction import predict
from metafunc.evaluation.scoring import draw
from metafunc.results import figures
from metafunc.results.as_tested import as_tested
from metafunc.results.figures.style import Format, save_each
from metafunc.results.plot_images import completed
from metafunc.results.shown import Shown, noise_of
from metafunc.results.shown_tasks import each_once
from metafunc.results.tables import tested_on
from metafunc.results.units import Units, note_on_units, task_names
from metafunc.training.build import own_steps, tasks_of
from metafunc.training.load import load
from metafunc.training.record import CONFIG
from metafunc.training.recorded_noise import fitted_noise
from metafunc.training.run import Run
from metafunc.types import Categorical, M, MetaLearner, Task, TaskFamily

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NUM_FUNCTIONS = 3
NUM_STEPS = 3
"""Steps of adaptation that paths in the plane are drawn after."""
FEW_STEPS = 5
"""Up to so many inner steps a line is drawn for each; of more, the first and the last."""
MANY_QUERIES = 500
"""Query points of a task that is drawn as a curve, where tasks may have any number of them."""


def plot_run(
    run: str | Path,
    *,
    transforms: Sequence[str] = (),
    learner: MetaLearner[Any, Any] | None = None,
    imports: bool = False,
    seed: int = 0,
    formats: Sequence[Format] = ("png",),
) -> list[Path]:
    """Draw what there is to see of a run into its folder `figures`.

    Args:
        run: the run's folder.
        transforms: what is done to the trained learner, such as `laplace`, as a meta-test of the run has fitted it for
            the last step that is drawn.
        learner: your own learner, for a run whose configuration does not name one of the table's.
        imports: allow importing the modules that the run's configuration names; do so for runs of your own only.
        seed: of the new tasks that are shown.
        formats: of "png", "svg" and "pdf", each of which is drawn.

    Returns:
        What was drawn: `learning.png` (the log; of policies, the validations), `adaptation.png` (the meta-test, and one
        more for each further meta-test), `functions.png` (three new functions, if they have one input and one output),
        `predictions.png` (predicted against true targets of three new tasks, if they have several inputs or outputs),
        `completion.png` (three new images, if rows are their pixels), `episode.png` (a new task of images), `paths.png`
        (policies in the plane). What the run has nothing for, or whose data cannot be had, is left out with a
        `UserWarning`. Transforms are part of the names of what they change, such as `functions+laplace.png`.

    Raises:
        ValueError: the folder is no run, it has no checkpoint, its folder `figures` is a link, it needs `learner` or
            `imports`, or no meta-test of the run has the transforms.

    Examples:
        >>> import tempfile, metafunc
        >>> from metafunc.training.config import build
        >>> from metafunc.results.plot_run import plot_run
        >>> config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}}
        >>> folder = tempfile.mkdtemp()
        >>> _ = metafunc.fit(*build(config), steps=2, out=folder, recording=metafunc.Recording(config=config))
        >>> [path.name for path in plot_run(folder)]
        ['learning.png', 'functions.png']
    """
    place = Run(Path(run))
    refuse_link(place.figures)
    learner, meta = load(place.path, learner, imports=imports)
    learner, _ = as_tested(place, learner, transforms, num_steps=own_steps(place.config) or 1, imports=imports)
    numbers, tasks = _of_numbers(place), _of_tasks(place, learner, meta, seed, imports=imports)
    changed = "".join(f"+{name}" for name in transforms)
    of = described(place)
    return [
        path
        for part, after in ((numbers, ""), (tasks, changed))
        for name, figure in part
        for path in save_each(figure, place.figures, f"{name}{after}", of=f"{of}{after}", formats=formats)
    ]


def described(run: Run) -> str:
    """What a picture of a run is of.

    Examples:
        >>> described(Run(Path("nowhere/at/all")))
        Traceback (most recent call last):
        ValueError: nowhere/at/all is no run: it has no config.json. Give the folder that training wrote.
    """
    config = run.config
    training = config.get("training", {})
    algorithm = config.get("algorithm", {}).get("name", "a user-supplied learner")
    steps = training.get("steps")
    taken = [counted(steps, "steps")] if isinstance(steps, int) else []
    seed = [f"seed {training['seed']}"] if "seed" in training else []
    tasks = config.get("tasks", {}).get("name", run.env["data"]["name"])
    return f"{', '.join([f'{algorithm} on {tasks}', *taken, *seed])} · {'/'.join(run.path.parts[-2:])}"


def _of_numbers(run: Run) -> "Iterator[tuple[str, Figure]]":
    # A policy's loss is of normalised advantages: about zero, whatever the policy has learned.
    telling = ("validation",) if run.env["data"]["kind"] == "control" else ("loss", "validation")
    note = note_on_units(run.env["data"]["info"])
    log = [line for line in run.lines() if any(name in line for name in telling)]
    if log:
        yield "learning", figures.learning_curve(log, note=note)
    else:
        _left_out("learning curve", f"{run.metrics} has no line with {' or '.join(telling)} yet.")
    if not run.reports():
        _left_out("adaptation curve", f"{run.path} has no {run.meta_test.name}, which metafunc eval makes.")
    for file, report in run.reports().items():
        test = report["meta_test"]
        many = len(test["by_step"]) > 2
        curves = figures.adaptation_curves(
            {report["algorithm"]: test["by_step"]},
            over=tested_on(test),
            num_steps=own_steps(run.config) if many else None,
            note=note,
        )
        yield file.stem.replace("meta_test", "adaptation"), curves


def _left_out(what: str, why: str) -> None:
    warnings.warn(f"No {what} is drawn: {why}", stacklevel=4)


def _of_tasks(
    run: Run, learner: MetaLearner[Any, Any], meta: Any, seed: int, *, imports: bool
) -> "Iterator[tuple[str, Figure]]":
    if "tasks" not in run.config:
        _left_out("task", f"{run.path / CONFIG} does not state which tasks it was trained on.")
        return
    if ":" in (name := run.config["tasks"]["name"]) and not imports:
        _left_out("task", f"{name} would have to be imported: allow it by imports=True, if you trust it.")
        return
    try:
        family, row = tasks_of(run.config, imports=imports), FAMILIES.get(name)
    except DataUnavailable as error:
        _left_out("task", str(error))
        return
    if family.kind == "regression" and (family.input_shape, family.num_outputs) == ((1,), 1):
        yield "functions", _functions(run, learner, meta, family, seed, imports=imports)
    elif row is not None and row.of_pixels:
        yield from _completion(run, learner, meta, family, seed)
    elif family.kind == "regression":
        yield "predictions", _predictions(run, learner, meta, family, seed)
    if row is not None and row.in_plane:
        yield "paths", _paths(learner, meta, family, seed)
    if family.kind == "classification" and len(family.input_shape) == 3 and family.input_shape[0] in (1, 3):
        yield "episode", _episode(run, learner, meta, family, seed)


def _functions(
    run: Run, learner: MetaLearner[Any, Any], meta: Any, family: TaskFamily, seed: int, *, imports: bool = False
) -> "Figure":
    units = Units.of(family.info)
    tasks = functions(learner, meta, run.config["tasks"], seed, NUM_FUNCTIONS, imports=imports)
    return figures.function_before_and_after(
        units.learner(learner),
        meta,
        units.tasks(tasks),
        steps=_steps(run),
        spread_at=own_steps(run.config) or 1,
        noise_scale=[nan if scale is None else scale for scale in fitted_noise(run)],
        noiseless=noiseless_of(run.config["tasks"]) is not None,
        names=(units.x, units.y),
        titles=task_names(family, run.config["tasks"], seed, NUM_FUNCTIONS),
    )


def _steps(run: Run) -> tuple[int, ...]:
    """What is drawn after: each of a few steps, or the first and the learner's own, and the last that was tested."""
    own = own_steps(run.config) or 1
    tested = len(run.report(run.meta_test)["meta_test"]["by_step"]) - 1 if run.meta_test.exists() else own
    each = range(own + 1) if own <= FEW_STEPS else (0, 1, own)
    return (*each, max(tested, own))


def _predictions(run: Run, learner: MetaLearner[Any, Any], meta: Any, family: TaskFamily, seed: int) -> "Figure":
    row = own_steps(run.config) or 1
    shown = Shown(learner, meta, row, noise_of({"noise_scale": fitted_noise(run)}, row), row)
    tasks = tree.unstack(draw(learner, meta, each_once(family.test), seed, "figures", 0, NUM_FUNCTIONS))
    titles = task_names(family, run.config["tasks"], seed, NUM_FUNCTIONS)
    predicted = [shown.predict(task) for task in tasks]
    if family.num_outputs > 1 or "targets" not in family.info:  # several units on one axis would be none
        note = "All targets, each in its standard deviations." if "targets" in family.info else ""
        return figures.predicted_against_true(predicted, tasks, titles=titles, note=note)
    units = Units.of(family.info)
    in_units = [units.of_targets(task) for task in tasks]
    return figures.predicted_against_true([*map(units.predicted, predicted)], in_units, target=units.y, titles=titles)


def _completion(
    run: Run, learner: MetaLearner[Any, Any], meta: Any, family: TaskFamily, seed: int
) -> "Iterator[tuple[str, Figure]]":
    row = own_steps(run.config) or 1
    shown = Shown(learner, meta, row, noise_of({"noise_scale": fitted_noise(run)}, row), row)
    tasks = tree.unstack(draw(learner, meta, each_once(family.test), seed, "figures", 0, NUM_FUNCTIONS))
    found = [completed(shown, task, family.info["side"], seed=seed) for task in tasks]
    if images := [one for one in found if one is not None]:
        yield "completion", figures.completions(images)
    else:
        _left_out("completed image", "predictions have no noise scale before metafunc eval has fitted one.")


def _paths(learner: MetaLearner[Any, Any], meta: Any, family: TaskFamily, seed: int) -> "Figure":
    goals = family.test(generator_for(seed, "figures", 0), NUM_FUNCTIONS).support
    collected = draw(learner, meta, family.test, seed, "figures", 0, NUM_FUNCTIONS, num_steps=NUM_STEPS)
    # Of several particles the first is shown.
    sets = returns.by_step(collected)
    return figures.paths_in_the_plane(
        {step: sets[step].observations[..., :2] for step in (0, 1, NUM_STEPS)},
        {step: sets[step].mask for step in (0, 1, NUM_STEPS)},
        goals,
    )


def noiseless_of(tasks: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The settings under which the queries of a family of the section `tasks` show the truth; None where it cannot be
    had, as of a family that is not in the table."""
    row = FAMILIES.get(tasks["name"])
    return None if row is None else row.noiseless


def functions(
    learner: MetaLearner[M, Any], meta: M, tasks: Mapping[str, Any], seed: int, count: int, *, imports: bool = False
) -> Task:
    """New functions of a family of the configuration's section `tasks`, prepared; their queries show the truth, if
    the family knows it."""
    noiseless, observed = noiseless_of(tasks), {**tasks}
    if noiseless is not None and "num_test_queries" in inspect.signature(FAMILIES[tasks["name"]].builder).parameters:
        observed["num_test_queries"] = MANY_QUERIES
    # Noise takes random numbers too, so that with it and without the first task of a draw is the same, and no other.
    each = 1 if noiseless else count

    def drawn(settings: Mapping[str, Any]) -> Task:
        sampler = each_once(tasks_of({"tasks": settings}, imports=imports).test)
        parts = (draw(learner, meta, sampler, seed, "figures", block, each) for block in range(count // each))
        return tree.map(lambda *leaves: torch.cat(leaves), *parts)

    seen, truth = drawn(observed), drawn({**observed, **(noiseless or {})})
    return truth._replace(support=seen.support)


def _episode(run: Run, learner: MetaLearner[Any, Any], meta: Any, family: TaskFamily, seed: int) -> "Figure":
    tasks = family.test(generator_for(seed, "figures", 0), 1)
    task = tree.at(tasks, 0)
    predicted = metrics.mixture(predict(learner, meta, task.support, task.query.x, seed=seed))
    assert isinstance(predicted, Categorical)
    ink = bool(family.info.get("ink") or run.config["tasks"].get("invert"))
    return figures.episode(task, predicted.logits[0].argmax(-1), ink=ink)
