"""Whatever a checkpoint promises is on the disk before its save returns: files, and the folders that name them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metafunc
from metafunc import Recording, Validation, algorithms, data, nn
from metafunc.data import atomic_write
from metafunc.nn import likelihood
from metafunc.training import checkpoint, run, trackers
from metafunc.training.events import Event
from metafunc.training.trackers import JsonLines

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="says which file a descriptor is of")


class Unforced:
    """The files and folders with changes that a power cut may undo, as a strict file system has it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.paths: set[Path] = set()
        self.order: list[tuple[str, set[str]]] = []
        real = {"open": os.open, "fsync": os.fsync, "mkdir": Path.mkdir, "rename": Path.rename, "path": Path.open}

        def opened(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            if flags & os.O_CREAT:
                self.changed(Path(path))
            return real["open"](path, flags, *rest, **more)

        def path_open(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
            if mode[0] in "wax":
                self.changed(path)
            return real["path"](path, mode, *rest, **more)

        def made(path: Path, *rest: Any, **more: Any) -> None:
            if not path.exists():
                self.paths |= {path.absolute(), path.absolute().parent}
            real["mkdir"](path, *rest, **more)

        def renamed(path: Path, target: Path) -> Path:
            old, new = path.absolute(), Path(target).absolute()
            self.order.append((new.name, {each.name for each in self.paths}))
            moved = {new / each.relative_to(old) for each in self.paths if each.is_relative_to(old)}
            self.paths = {each for each in self.paths if not each.is_relative_to(old)} | moved | {new.parent}
            return real["rename"](path, target)

        def forced(handle: int) -> None:
            real["fsync"](handle)
            self.paths.discard(Path(os.readlink(f"/proc/self/fd/{handle}")))

        patch.setattr(os, "open", opened)
        patch.setattr(os, "fsync", forced)
        for name, function in (("open", path_open), ("mkdir", made), ("rename", renamed), ("replace", renamed)):
            patch.setattr(Path, name, function)

    def changed(self, path: Path) -> None:
        path = path.absolute()
        self.paths |= {path} | (set() if path.exists() else {path.parent})


@pytest.fixture
def unforced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unforced]:
    with monkeypatch.context() as patch:
        yield Unforced(patch)


def trained(out: Path, unforced: Unforced) -> list[set[Path]]:
    """What is not on the disk whenever a checkpoint was written; a lock holds nothing."""
    found: list[set[Path]] = []

    def watch(event: Event) -> None:
        if event.phase == "checkpoint":
            found.append({path for path in unforced.paths if path.name != ".lock"})

    learner = algorithms.maml(nn.mlp((1,), 1, hidden=(3,)), likelihood.gaussian())
    recording = Recording(log_every=1, checkpoint_every=2)
    family = data.sinusoid(num_shots=3, num_queries=3, num_test_queries=3)
    metafunc.fit(
        learner,
        family,
        steps=5,
        num_tasks=2,
        out=out,
        recording=recording,
        validation=Validation(every=3, num_tasks=2),
        on_event=watch,
    )
    return found


def test_nothing_that_a_checkpoint_needs_can_be_lost_in_a_power_cut(tmp_path: Path, unforced: Unforced) -> None:
    assert trained(tmp_path / "runs" / "new" / "run", unforced) == [set()] * 4  # at 2, at the best, 3, at 4 and at 5


def log_at_checkpoints(unforced: Unforced) -> list[bool]:
    """Whether the log was on the disk, by checkpoint, when the checkpoint got its name."""
    return ["metrics.jsonl" not in names for target, names in unforced.order if target.startswith("step-")]


def test_lines_of_the_log_are_forced_before_the_checkpoint_that_counts_them(tmp_path: Path, unforced: Unforced) -> None:
    trained(tmp_path / "run", unforced)
    assert log_at_checkpoints(unforced) == [True] * 4


def test_a_log_that_is_not_forced_is_noticed(tmp_path: Path, unforced: Unforced, monkeypatch: Any) -> None:
    def lazy(self: JsonLines) -> Any:
        return {"bytes": self._bytes, "sha256": self._sum.hexdigest()}

    monkeypatch.setattr(JsonLines, "force", lazy)
    trained(tmp_path / "run", unforced)
    assert log_at_checkpoints(unforced) == [False] * 4


def test_a_folder_that_is_not_forced_is_noticed(tmp_path: Path, unforced: Unforced, monkeypatch: Any) -> None:
    """The model sees what it should: without forcing folders, checkpoints can be lost."""
    for module in (atomic_write, checkpoint, run, trackers):
        monkeypatch.setattr(module, "force", lambda directory: None)
    lost = trained(tmp_path / "run", unforced)
    assert {tmp_path / "run", tmp_path / "run/checkpoints"} <= lost[0]
