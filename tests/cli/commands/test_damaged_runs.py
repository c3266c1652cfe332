"""Every command that reads a run ends with one line that names the file and what differs, and says how to go on."""

import json
import shlex
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.__main__ import run as command
from metafunc_cli.commands.timing import SECONDS
from metafunc_cli.errors import DATA, OK, USAGE

from metafunc.training.run import Run

DATA_FLAGS = shlex.split("--data.num-shots 3 --data.num-queries 3 --data.num-test-queries 3")
SMALL = [*DATA_FLAGS, *shlex.split("--model.hidden 3 --num-tasks 2")]
COMMANDS = {
    "resume": ["train", "--resume", "run"],
    "start": ["train", "maml", "regression", "--data.path", "t.csv", "--steps", "1", *SMALL, "--init-from", "run"],
    "eval": ["eval", "run", "--num-tasks", "3", "--num-steps", "1"],
    "plot": ["plot", "run"],
    "predict": ["predict", "run", "--support", "s.csv", "--query", "s.csv", "--out", "out.csv", "--overwrite"],
    "compare": ["compare", "run", "--test-tasks", "3", "--no-figures", "--out", "compared"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    rows = [f"{task},{x},{x * task}" for task in range(20) for x in range(8)]
    (folder / "t.csv").write_text("\n".join(["task,x,y", *rows]))
    (folder / "s.csv").write_text("x,y\n1,2\n2,4\n3,6\n")
    line = f"train maml regression --data.path {folder}/t.csv --steps 2"
    flags = f"--test-tasks 3 --test-steps 1 --out {folder}/run --quiet"
    assert command([*shlex.split(line), *SMALL, *shlex.split(flags)]) == OK
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def edit(file: str, change: Callable[[dict[str, Any]], None]) -> None:
    found = json.loads(Path(file).read_text())
    change(found)
    Path(file).write_text(json.dumps(found))


def ended(name: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    quiet = [] if name in ("plot", "predict") else ["--quiet"]
    code = command([*COMMANDS[name], *quiet])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_an_edited_configuration_is_refused_with_the_field_and_what_to_do(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit("run/config.json", lambda config: config["algorithm"].update(inner_lr=0.81))
    code, message = ended(name, capsys)
    assert code == DATA
    assert "run/config.json is not what step-000000002 recorded: algorithm.inner_lr was 0.01 and is now 0.81" in message
    line = message.split("start a new run with what is: ")[1].strip()
    assert command([*shlex.split(line)[1:], "--quiet"]) == OK
    assert Run(here / "run-2").config["algorithm"]["inner_lr"] == 0.81


@pytest.mark.parametrize("name", COMMANDS)
def test_a_renamed_key_of_the_environment_is_refused_by_its_name(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit("run/env.json", lambda env: env["data"]["info"].update(target_mea=env["data"]["info"].pop("target_mean")))
    code, message = ended(name, capsys)
    assert code == DATA
    assert "run/env.json is not what step-000000002 recorded: data.info.target_mean was" in message
    assert "data.info.target_mea was absent and is now" in message


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b'{"a":' * 100_000, b"[]"])
def test_a_configuration_that_cannot_be_read_is_one_line(
    name: str, content: bytes, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run/config.json").write_bytes(content)
    code, message = ended(name, capsys)
    assert code == DATA
    assert "run/config.json" in message
    assert "manifest.json, under run.config" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("name", ["plot", "predict"])
def test_a_meta_test_that_was_changed_is_refused(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit("run/meta_test.json", lambda report: report["meta_test"]["by_step"][1].update(noise_scale=3.0))
    code, message = ended(name, capsys)
    assert code == DATA
    assert "run/meta_test.json is not what this run wrote" in message
    assert "Delete it; metafunc eval makes it again" in message
    Path("run/meta_test.json").unlink()
    assert ended("eval", capsys)[0] == OK
    assert ended(name, capsys)[0] == OK


@pytest.mark.parametrize("name", ["plot", "resume"])
def test_a_changed_line_of_the_log_is_refused(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Path("run/metrics.jsonl")
    log.write_text(log.read_text().replace("loss", "losr", 1))
    code, message = ended(name, capsys)
    assert code == DATA
    assert "run/metrics.jsonl are not the lines that were recorded" in message
    assert "line 1, has no 'loss'" in message


def test_plot_says_what_it_leaves_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run/meta_test.json").unlink()
    code, message = ended("plot", capsys)
    assert code == OK
    assert message == "warning: No adaptation curve is drawn: run has no meta_test.json, which metafunc eval makes.\n"


@pytest.mark.parametrize("name", ["eval", "plot", "predict"])
def test_a_last_checkpoint_that_is_gone_is_said(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "train maml sinusoid --steps 4 --checkpoint-every 2 --test-tasks 0 --quiet --out run --overwrite"
    assert command([*shlex.split(line), *SMALL]) == OK
    shutil.copytree("run/checkpoints/step-000000004", "kept")
    assert "finished" not in ended(name, capsys)[1]
    shutil.rmtree("run/checkpoints/step-000000004")
    code, message = ended(name, capsys)
    assert code == OK
    assert (
        "run is not finished, or its last checkpoint is gone: it was to take 4 steps. The checkpoint of step 2"
        in message
    )


def test_a_run_does_not_go_on_with_other_data(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = here / "own.csv"
    shutil.copy("t.csv", table)
    line = f"train maml regression --data.path {table} --steps 4 --checkpoint-every 2 --test-tasks 0 --quiet --out own"
    assert command([*shlex.split(line), *SMALL]) == OK
    shutil.rmtree("own/checkpoints/step-000000004")
    before = {file: file.read_bytes() for file in Path("own").rglob("*") if file.is_file()}
    table.write_text(table.read_text().replace("1,3,3", "1,3,300"))
    capsys.readouterr()
    assert command(["train", "--resume", "own", "--quiet"]) == USAGE
    message = capsys.readouterr().err
    assert f"{table} is not what own was begun with (target_mean was [" in message
    assert {file: file.read_bytes() for file in Path("own").rglob("*") if file.is_file()} == before
    new = message.split("start a new run with what is: ")[1].strip()
    assert command([*shlex.split(new)[1:], "--quiet"]) == OK
    shutil.copy("t.csv", table)
    assert command(["train", "--resume", "own", "--quiet"]) == OK


@pytest.mark.parametrize("name", ["eval", "train"])
def test_a_meta_test_is_not_kept_in_another_run(
    name: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from metafunc.evaluation import meta_test

    evaluate = meta_test.evaluate
    line = f"train maml regression --data.path {here}/t.csv --steps 2 --quiet --out run --overwrite"

    def meanwhile(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(meta_test, "evaluate", evaluate)
        assert command([*shlex.split(line), *SMALL, "--seed", "1", "--test-tasks", "0"]) == OK
        return evaluate(*given, **named)

    monkeypatch.setattr(meta_test, "evaluate", meanwhile)
    words = COMMANDS["eval"] if name == "eval" else [*shlex.split(line), *SMALL, "--test-tasks", "3"]
    assert command([*words, "--test-steps" if name == "train" else "--num-steps", "1"]) == USAGE
    assert "run holds another run by now" in capsys.readouterr().err
    assert not list(Path("run").glob("meta_test*"))


def test_times_that_cannot_be_read_are_named_and_made_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"compare --algorithms maml --tasks regression --data.path {here}/t.csv --steps 1 --seeds 1"
    flags = "--test-tasks 3 --no-figures --out compared --json"
    words = [*shlex.split(line), *SMALL, *shlex.split(flags)]
    assert command(words) == OK
    assert json.loads(capsys.readouterr().out)["rows"][0]["seconds"] > 0
    file = Path("compared/maml-0") / SECONDS
    for content in (b"", b"{", b'{"seconds": 1e9}'):
        file.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            assert command(words) == OK
        shown = capsys.readouterr()
        assert f"{file}" in shown.err
        assert "is not known any more" in shown.err
        assert json.loads(shown.out)["rows"][0]["seconds"] is None
        assert json.loads(file.read_text())["seconds"] is None
    assert command(words) == OK
    assert SECONDS not in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_a_usage_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run/config.json").unlink()
    for name in COMMANDS:
        code, message = ended(name, capsys)
        assert code == USAGE
        assert "run is no run: it has no config.json" in message
