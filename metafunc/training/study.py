"""A study of Optuna in a folder: who has which trial, what is proposed next, and what has come of all."""

import secrets
import time
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout

from metafunc.data.atomic_write import make_folder, refuse_link, write_json
from metafunc.evaluation.metrics.table import higher_is_better
from metafunc.training import json_file
from metafunc.training.search_space import Space
from metafunc.training.tried import Found, State, Tried

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

FILE, JOURNAL, LOCKS = "study.json", "journal.log", ".locks"
PATIENCE = 1.0
"""Seconds between two looks at trials that other workers have."""
ADOPTIONS = 3
"""So often a trial is begun at the same step: one that goes no further ends its workers."""
STARTED, ENDED, MESSAGE = "started at", "ended", "message"
"""What is kept with a trial: the steps that it was begun or adopted at, how it ended, and why."""


class Taken(NamedTuple):
    """A trial that this worker has.

    Args:
        trial: Optuna's.
        folder: of its run.
    """

    trial: "Trial"
    folder: Path


@dataclass(frozen=True)
class Study:
    """A study that is open.

    Args:
        folder: what all workers share.
        space: what is searched.
        metric: of the validations.
        prunes: whether trials end that are worse than the median.
        optuna: Optuna's own.
    """

    folder: Path
    space: Space
    metric: str
    prunes: bool
    optuna: "optuna.Study"

    def trials(self, number: int) -> Generator[Taken]:
        """Trials to run, until the study has so many and none of them is running: adopted ones first."""
        while True:
            with self._one(number) as taken:
                if taken is not None:
                    yield taken
                    continue
            if not self._running() and len(self.optuna.trials) >= number:
                return
            time.sleep(PATIENCE)

    def values(self, trial: "Trial") -> dict[str, Any]:
        """The values of a trial, by `section.setting`: proposed now, or before."""
        return {name: dimension.suggested(trial, name) for name, dimension in self.space.items()}

    def frozen(self, trial: "Trial") -> "FrozenTrial":
        """What is recorded of a trial."""
        return next(one for one in self.optuna.get_trials(deepcopy=False) if one.number == trial.number)

    def goes_on(self, taken: Taken, step: int) -> bool:
        """Whether a trial is worth another attempt, which begins at a step; if not, it has failed."""
        before = [*taken.trial.user_attrs.get(STARTED, []), step]
        taken.trial.set_user_attr(STARTED, before)
        if before.count(step) <= ADOPTIONS:
            return True
        self.tell(taken, "failed", f"Its workers ended {ADOPTIONS} times after step {step}.")
        return False

    def interrupted(self, taken: Taken) -> None:
        """Record that a signal stopped a trial, which is no failure of its worker."""
        taken.trial.set_user_attr(STARTED, taken.trial.user_attrs.get(STARTED, [])[:-1])

    def tell(self, taken: Taken, ended: State, message: str = "") -> None:
        """Record how a trial has ended."""
        from optuna.trial import TrialState

        taken.trial.set_user_attr(ENDED, ended)
        taken.trial.set_user_attr(MESSAGE, message)
        score = self._best(self.frozen(taken.trial))
        if ended == "complete" and score is not None:
            self.optuna.tell(taken.trial, score)
        else:
            lost = ended in ("complete", "failed")
            self.optuna.tell(taken.trial, state=TrialState.FAIL if lost else TrialState.PRUNED)

    def tried(self, frozen: "FrozenTrial") -> Tried:
        """What came of a trial."""
        values = {name: self.space[name].of(value) for name, value in frozen.params.items()}
        ended: State = "running" if not frozen.state.is_finished() else frozen.user_attrs.get(ENDED, "failed")
        step = frozen.last_step
        folder, message = self._folder(frozen.number), frozen.user_attrs.get(MESSAGE, "")
        return Tried(frozen.number, values, ended, self._best(frozen), step, folder, message)

    def _best(self, frozen: "FrozenTrial") -> float | None:
        finite = [value for value in frozen.intermediate_values.values() if isfinite(value)]
        if not finite:
            return None
        return max(finite) if higher_is_better(self.metric) else min(finite)

    def _folder(self, number: int) -> Path:
        return self.folder / f"trial-{number:05d}"

    def _running(self) -> "list[FrozenTrial]":
        return [trial for trial in self.optuna.get_trials(deepcopy=False) if not trial.state.is_finished()]

    @contextmanager
    def _one(self, number: int) -> Iterator[Taken | None]:
        """A trial that no other worker has, as long as it is run; None where there is none.

        A trial is its worker's by a lock that ends with the process.
        """
        from optuna.trial import Trial

        held: FileLock | None = None
        trial: Trial | None = None
        with FileLock(self.folder / LOCKS / "study"):
            for frozen in self._running():
                held = _held(self.folder / LOCKS / str(frozen.number))
                if held is None:
                    continue
                if frozen.number in [one.number for one in self._running()]:  # it may have ended meanwhile
                    trial = Trial(self.optuna, frozen._trial_id)
                    break
                held.release()
            if trial is None and len(self.optuna.trials) < number:
                trial = self.optuna.ask()
                held = _held(self.folder / LOCKS / str(trial.number))
        try:
            yield None if trial is None else Taken(trial, self._folder(trial.number))
        finally:
            if held is not None:
                held.release()


def opened(folder: Path, space: Space, about: Mapping[str, Any], storage: str | None) -> Study:
    """Begin a study in a folder, or take part in the one that it has.

    Args:
        folder: what all workers share.
        space: what is searched.
        about: `config`, `seed`, `prunes` and `metric`, which are the same for all workers.
        storage: the address of a database; None: a file in the folder.

    Raises:
        ValueError: the folder holds something else, or a study of other settings.
        ModuleNotFoundError: Optuna is not installed.
    """
    if (folder / "config.json").exists():
        raise ValueError(f"{folder} is a run: a study needs another folder.")
    optuna, kept = _library(), None if storage is None else _storage(folder, storage)
    make_folder(folder / LOCKS)
    refuse_link(folder / FILE)
    wanted = {**about, "space": {name: each.to_json() for name, each in space.items()}, "storage": storage}
    with FileLock(folder / LOCKS / "study"):
        if not (folder / FILE).exists():
            write_json(folder / FILE, {"name": f"{folder.resolve().name}-{secrets.token_hex(4)}", **wanted})
        known = json_file.read(folder / FILE)
        name = known.pop("name")
        if changed := [*json_file.differences(known, json_file.parse(json_file.canonical(wanted).encode(), FILE))]:
            raise ValueError(f"{folder} has a study of other settings: {'; '.join(changed)}. Take another folder.")
        found = optuna.create_study(
            storage=kept or _storage(folder, storage),
            study_name=name,
            sampler=_sampler(about["seed"]),
            pruner=optuna.pruners.MedianPruner(),
            direction="maximize" if higher_is_better(about["metric"]) else "minimize",
            load_if_exists=True,
        )
    return Study(folder, space, about["metric"], about["prunes"], found)


def read(study: Study) -> Found:
    """What has come of all trials of a study."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    tried = tuple(study.tried(trial) for trial in study.optuna.trials)
    complete = [one for one in tried if one.state == "complete"]
    several = len(complete) > 1 and len({one.score for one in complete}) > 1
    evaluator = PedAnovaImportanceEvaluator()
    shares = get_param_importances(study.optuna, evaluator=evaluator) if several else {}
    return Found(study.metric, tried, shares)


def _library() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise ModuleNotFoundError("A search needs Optuna: pip install 'metafunc[tune]'", name="optuna") from None
    return optuna


def _storage(folder: Path, address: str | None) -> "BaseStorage":
    from optuna.storages import JournalStorage, get_storage
    from optuna.storages.journal import JournalFileBackend

    if address is None:
        return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    try:
        return get_storage(address)
    except Exception as error:  # of SQLAlchemy and of the driver that it imports for an address
        raise ValueError(f"{address} is no database that can keep a study: {error}") from error


def _held(file: Path) -> FileLock | None:
    """A lock, if no other worker has it."""
    lock = FileLock(file, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def _sampler(seed: int) -> "BaseSampler":
    """The tree-structured Parzen estimator, with a generator of its own for every trial: a function of (seed, number),
    whichever worker asks, and however often it was begun."""
    import numpy as np
    from optuna.samplers import BaseSampler, TPESampler

    class ByNumber(BaseSampler):
        def _of(self, trial: "FrozenTrial", name: str = "") -> TPESampler:
            # One stream for each setting: a new sampler would draw the same number for all of them.
            entropy = [seed, trial.number, zlib.crc32(name.encode())]
            return TPESampler(seed=int(np.random.SeedSequence(entropy).generate_state(1)[0]))

        def infer_relative_search_space(self, study: Any, trial: "FrozenTrial") -> Any:
            return self._of(trial).infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: "FrozenTrial", search_space: Any) -> Any:
            return self._of(trial).sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: "FrozenTrial", param_name: str, param_distribution: Any) -> Any:
            return self._of(trial, param_name).sample_independent(study, trial, param_name, param_distribution)

    return ByNumber()
