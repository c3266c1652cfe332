"""Which words the tab key offers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from metafunc_cli.__main__ import COMMANDS
from metafunc_cli.settings import next_words as module
from metafunc_cli.settings import word_table
from metafunc_cli.settings.compose import read
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES
from metafunc_cli.settings.next_words import next_words
from metafunc_cli.settings.options import Training
from metafunc_cli.settings.space_argument import searchable


def offered(line: str) -> list[str]:
    return next_words(line.split(" "), COMMANDS)


def test_commands_sections_and_shells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # runs of this folder are offered too
    assert offered("") == [*COMMANDS]
    assert offered("tr") == ["train"]
    assert offered("--v") == ["--version"]
    assert offered("list a") == ["algorithms"]
    assert offered("completion ") == ["bash", "zsh", "fish"]
    assert offered("no_such_command ") == []


def test_algorithms_and_families_that_fit_each_other() -> None:
    assert [*ALGORITHMS, *FAMILIES] == [word for word in offered("train ") if not word.endswith(".csv")]
    assert offered("train maml_rl ") == [name for name, row in FAMILIES.items() if row.kinds == ("control",)]
    assert offered("train circles reg") == []
    assert "alpaca" not in offered("train circles ")
    assert "alpaca" in offered("train sinusoid ")


def test_the_flags_are_those_of_the_pair() -> None:
    flags = offered("train reptile glyphs --")
    assert {"--batch-size", "--data.num-ways", "--outer-lr", "--preset", "--model.filters", "--model"} <= {*flags}
    assert not {"--data.num-test-queries", "--network", "--kl-weight"} & {*flags}
    assert "--data.num-test-queries" in offered("train maml sinusoid --data.")
    assert not [flag for flag in flags if flag in ("--no-overwrite", "--no-json")]
    read(["reptile", "glyphs", *(flag for flag in flags if flag in ("--quiet", "--overwrite", "--json"))])


def test_values_that_can_be_counted() -> None:
    assert offered("train --schedule ") == ["constant", "cosine", "linear"] or "cosine" in offered("train --schedule ")
    assert offered("train --schedule=cos") == ["--schedule=cosine"]
    assert "maml-sinusoid" in offered("train --preset maml-")
    assert offered("predict x --laplace ") == ["last", "all"]
    assert offered("train --steps ") == []
    assert "maml" in offered("compare --algorithms anil ma")
    assert offered("optimise x --acquisition e") == ["ei"]
    assert offered("report x --out") == ["--out"]
    assert Training.schedule in offered("train maml sinusoid --steps 3 --schedule ")


def test_a_search_is_offered_the_numbers_of_the_pair() -> None:
    names = offered("tune dkt sinusoid --space ")
    assert {"noise_scale:", "outer_lr:", "model.hidden:"} <= {*names}
    assert not {"inner_lr:", "kernel:", "schedule:", "num_shots:", "test_tasks:"} & {*names}
    assert offered("tune maml --space num_steps:1..3 inner") == ["inner_lr:"]
    assert offered("tune maml sinusoid --space inner_lr:1e-3..") == []
    settings = read(["dkt", "sinusoid"]).settings
    assert {name.removesuffix(":") for name in names} <= {*searchable(settings)}


def test_a_suite_is_offered_its_own_learners_and_families() -> None:
    assert "gp" not in offered("bench few-tasks --families g")
    assert offered("bench few-tasks --learners emp") == ["empirical_gp"]
    assert offered("bench --learners maml_r") == ["maml_rl"]
    assert offered("compare --tasks gp --format p") == ["png", "pdf"]


def test_runs_and_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/one"
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"tasks": {"name": "glyphs"}}))
    (tmp_path / "own.csv").write_text("x,y")
    assert offered("eval ") == offered("train --resume ") == offered("compare r") == ["runs/one"]
    assert offered("eval runs/one ") == []
    assert "--data.num-ways" in offered("eval runs/one --data.")
    assert "own.csv" in offered("train o")
    assert offered("auto o") == ["own.csv"]


def test_a_module_of_the_users_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert "--steps" in offered("train net:builder sinusoid --model net:net --st")


def test_the_table_is_what_the_settings_say() -> None:
    written = Path(module.__file__).with_name(module.FILE).read_text()
    assert written == word_table.source(), "run `nox -s config`"
    assert {*json.loads(written)["commands"]} == {*COMMANDS} - {*module.FIXED}


def test_an_answer_imports_no_settings() -> None:
    code = (
        "import sys; from metafunc_cli.__main__ import run; run(['__complete', 'train', 'maml', '--inner'])\n"
        "print({'tyro', 'torch', 'metafunc_cli.settings.generated', 'metafunc_cli.presets.all'} & {*sys.modules})"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["--inner-lr", "set()"], ended.stderr
