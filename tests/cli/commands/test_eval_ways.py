"""`metafunc eval` at another number of classes: a number where nothing learned depends on it, else a refusal."""

import json
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run

SHORT = "glyphs --num-tasks 2 --steps 2 --test-tasks 0 --quiet"


@pytest.mark.parametrize(("ways", "chance"), [(20, 0.05), (2, 0.5)])
def test_prototypes_are_as_many_as_there_are_classes(tmp_path: Path, ways: int, chance: float) -> None:
    """Trained at five ways, as most are; the paper trains at sixty and tests at five."""
    folder = tmp_path / "run"
    assert run(["train", "protonet", *SHORT.split(), "--model.filters", "4", "--out", str(folder)]) == 0
    assert run(["eval", str(folder), "--data.num-ways", str(ways), "--num-tasks", "30", "--quiet"]) == 0
    (file,) = folder.glob(f"meta_test*num_ways={ways}.json")
    test = json.loads(file.read_text())["meta_test"]
    before, after = (row["accuracy"] for row in test["by_step"])
    assert before["mean"] == pytest.approx(chance)
    assert test["memorisation_probe"]["chance"] == pytest.approx(chance)
    assert after["mean"] > chance + after["ci95"]


def test_a_head_for_each_class_is_refused_by_the_flag_s_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    line = ["train", "maml", *SHORT.split(), "--model", "mlp", "--model.hidden", "4", "--out", str(folder)]
    assert run(line) == 0
    capsys.readouterr()
    assert run(["eval", str(folder), "--data.num-ways", "3", "--num-tasks", "5"]) == 2
    message = capsys.readouterr().err
    assert "was trained to tell 5 classes apart" in message
    assert "test it with --data.num-ways 5, or train it with --data.num-ways 3" in " ".join(message.split())
