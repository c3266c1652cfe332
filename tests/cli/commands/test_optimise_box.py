"""`metafunc optimise RUN --box` as a user types it: points, units, and what is refused in one line."""

import json
import sys
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run

pytest.importorskip("botorch")
BOX = ["speed:0..4", "weight:1e-2..10:log"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained on a table of 12 machines, whose output is in the thousands."""
    place = tmp_path_factory.mktemp("box")
    rows = [
        f"{m},{s},{10**w},{1000 * (10 - (s - 2) ** 2 - w**2 + m / 10)}"
        for m in range(12)
        for s in range(5)
        for w in (-1, 0, 1)
    ]
    (place / "machines.csv").write_text("\n".join(["machine,speed,weight,output", *rows]))
    (place / "evaluated.csv").write_text("speed,weight,output\n0,1,6000\n1,1,9000\n")
    (place / "empty.csv").write_text("speed,weight,output\n")
    words = ["train", "dkt", "regression", "--data.path", str(place / "machines.csv"), "--data.task-column", "machine"]
    words += ["--data.target-columns", "output", "--data.num-shots", "4", "--steps", "3", "--num-tasks", "4", "--quiet"]
    words += ["--validate-every", "3", "--num-features", "2", "--test-tasks", "4", "--out", str(place / "run")]
    assert run(words) == 0
    return place


def test_points_are_in_the_box_and_predictions_in_the_unit_of_the_table(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["optimise", str(folder / "run"), "--box", *BOX, "--evaluated", str(folder / "evaluated.csv")]
    assert run([*words, "--top", "2", "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["evaluated"], got["target"], len(got["suggestions"])) == (2, "output", 2)
    for each in got["suggestions"]:
        assert 0 <= each["inputs"]["speed"] <= 4
        assert 1e-2 <= each["inputs"]["weight"] <= 10
        assert each["q05"] < each["mean"] < each["q95"]
        assert 1000 < each["mean"] < 20_000, "in the unit of the table, and not of the learner"
        assert each["q95"] - each["q05"] == pytest.approx(2 * 1.645 * each["sd"], rel=1e-2)
    assert run([*words, "--acquisition", "random"]) == 0
    assert "try    speed" in capsys.readouterr().out


def test_without_an_evaluation_an_empty_table_is_as_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["optimise", str(folder / "run"), "--box", *BOX, "--acquisition", "thompson", "--json"]
    (folder / "nothing.csv").write_text("")
    answers = []
    for given in ([], ["--evaluated", str(folder / "empty.csv")], ["--evaluated", str(folder / "nothing.csv")]):
        assert run([*words, *given]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["evaluated"] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--box", "sped:0..4", BOX[1]], "There is no input column 'sped'. Did you mean 'speed'?"),
        (["--box", BOX[0]], "no range for the input 'weight'"),
        (["--box", "speed:4..0", BOX[1]], "from a number to a greater one, not from 4.0 to 0.0"),
        (["--box", "speed:0..4:log", BOX[1]], "begins above zero"),
        (["--box", "speed:0..4:ln", BOX[1]], "nothing, or log, and not ln"),
        (["--box", "speed:0..1..2", BOX[1]], "two ends"),
        (["--box", "speed", BOX[1]], "speed has no range"),
        (["--box", BOX[0], BOX[0]], "twice"),
        (["--box", *BOX, "--evaluated", "none.csv"], "There is no file none.csv"),
        (["--box", *BOX, "--target", "yield"], "The target of the run is 'output'"),
        (["--evaluated", "none.csv"], "a range for every input"),
        (["--box", *BOX, "--pool", "none.csv"], "leave one out"),
    ],
)
def test_bad_input_is_one_line(words: list[str], says: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["optimise", str(folder / "run"), *words]) in (2, 3)
    err = capsys.readouterr().err
    assert says in err
    assert len(err.strip().splitlines()) == 1


def test_without_botorch_it_says_how_to_install_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "botorch" or "metafunc.botorch" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "botorch", None)
    assert run(["optimise", str(folder / "run"), "--box", *BOX]) == 2
    err = capsys.readouterr().err.strip()
    assert err == "metafunc optimise: --box needs botorch: pip install 'metafunc[botorch]'"
    assert len(err.splitlines()) == 1


def test_help_says_what_options_are_of(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["optimise", "--help"])
    said = capsys.readouterr().out
    assert "decision options" in said
    assert "options options" not in said
    assert run(["--help"]) == 0
    assert "point of a box" in capsys.readouterr().out
