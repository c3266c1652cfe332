"""Trials of one learner with several seeds, which are trained at once."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc_cli.commands.timing import Account, Clock, Times
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

    clock, shares = Clock(), [Share(Account(Run(folder))) for folder in folders]
    timed = clock.around(_Foremost(show))

    def on_event(position: int, event: "Event") -> None:
        timed(event)
        shares[position].of(clock, event)

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
        for share in shares:
            share.keep()
    trials: list[Trial] = []
    for folder, seed, one in zip(folders, seeds, found, strict=True):
        trials += attempted(failed, folder.name, partial(_trial, folder, seed, one))
    return trials


def _trial(folder: Path, seed: int, found: Any) -> Trial:
    from metafunc.training.run import Run

    if isinstance(found, Exception):
        raise found
    return Trial(Run(folder), found.learner, found.fit.best, found.family, seed)


class Share:
    """What one of several trainings has taken of the time of all: as much as of their steps, when it took its last."""

    def __init__(self, account: Account) -> None:
        self.account, self.steps, self.taken = account, 0, Times(0.0, 0.0)
        self.validations: dict[int, Times] = {}

    def of(self, clock: Clock, event: "Event") -> None:
        """Look at the clock of all when an event of this training has come."""
        self.steps += event.phase == "train"
        if self.steps:
            self.taken = clock.taken.over(clock.steps / self.steps)
        if event.phase == "validation":
            self.validations[event.step] = self.taken
        if event.phase == "checkpoint":
            self.keep()

    def keep(self) -> None:
        """Write what this training has taken so far into its folder."""
        self.account.keep(self.taken, self.validations)


class _Foremost:
    """Shows a step when the first of several trainings has taken it, and all that is not a step."""

    def __init__(self, show: Callback) -> None:
        self.show, self.step = show, 0

    def __call__(self, event: "Event") -> None:
        if event.phase != "train" or event.step > self.step:
            self.step = max(self.step, event.step)
            self.show(event)
