"""Further tests of a suite's trainings: variants of the tasks, and row by row, each made once and kept."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.commands import compare
from metafunc_cli.commands import eval as evaluation
from metafunc_cli.suites import further as further_tests
from metafunc_cli.suites import suite as suites

from metafunc.results import plot_suite

SUITE = """
learners = ["cnp", "cnp+tempered"]
metric = "nll"
seeds = 2
test-tasks = 5
test-steps = 2
[settings]
network = "mlp"
steps = 2
num-tasks = 2
model.hidden = [4]
data.num-shots = 3
data.num-queries = 3
data.num-test-queries = 3
[families.noisy_sines]
tasks = "sinusoid"
data.noise = 0.1
splits = ["inputs"]
row-by-row = ["cnp"]
"""


def bench(folder: Path, *flags: str) -> int:
    return run(["bench", str(folder / "mine.toml"), "--out", str(folder / "out"), "--quiet", *flags])


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """The suite's own pictures are of another test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot_suite, "plot_suite", lambda *_, **__: [])
        yield


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("further")
    (folder / "mine.toml").write_text(SUITE)
    assert bench(folder) == 0
    return folder


def further(folder: Path) -> list[dict[str, Any]]:
    (family,) = json.loads((folder / "out/bench.json").read_text())["families"]
    found: list[dict[str, Any]] = family["further"]
    return found


def test_a_split_is_a_comparison_of_the_same_runs_in_a_folder_of_its_own(tested: Path) -> None:
    inputs = further(tested)[0]
    assert (inputs["test"], inputs["metric"], inputs["num_tasks"]) == ("inputs", "nll", 5)
    compared = json.loads((tested / "out/noisy_sines/inputs/compare.json").read_text())["rows"]
    assert [row["algorithm"] for row in compared] == ["cnp", "cnp+tempered"]
    for row, of_test in zip(inputs["rows"], compared, strict=True):
        assert (row["learner"], row["seeds"]) == (of_test["algorithm"], [0, 1])
        assert (row["mean"], row["ci95"]) == (of_test["nll"]["mean"], of_test["nll"]["ci95"])
    own = json.loads((tested / "out/noisy_sines/compare.json").read_text())["rows"]
    assert own[0]["mse"] != compared[0]["mse"], "the family's own table stays"


def test_row_by_row_is_the_mean_of_the_runs_with_students_interval(tested: Path) -> None:
    by_rows = further(tested)[1]
    assert (by_rows["test"], by_rows["metric"], len(by_rows["commands"])) == ("row by row", "joint_nll", 2)
    means = []
    for seed in (0, 1):
        (file,) = (tested / f"out/noisy_sines/cnp-{seed}").glob("meta_test*joint=autoregressive.json")
        report = json.loads(file.read_text())["meta_test"]
        assert (report["seed"], report["num_tasks"]) == (0, 5)
        means.append(report["autoregressive"]["joint_nll"]["mean"])
    (row,) = by_rows["rows"]
    assert row["mean"] == pytest.approx(sum(means) / 2)
    deviation = abs(means[0] - means[1]) / math.sqrt(2)
    assert row["ci95"] == pytest.approx(12.7062 * deviation / math.sqrt(2), rel=1e-4)


@pytest.mark.parametrize(
    ("means", "row"),
    [
        ([1.0, 1.5, 3.5], (2.0, 4.30265273 * 1.75**0.5 / 3**0.5)),
        ([1.5], (1.5, 0.25)),
        ([1.0, None], (None, None)),
    ],
)
def test_few_seeds_and_what_a_split_does_not_have(
    means: list[float | None], row: tuple[float | None, float | None], tmp_path: Path
) -> None:
    file, number = tmp_path / "mine.toml", len(means)
    file.write_text(SUITE.replace("seeds = 2", f"seeds = {number}").replace('"nll"', '"gap"'))
    suite = suites.read(str(file))
    (tmp_path / "inputs").mkdir()
    of_split = {"algorithm": "cnp", "seeds": [0], "nll": {"mean": 3.0, "ci95": 0.1, "low": 2.9, "high": 3.1}}
    (tmp_path / "inputs/compare.json").write_text(json.dumps({"num_tasks": 5, "rows": [of_split]}))
    kept = {f"cnp-{s}": {"autoregressive": {"joint_nll": {"mean": m, "ci95": 0.25}}} for s, m in enumerate(means)}
    (tmp_path / "row_by_row.json").write_text(json.dumps(kept))
    inputs, by_rows = further_tests.results(suite, suite.families[0], tmp_path)
    assert (inputs["metric"], inputs["rows"][0]["mean"]) == ("nll", 3.0), "without an exact prediction there is no gap"
    assert (by_rows["rows"][0]["mean"], by_rows["rows"][0]["ci95"]) == pytest.approx(row)


def test_the_page_has_them(tested: Path) -> None:
    page = (tested / "out/bench.md").read_text()
    assert "| further tests | noisy_sines, inputs<br>NLL (nats) ↓ | noisy_sines, row by row<br>joint NLL" in page
    (line,) = (line for line in page.split("further tests")[1].splitlines() if line.startswith("| cnp+tempered"))
    assert line.endswith("|  |"), "which was not tested row by row"


def test_figures_of_a_family_are_drawn_where_they_are_asked_for(
    tested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(compare, "compared", lambda screen, words, again: (asked.append(words), (None, 130))[1])
    (tmp_path / "mine.toml").write_text(SUITE)
    assert bench(tmp_path) == bench(tmp_path, "--figures") == 130
    assert ["--no-figures" in words for words in asked] == [True, False]


def test_what_was_tested_is_not_tested_again_and_a_plan_takes_further_tests(
    tested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(tested, folder)
    asked = []
    original = evaluation.main

    def counted(argv: Any) -> int:
        asked.append([*argv])
        return original(argv)

    monkeypatch.setattr(evaluation, "main", counted)
    kept = folder / "out/noisy_sines/row_by_row.json"
    old = json.loads(kept.read_text())
    old["cnp-1"]["of"]["code"] = "another"
    kept.write_text(json.dumps(old))
    (folder / "mine.toml").write_text(SUITE.replace('"inputs"', '"phase"'))
    assert bench(folder) == 0
    assert [Path(words[0]).name for words in asked] == ["cnp-1"], "which was tested by other code"
    assert [each["test"] for each in further(folder)] == ["phase", "row by row"]
    assert further(folder)[1]["rows"] == further(tested)[1]["rows"]


def test_show_prints_the_further_commands(tested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(tested, "--show") == 0
    family, inputs, *by_rows = capsys.readouterr().out.splitlines()
    out = tested / "out/noisy_sines"
    assert family.endswith(f"--test-steps 2 --out {out}")
    assert inputs.startswith(f"metafunc compare {out}/cnp-0 {out}/cnp-1 {out}/cnp-0+tempered {out}/cnp-1+tempered ")
    assert inputs.endswith(f"--split inputs --test-tasks 5 --test-steps 2 --no-figures --out {out}/inputs")
    assert by_rows == [
        f"metafunc eval {out}/cnp-{seed} --joint autoregressive --num-tasks 5 --seed 0" for seed in (0, 1)
    ]


def test_a_learner_that_rows_cannot_be_added_to_is_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = 'learners = ["maml"]\nmetric = "accuracy"\n[families.few]\ntasks = "glyphs"\nnetwork = "conv4"\n'
    (tmp_path / "mine.toml").write_text(text + 'model.filters = 2\nrow-by-row = ["maml"]\n')
    assert bench(tmp_path, "--quick") == 2
    assert "families.few: row-by-row[0]: maml: An autoregressive joint adds" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
