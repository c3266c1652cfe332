"""Trials of one learner with several seeds, which are trained at once."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc_cli.commands.timing import Clock, Times, add
from metafunc_cli.commands.trial import Trial
from metafunc_cli.commands.trial_cells import Failed, attempted
from metafunc_cli.display.progress import Callback
from metafunc_cli.display.screen import refusals
from metafunc_cli.errors import UsageError
from metafunc_cli.settings.compose import Request

if TYPE_CHECKING:
    from metafunc.training.events import Event


def trained_together(
    request: Request, folders: Sequence[Path], seeds: Sequence[int], built: Any, show: Callback, failed: Failed
) -> list[Trial]:
    """Train what is not trained yet, all seeds at once, each into its folder; one that diverges is kept in `failed`.

    Raises:
        UsageError: a folder was begun with other settings, or the seeds cannot be trained at once.
        Interrupted: a signal asked to stop; what is done is kept.
    """
    from metafunc.training.run import Run
    from metafunc.training.train_many import train_many

    clock, steps = Clock(), Counter[int]()
    validations: dict[int, dict[int, Times]] = defaultdict(dict)
    timed = clock.around(_Foremost(show))

    def on_event(position: int, event: "Event") -> None:
        steps[position] += event.phase == "train"
        timed(event)
        if event.phase == "validation":
            validations[position][event.step] = clock.taken

    try:
        with refusals(request.settings):
            found = train_many(
                request.settings.to_json(),
                seeds=seeds,
                out=folders,
                resume=True,
                imports=True,
                on_event=on_event,
                built=built,
            )
    except UsageError as error:
        raise UsageError(f"{error} Take another --out for other settings.") from error
    finally:
        for position, count in steps.items():
            if count:  # each has its share of what all have taken
                part = clock.steps / count
                until = {step: taken.over(part) for step, taken in validations[position].items()}
                add(Run(folders[position]), clock.taken.over(part), until)
    trials: list[Trial] = []
    for folder, seed, one in zip(folders, seeds, found, strict=True):
        trials += attempted(failed, folder.name, partial(_trial, folder, seed, one))
    return trials


def _trial(folder: Path, seed: int, found: Any) -> Trial:
    from metafunc.training.run import Run

    if isinstance(found, Exception):
        raise found
    return Trial(Run(folder), found.learner, found.fit.best, found.family, seed)


class _Foremost:
    """Shows a step when the first of several trainings has taken it, and all that is not a step."""

    def __init__(self, show: Callback) -> None:
        self.show, self.step = show, 0

    def __call__(self, event: "Event") -> None:
        if event.phase != "train" or event.step > self.step:
            self.step = max(self.step, event.step)
            self.show(event)
