"""A table where TASKS would stand: the flags that it stands for, and what is said when it cannot."""

import shlex
from pathlib import Path

import pandas as pd
import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.errors import UsageError
from metafunc_cli.settings import compose
from metafunc_cli.settings.generated import ALGORITHMS

from metafunc.data.columns import Columns, guess

SMALL = "--data.num-shots 3 --steps 2 --num-tasks 2 --test-tasks 4 --test-steps 1 --model.hidden 4 --quiet"


def frame() -> pd.DataFrame:
    rows = [(f"m{i % 12}", "2024-05-01", f"n{i % 3}", i / 7, i / 3) for i in range(144)]
    return pd.DataFrame(rows, columns=["machine", "day", "shift", "temp", "yield"])


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    frame().to_csv("T.csv", index=False)
    frame().to_parquet("T.parquet")
    return "T.csv"


@pytest.mark.parametrize("words", ["T.csv", "alpaca T.csv", "T.csv alpaca", "alpaca regression T.csv", "T.parquet"])
def test_a_table_is_the_path_of_a_regression(table: str, words: str) -> None:
    request = compose.read(words.split())
    names, data = request.settings.names, request.settings.data
    assert names["algorithm"] == ("alpaca" if "alpaca" in words else "mixed")
    assert names["tasks"] == "regression"
    assert data.path in (table, "T.parquet")
    assert (data.task_column, data.target_columns, data.input_columns) == ("machine", ("yield",), ())
    assert "task machine, target yield, inputs day, shift, temp" in request.note
    assert request.note.count("\n") == 0


def test_it_is_the_command_with_the_flags_that_are_named(table: str) -> None:
    request = compose.read([table])
    flags = shlex.split(request.note.partition("named by ")[2].rstrip("."))
    same = compose.read(["regression", "--data.path", table, *flags])
    assert same.settings.to_json() == request.settings.to_json()
    assert same.note == ""


def test_what_is_named_is_not_guessed(table: str) -> None:
    data = compose.read([table, "--data.target-columns", "temp", "yield", "--data.task-column=shift"]).settings
    assert (data.data.task_column, data.data.target_columns) == ("shift", ("temp", "yield"))
    request = compose.read(["--data.input-columns", "temp", table])
    assert request.settings.data.input_columns == ("temp",)
    assert "inputs those named" in request.note


def test_usual_names_need_no_guess(tmp_path: Path) -> None:
    usual = frame().rename(columns={"shift": "task", "temp": "y"})
    assert guess(usual)[:2] == ("task", ("y",))
    assert guess(frame())[:2] == ("machine", ("yield",))
    assert guess(frame(), Columns("machine", ("temp",)))[:2] == ("machine", ("temp",))
    codes = frame().assign(machine=lambda t: t["machine"].str[1:].astype(int)).drop(columns="shift")
    assert guess(codes[["temp", "machine", "yield"]])[0] == "machine", "numbers that come again"
    notes = frame().assign(note=[f"remark {i}" for i in range(144)])
    assert guess(notes[["note", "day", "machine", "yield"]])[0] == "machine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("T.csv T.parquet", "T.csv and T.parquet are two tables: give one of them"),
        ("T.csv --data.path U.csv", "T.csv and U.csv are two tables"),
        ("texts.csv", "none of numbers beside the task 'machine': name the target with --data.target-columns"),
        (
            "dkt T.csv --data.target-columns shift --steps 2",
            "T.csv: the target 'shift' is text, such as 'n0', and a regression predicts numbers. For classes, "
            "perhaps:\n"
            "  metafunc train dkt classification --data.path T.csv --data.target-column shift --steps 2",
        ),
        ("alpaca T.csv --data.target-columns shift", "as alpaca does: name a column of numbers"),
        ("maml navigation T.csv", "maml is for regression and classification, and navigation is control"),
        ("maml T.scv", "There is no task family 'T.scv'"),
    ],
)
def test_what_cannot_be_is_refused(table: str, words: str, message: str) -> None:
    frame()[["machine", "shift"]].to_csv("texts.csv", index=False)
    with pytest.raises(UsageError, match=message):
        compose.read(words.split())


def test_it_trains_at_the_first_try_and_says_what_it_took(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", table, *SMALL.split(), "--out", "run"]) == 0
    assert "T.csv: task machine, target yield, inputs day, shift, temp." in capsys.readouterr().err
    assert run(["train", "--config", "run/config.json", "--out", "again", "--quiet"]) == 0


def test_refusals_have_the_whole_command(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    frame().assign(note=[f"remark {i}" for i in range(144)]).to_csv("notes.csv", index=False)
    parts = frame()["machine"].map(lambda name: "test" if name > "m7" else "val" if name > "m5" else "train")
    frame().assign(part=parts).to_csv("parts.csv", index=False)
    for words, kept, flags in (
        ("notes.csv", "notes.csv", "--data.input-columns day shift temp"),
        ("parts.csv --data.split-column shift", "parts.csv", "--data.split-column part"),
        ("T.csv --data.task-column machin", "T.csv", "--data.task-column machine"),
    ):
        assert run(["train", *words.split(), "--dry-run", *SMALL.split()]) == 2
        said = capsys.readouterr().err
        assert "input_columns" not in said
        last = said.strip().splitlines()[-1].strip()
        assert last == f"metafunc train {kept} --dry-run {SMALL} {flags}"
        assert run(shlex.split(last)[1:]) == 0
        capsys.readouterr()
    assert run(["train", "absent.csv"]) == 3
    assert "There is no file absent.csv" in capsys.readouterr().err


def test_what_has_another_role_is_no_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [(f"p{i % 12}", i / 7, i / 3, i // 12) for i in range(144)]
    pd.DataFrame(rows, columns=["patient", "response", "dose", "day"]).to_csv("T.csv", index=False)
    assert compose.read(["T.csv"]).settings.data.target_columns == ("day",)
    named = compose.read(["T.csv", "--data.input-columns", "dose", "day"])
    assert (named.settings.data.target_columns, named.settings.data.input_columns) == (("response",), ("dose", "day"))
    assert compose.read(["T.csv", "--data.order-column", "day"]).settings.data.target_columns == ("dose",)
    several = compose.read(["T.csv", "--data.target-columns", "dose", "response"])
    assert "target dose, response, inputs day" in several.note


def test_a_table_is_of_classes_where_the_algorithm_or_a_flag_is_for_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [(f"m{i % 12}", i / 7, "ab"[i % 2]) for i in range(144)]
    pd.DataFrame(rows, columns=["task", "x", "label"]).to_csv("T.csv", index=False)
    for words in ("protonet T.csv", "T.csv --data.classes task", "maml T.csv --data.classes shared"):
        assert compose.read(words.split()).settings.names["tasks"] == "classification", words
    assert compose.read(["maml", "T.csv", "--data.target-columns", "x"]).settings.names["tasks"] == "regression"


@pytest.mark.parametrize(
    ("line", "right"),
    [
        (
            "train dkt T.csv --steps 2",
            "train dkt classification --data.path T.csv --steps 2 --data.target-column label",
        ),
        (
            "compare --algorithms maml cnp --tasks T.csv",
            "compare --algorithms maml cnp --tasks classification --data.path T.csv --data.target-column label",
        ),
        ("compare --algorithms maml mixed --tasks T.csv", ""),
        ("train maml T.csv --data.target-columns x", ""),
        ("train mixed T.csv", ""),
    ],
)
def test_a_text_that_stands_last_is_no_target_which_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, right: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [(f"m{i % 12}", i / 7, i / 3, "ab"[i % 2]) for i in range(144)]
    pd.DataFrame(rows, columns=["task", "x", "z", "label"]).to_csv("T.csv", index=False)
    words = line.split()
    learner = next(word for word in words if word in ALGORITHMS)
    named = words[words.index("T.csv") + 1 :] if "--data.target-columns" in words else []
    lines = compose.read([learner, "T.csv", *named], ["metafunc", *words]).note.splitlines()
    said = "note: the last column, 'label', is text, and here an input. Its classes are predicted by:"
    assert lines[1:] == ([said, f"  metafunc {right}"] if right else [])


@pytest.mark.parametrize(
    ("line", "right"),
    [
        (
            "compare --tasks T.csv --algorithms maml --data.target-columns shift",
            "compare --tasks classification --data.path T.csv --algorithms maml --data.target-column shift "
            "--data.task-column machine",
        ),
        (
            "tune maml regression T.csv --data.target-columns shift --space inner_lr:0.1..1",
            "tune maml classification --data.path T.csv --data.target-column shift --space inner_lr:0.1..1 "
            "--data.task-column machine",
        ),
        (
            "train maml --data.target-columns shift T.csv",
            "train maml --data.target-column shift classification --data.path T.csv --data.task-column machine",
        ),
    ],
)
def test_a_text_as_target_is_answered_by_the_command_that_was_typed(
    table: str, capsys: pytest.CaptureFixture[str], line: str, right: str
) -> None:
    assert run(shlex.split(line)) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"  metafunc {right}"
