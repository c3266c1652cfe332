"""Whatever happens to a file of a run, it is refused by its name, or every use ends bitwise as if nothing had happened.

A run is recorded once, up to a crash at step 5 behind the checkpoint of step 4; each case is a copy of its folder.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from metafunc_cli.commands.timing import SECONDS, Seconds

import metafunc
from metafunc import tree
from metafunc.evaluation import meta_test
from metafunc.results.predict_files import predict_files
from metafunc.training import checkpoint
from metafunc.training.config import build, train
from metafunc.training.events import Event
from metafunc.training.json_file import FileError
from metafunc.training.run import COMPILED, Run

from .damage import Damage, of_bytes, of_json, put

LAST = "checkpoints/step-000000004"
JSON = ("config.json", "env.json", COMPILED, "meta_test.json", SECONDS, f"{LAST}/manifest.json")
FILES = (*JSON, "metrics.jsonl", f"{LAST}/tensors.safetensors", "checkpoints/step-000000003/manifest.json")
MADE_AGAIN = (COMPILED, f"{LAST}/tensors.safetensors")
"""What can be written again, or is passed over for the best checkpoint, which is whole."""
READERS = {
    "meta_test.json": ("predict", "plot"),
    "metrics.jsonl": ("plot", "resume"),
    COMPILED: ("resume",),
    SECONDS: ("compare",),
}
"""By file, the uses that read it, where not all do."""


class CrashError(Exception):
    """The process dies here."""


def crash(event: Event) -> None:
    if (event.step, event.phase) == (5, "log"):
        raise CrashError


def table(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    rows = [
        {"task": task, "pressure": 1000 + 50 * u, "temperature": 20 + rise * u}
        for task in range(60)
        for rise in [generator.normal()]
        for u in generator.normal(size=8)
    ]
    pandas.DataFrame(rows).to_csv(folder / "lines.csv", index=False)
    pandas.DataFrame(rows[:4]).to_csv(folder / "support.csv", index=False)
    return folder / "lines.csv"


def recorded(folder: Path, name: str, *, lr: float, seed: int) -> Path:
    config = {
        "algorithm": {"name": "maml", "inner_lr": lr},
        "tasks": {"name": "regression", "path": str(table(folder)), "num_shots": 3, "num_queries": 3}
        | {"target_columns": ["temperature"]},
        "model": {"name": "mlp", "hidden": [3]},
        "training": {"steps": 6, "num_tasks": 2, "seed": seed, "checkpoint_every": 2, "log_every": 1}
        | {"validate_every": 3, "validation_tasks": 40, "compile": "off", "threads": 1},
    }
    run = Run(folder / name)

    def watch(event: Event) -> None:
        if (event.step, event.phase) == (3, "train"):
            run.write(COMPILED, {"step": 2, "arguments": f"{seed:016d}"})
        crash(event)

    with pytest.raises(CrashError):
        train(config, out=run.path, on_event=watch)
    learner, family = build(config)
    test = meta_test.evaluate(learner, metafunc.load(run.path)[1], family, num_tasks=3, num_steps=1)
    report = meta_test.report(test, algorithm="maml", tasks="regression", run=None, seed=seed, steps=6)
    run.write("meta_test.json", report)
    run.write(SECONDS, {"seconds": 1.5 + seed})
    return run.path


def loaded(run: Path) -> Any:
    return [leaf.numpy().tobytes() for leaf in tree.leaves(metafunc.load(run)[1])]


def predicted(run: Path) -> Any:
    out = run.parent / "out.csv"
    support = run.parent / "support.csv"
    predict_files(run, support=support, query=support, out=out, overwrite=True)
    return out.read_bytes()


def shown(run: Path) -> Any:
    metafunc.load(run)
    return list(Run(run).lines()), [*Run(run).reports().values()]


def timed(run: Path) -> Any:
    return Run(run).read(SECONDS, Seconds)


def warned(event: Event) -> None:
    if event.phase == "warning":
        warnings.warn(event.message, stacklevel=2)


@cache
def built(config: str) -> Any:
    return build(json.loads(config))


def resumed(run: Path) -> Any:
    config = Run(run).config
    train(config, out=run, resume=True, on_event=warned, built=built(json.dumps(config)))
    last, _ = checkpoint.newest(run / "checkpoints")
    assert last is not None
    tensors = {name: tensor.numpy().tobytes() for name, tensor in last.tensors.items()}
    files = [(run / name).read_bytes() for name in ("metrics.jsonl", "env.json", COMPILED)]
    return last.step, tensors, json.dumps(last.state), [json.loads(text) for text in files[1:]], files[0]


USES: Mapping[str, Callable[[Path], Any]] = {
    "load": loaded,
    "predict": predicted,
    "plot": shown,
    "compare": timed,
    "resume": resumed,
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    recorded(folder, "run", lr=0.05, seed=0)
    recorded(folder, "other", lr=0.04, seed=1)
    return folder


@pytest.fixture(scope="module")
def whole(here: Path) -> dict[str, Any]:
    return {name: use(copy(here)) for name, use in USES.items()}


def copy(here: Path) -> Path:
    shutil.rmtree(here / "copy", ignore_errors=True)
    return Path(shutil.copytree(here / "run", here / "copy"))


def became(
    here: Path, whole: Mapping[str, Any], file: str, content: bytes | None, uses: Iterable[str] = USES
) -> dict[str, str]:
    """What became of each use of a run one file of which holds something else: "same", "silent", or the message."""
    found = {}
    run = copy(here)
    put(run / file, content)
    for name in uses:  # the last one writes
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                same = USES[name](run) == whole[name]
            except ValueError as error:
                found[name] = str(error)
            else:
                found[name] = "same" if same else "; ".join(str(warning.message) for warning in said) or "silent"
    return found


def cases(file: str, content: bytes, num_keys: int) -> Iterator[Damage]:
    yield from of_bytes(content)
    if file in JSON:
        yield from of_json(content, num_keys)


@pytest.mark.parametrize("num_keys", [4, pytest.param(40, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("file", FILES)
def test_damage_is_named_or_changes_nothing(here: Path, whole: Mapping[str, Any], file: str, num_keys: int) -> None:
    named = 0
    for what, content in cases(file, (here / "run" / file).read_bytes(), num_keys):
        if (file, what) == ("meta_test.json", "gone"):  # as where there has been none
            continue
        for use, message in became(here, whole, file, content, READERS.get(file, USES)).items():
            where = f"{file}: {what}: {use}: {message}"
            assert message != "silent", where
            if message != "same":
                named += 1
                assert Path(file).name in message or Path(file).parent.name in message, where
                assert "\n" not in message, where
    assert named > 10 or file in MADE_AGAIN


@pytest.mark.parametrize("file", READERS)
def test_a_file_changes_nothing_for_what_does_not_read_it(here: Path, whole: Mapping[str, Any], file: str) -> None:
    others = [use for use in USES if use not in READERS[file]]
    assert {*became(here, whole, file, b"noise", others).values()} == {"same"}


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_another_run_is_named(here: Path, whole: Mapping[str, Any], file: str) -> None:
    found = became(here, whole, file, (here / "other" / file).read_bytes())
    assert "silent" not in found.values()
    assert {*found.values()} != {"same"} or file in MADE_AGAIN, found


@pytest.mark.parametrize("content", [None, b"{", b'{"step": 4, "arguments": "0000000000000000"}'])
def test_the_record_of_compiled_code_is_written_again(here: Path, content: bytes | None) -> None:
    run = copy(here)
    before = (run / COMPILED).read_bytes()
    put(run / COMPILED, content)
    with pytest.warns(UserWarning, match=r"compiled.json .* is written again as step 4 recorded it"):
        resumed(run)
    assert (run / COMPILED).read_bytes() == before


def test_a_record_of_compiled_code_that_no_checkpoint_knows_is_refused(here: Path) -> None:
    run = copy(here)
    Run(run).write(COMPILED, {"step": 3, "arguments": "0000000000000000"})
    with pytest.raises(FileError, match=r"compiled.json states .*'step': 3.* step 4 recorded .*'step': 2"):
        resumed(run)


def test_an_environment_that_cannot_be_read_is_written_again(here: Path, whole: Mapping[str, Any]) -> None:
    run = copy(here)
    before = (run / "env.json").read_bytes()
    put(run / "env.json", b"")
    with pytest.warns(UserWarning, match=r"env.json is not valid JSON.* What step-000000004 recorded of it is taken"):
        assert predicted(run) == whole["predict"]
    assert (run / "env.json").read_bytes() == b"", "only training writes"
    with pytest.warns(UserWarning, match="env.json"):
        assert resumed(run) == whole["resume"]
    assert (run / "env.json").read_bytes() == before


def test_a_checkpoint_of_another_run_is_refused_by_what_differs(here: Path) -> None:
    run = copy(here)
    shutil.rmtree(run / LAST)
    shutil.copytree(here / "other" / LAST, run / LAST)
    for use in (loaded, predicted, shown, resumed):
        with pytest.raises(FileError, match=r"step-000000004 recorded: .*was 0.04 and is now 0.05"):
            use(run)


def test_another_checkpoint_under_a_checkpoint_s_name_is_passed_over(here: Path, whole: Mapping[str, Any]) -> None:
    run = copy(here)
    shutil.rmtree(run / LAST)
    shutil.copytree(run / "checkpoints/step-000000003", run / LAST)
    with pytest.warns(UserWarning, match="manifest is that of step 3"):
        assert loaded(run) == whole["load"], "the best is that of step 3"
    assert resumed(run) == whole["resume"]
