"""What `metafunc list` prints, for people and for programs."""

import json
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.commands.list import SECTIONS, lines
from metafunc_cli.presets.all import PRESETS
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, MODELS


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["list", *words]) == 0
    return capsys.readouterr().out


def test_all_sections_are_listed_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "--json"))
    expected = {"algorithms": [*ALGORITHMS], "tasks": [*FAMILIES], "networks": [*MODELS]}
    expected["presets"] = [preset.name for preset in PRESETS]
    assert {title: [entry["name"] for entry in entries] for title, entries in found.items()} == expected
    text = printed(capsys).splitlines()
    assert len(text) == sum(map(len, expected.values())) + 4 + 3


def test_a_section_and_a_name_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "tasks").splitlines()[0] == "tasks:"
    of_control = json.loads(printed(capsys, "algorithms", "control", "--json"))["algorithms"]
    assert [entry["name"] for entry in of_control] == [n for n, row in ALGORITHMS.items() if "control" in row.kinds]
    presets = json.loads(printed(capsys, "presets", "platipus", "--json"))["presets"]
    assert {entry["algorithm"] for entry in presets} == {"platipus"}


def test_a_terminal_has_descriptions_of_its_own_width_and_a_file_one_line_each() -> None:
    sections = {"presets": SECTIONS["presets"]()}
    whole = lines(sections)
    assert len(whole) == 1 + len(PRESETS)
    for columns in (40, 80, 120):
        narrow = lines(sections, columns)
        assert max(map(len, whole)) > columns >= max(map(len, narrow))
        assert " ".join(narrow).split() == " ".join(whole).split()
    below = lines(sections, 40)[1:]
    assert [line.strip() for line in below if not line.startswith("    ")] == [preset.name for preset in PRESETS]


def test_runs_are_listed_with_those_of_a_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "There is no run in" in printed(capsys, "runs")
    config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "training": {"steps": 3000}}
    for name in ("one", "compare/anil-0"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "runs/one/meta_test.json").write_text("{}")
    (tmp_path / "runs/bad").mkdir()
    (tmp_path / "runs/bad/config.json").write_text("[")
    assert printed(capsys, "runs").splitlines()[1:] == [
        "  runs/bad             its config.json cannot be read",
        "  runs/compare/anil-0  maml on sinusoid, 3,000 steps (not meta-tested)",
        "  runs/one             maml on sinusoid, 3,000 steps",
    ]
    kept = json.loads(printed(capsys, "runs", "sinusoid", "--json"))["runs"]
    tested = [(each["name"], each["meta_tested"]) for each in kept]
    assert tested == [
        ("runs/compare/anil-0", False),
        ("runs/one", True),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("algos", "Did you mean 'algorithms'?"),
        ("--jsn", "  metafunc list --json"),
        ("presets mml", "Did you mean 'maml'?"),
        ("tasks sinusoid x", "  metafunc list tasks sinusoid"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_right(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", *words.split()]) == 2
    assert said in capsys.readouterr().err
