"""A run's folder: what was asked for, where it ran, how it went, and what came out.

`config.json` (what was asked for), `env.json` (where), `metrics.jsonl` (one line every so many steps, without
clock times, so that a resumed run writes the same bytes), `compiled.json` (its first compiled step), `checkpoints/`,
`figures/`, `meta_test.json`.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metafunc.data.atomic_write import BUILDING, write_json
from metafunc.training.renamed import current

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]  # the module, or None where there is none

COMPILED = "compiled.json"
LOCK = ".lock"
_OURS = ("config.json", "env.json", COMPILED, "metrics.jsonl", "meta_test.json", "checkpoints", "figures")


@dataclass(frozen=True)
class Run:
    """The files of one run; making the object touches none of them."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """The folder of figures; drawing makes it."""
        return self.path / "figures"

    @property
    def metrics(self) -> Path:
        """The log: one JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def meta_test(self) -> Path:
        """The result of the meta-test."""
        return self.path / "meta_test.json"

    @property
    def config(self) -> dict[str, Any]:
        """What was asked for.

        Raises:
            ValueError: the folder is no run.
        """
        return self._read("config.json")

    @property
    def env(self) -> dict[str, Any]:
        """Where the run was started."""
        return self._read("env.json")

    @property
    def compiled(self) -> dict[str, Any] | None:
        """The run's first compiled step; None if there is none, or all are compiled."""
        return self._read(COMPILED) if (self.path / COMPILED).exists() else None

    def lines(self) -> Iterator[dict[str, Any]]:
        """The log, line by line; a last line that was cut off by a crash is left out."""
        if self.metrics.exists():
            for line in self.metrics.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    yield json.loads(line)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.path / name).read_text())
        except FileNotFoundError:
            raise ValueError(f"{self.path} is no run: it has no {name}. Give the folder that training wrote.") from None
        except ValueError as error:
            raise ValueError(f"{self.path / name} is not valid JSON: {error}.") from error
        if not isinstance(found, dict):
            raise ValueError(f"{self.path / name} holds no JSON object.")
        return found


def begin(path: Path, config: Mapping[str, Any], env: Mapping[str, Any], *, resume: bool, overwrite: bool) -> Run:
    """Begin a run in a folder that is locked, or open one to go on with.

    Args:
        path: the folder.
        config: written to `config.json`; a resumed run's has to be the same.
        env: written to `env.json` by a new run.
        resume: go on in an existing run; a folder that is absent or empty becomes a new one.
        overwrite: delete an existing run first.

    Raises:
        ValueError: the folder holds a run and neither flag is given, or both; it holds something else; or the
            configuration differs from the run's; the message names the settings.
    """
    if resume and overwrite:
        raise ValueError("resume goes on with a run and overwrite deletes it: give one of them.")
    asked, env = json.loads(json.dumps(dict(config))), json.loads(json.dumps(dict(env)))  # or refused before a write
    run = Run(path)
    entries = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    foreign = sorted(name for name in entries - {"env.json"} if not name.startswith("."))
    links = [name for name in sorted(entries & {*_OURS}) if (path / name).is_symlink()]
    if links:
        raise ValueError(f"{path / links[0]} is a link, and a run writes into its own folder only: delete the link.")
    if foreign and "config.json" not in entries:
        raise ValueError(f"{path} is no run and not empty (it holds {foreign[0]}): choose another folder.")
    if "config.json" in entries and not (resume or overwrite):
        raise ValueError(f"{path} holds a run already. Choose another folder, or resume it, or overwrite it.")
    if resume and "config.json" in entries:
        differences = list(_differences(current(run.config), current(asked)))
        if differences:
            raise ValueError(f"{path} was begun with another configuration: {'; '.join(differences)}.")
        return run
    for remnant in path.glob(f".*{BUILDING}*"):
        remnant.unlink()
    for name in entries & set(_OURS):
        shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / "env.json", env)
    write_json(path / "config.json", asked)  # last: it is what makes the folder a run
    return run


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep a second process out of a folder, which is made if it is absent, before anything in it is looked at.

    The lock ends with the process, however that ends. A folder that does not become a run is left as it was.

    Raises:
        ValueError: another process is at work in it, or it cannot be a run's folder.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; a run needs a folder.")
    new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    lock = path / LOCK
    known = lock.exists()
    if lock.is_symlink():
        raise ValueError(f"{lock} is a link, and a run writes into its own folder only: delete the link.")
    with lock.open("a") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"Another process is training in {path}; wait for it or stop it first.") from None
        try:
            yield
        finally:
            if not (known or (path / "config.json").exists()):
                lock.unlink(missing_ok=True)
                if new and not any(path.iterdir()):
                    path.rmdir()


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            name = f"{path}.{key}" if path else str(key)
            if key not in new:
                yield f"{name} was {json.dumps(old[key])} and is now absent"
            elif key not in old:
                yield f"{name} was absent and is now {json.dumps(new[key])}"
            else:
                yield from _differences(old[key], new[key], name)
    elif old != new:
        yield f"{path} was {json.dumps(old)} and is now {json.dumps(new)}"


def fitted_noise(run: Run) -> tuple[float | None, ...]:
    """The noise scales that a run's meta-test fitted on validation tasks, by step; empty if there are none."""
    if not run.meta_test.exists():
        return ()
    by_step = json.loads(run.meta_test.read_text())["meta_test"]["by_step"]
    return tuple(row["noise_scale"] for row in by_step) if "noise_scale" in by_step[0] else ()
