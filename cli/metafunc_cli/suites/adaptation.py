"""How long trained learners take for a new task: to adapt to its support set and predict its query set, by itself."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metafunc_cli.commands import transformed_trials
from metafunc_cli.commands.trial import Trial
from metafunc_cli.display.screen import Screen

NAME = "adaptation.json"
NUM_TASKS, WARM = 12, 2
"""Tasks that are timed, of which the first ones are left out."""


def seconds(screen: Screen, folder: Path, names: Sequence[str]) -> dict[str, float]:
    """By learner, the median seconds of a task on one processor; measured once, and kept in the folder.

    Args:
        screen: where it is said.
        folder: of the family's comparison.
        names: of the learners, `maml+laplace` too.

    Returns:
        What is known; a policy, which adapts by acting, has no time of its own.
    """
    from metafunc.data.atomic_write import write_json
    from metafunc.training import json_file

    kept: dict[str, float] = json_file.read(folder / NAME) if (folder / NAME).exists() else {}
    found = {name: kept[name] for name in names if name in kept}
    for name in names:
        if name in found:
            continue
        algorithm, *transforms = name.split("+")
        if not screen.quiet:
            screen.say(f"timing {name} on a new task")
        run = "+".join([str(folder / f"{algorithm}-0"), *transforms])
        (row,) = transformed_trials.from_runs([run], imports=False)
        if row.trials[0].family.kind != "control":
            found[name] = _of(row.trials[0])
    write_json(folder / NAME, found)
    return found


def _of(trial: Trial) -> float:
    import torch

    from metafunc import tree
    from metafunc.data import generator_for
    from metafunc.execution import device
    from metafunc.training.build import own_steps

    learner, meta, steps = trial.learner, trial.meta, own_steps(trial.run.config) or 1
    times = []
    with torch.no_grad(), device.surroundings(threads=1):
        draws = generator_for(0, "time", 0)
        tasks: Any = learner.prepare(meta, trial.family.test(draws, NUM_TASKS), draws, step=None, num_steps=steps)
        for task in tree.unstack(tasks):
            began = time.process_time()
            learner.predict(learner.adapt(meta, task.support), task.query.x)
            times.append(time.process_time() - began)
    return statistics.median(times[WARM:])
