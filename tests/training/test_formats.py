"""Runs of format 1 have no sums, and say so; a run of format 2 from which sums were taken is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import metafunc
from metafunc import Recording, algorithms, data, nn, tree
from metafunc.nn import likelihood
from metafunc.training import checkpoint, manifest
from metafunc.training.events import Event
from metafunc.training.json_file import FileError
from metafunc.training.run import Run

FAMILY = data.sinusoid(num_shots=3, num_queries=3, num_test_queries=5)
RECORDED = Path(__file__).parent / "recorded"


class CrashError(Exception):
    """The process dies here."""


def fit(out: Path, *, stop: int | None = None, said: list[str] | None = None) -> Any:
    def watch(event: Event) -> None:
        if event.phase == "warning" and said is not None:
            said.append(event.message)
        if (event.step, event.phase) == (stop, "train"):
            raise CrashError

    learner = algorithms.maml(nn.mlp((1,), 1, hidden=(3,)), likelihood.gaussian())
    recording = Recording(config={"note": 1}, checkpoint_every=2, log_every=1)
    return metafunc.fit(
        learner, FAMILY, steps=6, num_tasks=2, out=out, resume=True, recording=recording, on_event=watch
    )


def ends(run: Path) -> Any:
    last, _ = checkpoint.newest(run / "checkpoints")
    assert last is not None
    return (
        last.step,
        {name: t.numpy().tobytes() for name, t in last.tensors.items()},
        (run / "metrics.jsonl").read_bytes(),
    )


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that died in step 5, with checkpoints of the steps 2 and 4."""
    with pytest.raises(CrashError):
        fit(tmp_path / "run", stop=5)
    return tmp_path / "run"


def older(run: Path) -> None:
    """Make it a run of format 1."""
    env = json.loads((run / "env.json").read_text())
    (run / "env.json").write_text(json.dumps({name: env[name] for name in env if name not in ("format", "sha256")}))
    for folder in (run / "checkpoints").iterdir():
        body = json.loads((folder / manifest.FILE).read_text())
        kept = {name: body[name] for name in ("step", "tensors", "state")} | {"format": 1}
        (folder / manifest.FILE).write_text(json.dumps(manifest.sealed(kept)))


def test_a_run_of_format_1_says_so_and_has_sums_from_then_on(stopped: Path, tmp_path: Path) -> None:
    fit(tmp_path / "whole")
    older(stopped)
    with pytest.warns(UserWarning, match="was recorded in format 1, without sums"):
        metafunc.load(stopped, algorithms.maml(nn.mlp((1,), 1, hidden=(3,)), likelihood.gaussian()))
    said: list[str] = []
    fit(stopped, said=said)
    assert "was recorded in format 1, without sums" in said[0]
    assert ends(stopped) == ends(tmp_path / "whole")
    env = json.loads((stopped / "env.json").read_text())
    (stopped / "env.json").write_text(json.dumps({**env, "threads": 2}))
    with pytest.raises(FileError, match="threads was 1 and is now 2"):
        fit(stopped)


def without_format(run: Path) -> None:
    env = json.loads((run / "env.json").read_text())
    del env["format"]
    (run / "env.json").write_text(json.dumps(env))


def without_record(run: Path) -> None:
    file = run / "checkpoints/step-000000004" / manifest.FILE
    body = json.loads(file.read_text())
    kept = {name: body[name] for name in ("step", "tensors", "state")} | {"format": 1}
    file.write_text(json.dumps(manifest.sealed(kept)))


def without_sums(run: Path) -> None:
    env = json.loads((run / "env.json").read_text())
    (run / "env.json").write_text(json.dumps({name: env[name] for name in env if name not in ("format", "sha256")}))


@pytest.mark.parametrize(
    ("take", "message"),
    [
        (without_format, "env.json is not what .* format was 2 and is now absent"),
        (without_sums, "env.json is not what .* sha256 was .* and is now absent"),
        (without_record, r"step-000000004.manifest.json has no record of the run, which .*env.json says it has"),
    ],
)
def test_sums_that_were_taken_from_a_run_are_missed(stopped: Path, take: Callable[[Path], None], message: str) -> None:
    take(stopped)
    with pytest.raises(FileError, match=message):
        fit(stopped)


def test_before_the_first_checkpoint_the_environment_has_the_sum(tmp_path: Path) -> None:
    with pytest.raises(CrashError):
        fit(tmp_path, stop=1)
    assert not (tmp_path / "checkpoints").exists()
    env, config = (tmp_path / name for name in ("env.json", "config.json"))
    for file, old, new in ((env, '"threads": 1', '"threads": 2'), (config, '"note": 1', '"note": 2')):
        before = file.read_text()
        file.write_text(before.replace(old, new))
        for question in ("config", "env"):
            with pytest.raises(FileError, match=r"config.json or .*env.json is not what was recorded"):
                getattr(Run(tmp_path), question)
        file.write_text(before)
    fit(tmp_path)


@pytest.mark.parametrize("lost", [1, 60])
def test_where_lines_are_lost_the_run_goes_on_from_before_them(stopped: Path, tmp_path: Path, lost: int) -> None:
    fit(tmp_path / "whole")
    log = stopped / "metrics.jsonl"
    counted = checkpoint.read(stopped / "checkpoints/step-000000004").record
    assert counted is not None
    log.write_bytes(log.read_bytes()[: counted["log"]["bytes"] - lost])
    said: list[str] = []
    fit(stopped, said=said)
    assert "The checkpoint of step 4 cannot be taken" in said[0]
    assert "goes on from step 2 instead" in said[0]
    assert ends(stopped) == ends(tmp_path / "whole")


def test_where_earlier_lines_have_changed_nothing_is_thrown_away(stopped: Path) -> None:
    log = stopped / "metrics.jsonl"
    changed = log.read_bytes().replace(b"loss", b"lost", 1)
    log.write_bytes(changed)
    with pytest.raises(FileError, match=r"line 1, has no 'loss'.* start a new run: fit again"):
        fit(stopped)
    assert log.read_bytes() == changed
    with pytest.raises(FileError, match="line 1, has no 'loss'"):
        list(Run(stopped).lines())


def test_in_format_1_a_line_that_cannot_be_read_is_not_cut_off(stopped: Path) -> None:
    older(stopped)
    log = stopped / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0], b'{"step": \n', *lines[2:]]))
    with pytest.raises(FileError, match=r"metrics.jsonl, line 2, is not valid JSON"):
        fit(stopped)
    assert log.read_bytes().startswith(lines[0] + b'{"step": \n' + lines[2])


def test_a_table_s_scale_is_missed_without_sums_too(tmp_path: Path) -> None:
    run = Path(shutil.copytree(RECORDED / "maml", tmp_path / "run"))
    assert Run(run).columns is None
    env = json.loads((run / "env.json").read_text())
    sides = {f"{side}_{what}": [1.0] for side in ("input", "target") for what in ("mean", "scale")}
    info: dict[str, Any] = {"inputs": ["x"], "targets": ["y"], **sides}
    for wrong, message in (
        ({**info, "target_maen": info["target_mean"]}, "data.info has no 'target_mean'"),
        ({**info, "target_mean": [1.0, 2.0]}, "data.info has 1 targets, and another number of target_mean"),
        ({**info, "input_scale": [None]}, r"input_scale\[0\] is null, but a finite number is needed"),
    ):
        if "target_maen" in wrong:
            del wrong["target_mean"]
        (run / "env.json").write_text(json.dumps({**env, "data": {**env["data"], "info": wrong}}))
        with pytest.raises(FileError, match=message):
            _ = Run(run).columns
    assert tree.size(metafunc.load(run)[1]) > 0
