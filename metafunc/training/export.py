"""A run as it is handed on: best meta-parameters, settings, log and meta-tests, and nothing of where it was made."""

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from metafunc.data.atomic_write import about, make_folder, write_json, write_through
from metafunc.training import checkpoint, hub, load, log_lines, manifest, record
from metafunc.training.json_file import FileError
from metafunc.training.manifest import Lines, Record
from metafunc.training.record import CONFIG, ENV
from metafunc.training.run import Run
from metafunc.training.state import saved_state


def export(run: str | Path, folder: str | Path) -> Path:
    """Write a copy of a run, to be handed on: a run of its own, which `load` reads as it does any other.

    It has the checkpoint of the best validation without the state of the optimiser, the log, and the meta-tests. Of
    paths, in its settings and in what was recorded of its data, the last part is left.

    Args:
        run: the run's folder.
        folder: an empty one.

    Returns:
        The folder.

    Raises:
        ValueError: the run has no whole checkpoint, or needs a module of the user's, which is not elsewhere.
        FileError: one of its files is not what was recorded.

    Examples:
        >>> import tempfile, metafunc
        >>> from metafunc.training.config import train
        >>> from metafunc.training.export import export
        >>> config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "training": {"steps": 2}}
        >>> source, target = tempfile.mkdtemp(), tempfile.mkdtemp()
        >>> _ = train(config, out=source)
        >>> learner, meta = metafunc.load(export(source, target))
    """
    place, target = Run(Path(run)), Path(folder)
    config = without_paths(place.config)
    for section, settings in config.items():
        if isinstance(settings, dict) and ":" in str(settings.get("name", "")):
            raise ValueError(
                f"{place.path} was made with {settings['name']} as its {section}, a module of yours, which is not "
                "imported from elsewhere: hand the run on together with the module."
            )
    saved = load.chosen(place, "best")
    state = saved_state(saved)
    best = state["best"]
    kept = {name: tensor for name, tensor in saved.tensors.items() if name.startswith("meta.")}
    plan = {**state["plan"], "steps": saved.step}  # all that there are of it
    handed = {**state, "optimiser": {}, "schedule": None, "kinds": [], "plan": plan}
    handed["best"] = None if best is None else {**best, "step": saved.step}
    stated = {name: value for name, value in place.env.items() if name not in ("format", "sha256")}
    env = record.begun(config, without_paths(stated))
    make_folder(target)
    write_json(target / ENV, env)
    write_json(target / CONFIG, config)
    known = Record(config=config, env=env, compiled=None, log=_copied_log(place, target))
    checkpoint.save(target / "checkpoints", saved.step, kept, handed, known)
    for file, report in place.reports().items():
        if hub.READ.fullmatch(file.name):
            Run(target).write(file.name, {**without_paths(report), "run": None})
    return target


def without_paths(value: Any) -> Any:
    """A value from JSON, whose absolute paths have lost all but their last part.

    Examples:
        >>> without_paths({"path": "/home/ada/machines.csv", "sizes": [1, "a/b"]})
        {'path': 'machines.csv', 'sizes': [1, 'a/b']}
    """
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if not isinstance(value, str):
        return value
    if PureWindowsPath(value).drive:
        return PureWindowsPath(value).name
    return PurePosixPath(value).name if value.startswith(("/", "~")) else value


def _copied_log(place: Run, target: Path) -> Lines:
    """The part of the log that the newest checkpoint counts."""
    newest = next((body.get("run") for _, body in manifest.undamaged(place.checkpoints)), None)
    if newest is None:
        raise FileError(f"{place.path} was recorded in format 1, without sums: train it again to hand it on.")
    counted = newest["log"]
    log_lines.check(place.metrics, counted)
    with about(place.metrics):
        content = place.metrics.read_bytes()[: counted["bytes"]] if counted["bytes"] else b""
    write_through(target / "metrics.jsonl", content)
    return counted
