"""`metafunc optimise` and `metafunc acquire` as a user types them."""

import json
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run

from metafunc.data import Grouped, generator_for
from metafunc.evaluation import metrics
from metafunc.evaluation.scoring import draw
from metafunc.results import decisions, labels, optimise

TRAIN = ["--steps", "3", "--num-tasks", "4", "--quiet", "--validate-every", "3", "--num-features", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 15 machines with the same 6 settings, and a run that was trained on it by the command itself."""
    place = tmp_path_factory.mktemp("optimise")
    rows = [f"{m},{s},{w},{10 - (s - 2) ** 2 + w * m / 10}" for m in range(15) for s in range(3) for w in range(2)]
    (place / "machines.csv").write_text("\n".join(["machine,speed,weight,output", *rows]))
    (place / "observed.csv").write_text("speed,weight,output\n0,0,6\n1,0,9\n")
    (place / "candidates.csv").write_text("speed,weight\n0,0\n2,0\n2,1\n")
    table = str(place / "machines.csv")
    data = ["--data.task-column", "machine", "--data.target-columns", "output", "--data.num-shots", "2"]
    words = ["optimise", "dkt", table, *data, *TRAIN, "--out", str(place / "run"), "--evaluations", "4"]
    assert run([*words, "--acquisition", "ucb"]) == 0
    return place


def test_a_table_is_trained_on_and_searched(folder: Path) -> None:
    report = json.loads((folder / "run/optimise-ucb.json").read_text())
    assert [row["method"] for row in report["rows"]] == [
        "dkt (ucb)", "GP from scratch", "best on average", "empirical GP", "RGPE", "random"
    ]  # fmt: skip
    assert report["num_tasks"] == 3
    assert report["pool_rows"] == [6, 6]
    for row in report["rows"]:
        means = [point["mean"] for point in row["curve"]]
        assert means == sorted(means, reverse=True)
        assert 0 <= means[-1] <= means[0] <= 1
    assert (folder / "run/figures/optimise-ucb.png").stat().st_size > 10_000
    assert "| RGPE |" in (folder / "run/optimise-ucb.md").read_text()


def test_a_terminal_shows_a_table_that_it_has_room_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert run(["optimise", str(folder / "run"), "--evaluations", "3", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if not line.startswith(("wrote", "drew"))]
    assert max(map(len, table)) <= 40
    assert not [line for line in table if "|" in line], "Markdown is for the file"
    assert sum("RGPE" in line for line in table) > 1, "its columns go below each other"


def test_a_run_is_searched_again_bit_for_bit_and_the_other_way(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["optimise", str(folder / "run"), "--evaluations", "3", "--json", "--quiet"]
    assert run([*words, "--minimise"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert run([*words, "--minimise"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out)["rows"] != first["rows"]


def test_what_to_try_next_is_a_row_that_has_not_been_tried(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["optimise", str(folder / "run"), str(folder / "observed.csv"), "--pool", str(folder / "candidates.csv")]
    assert run([*words, "--json", "--top", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(each["row"] for each in found["suggestions"]) == [2, 3], "the first row was observed"
    assert found["suggestions"][0]["acquisition"] >= found["suggestions"][1]["acquisition"] >= 0
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert "try" in out
    assert "speed 2" in out
    assert "has 1 row observed already" in err


def test_more_labels_than_rows_are_refused_by_their_flag(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["acquire", str(folder / "run"), "--labels", "9", "--rows", "4", "--test-pools", "6"]) == 2
    assert "--labels must be from 1, those known at first, to the pool's 4 rows, not 9" in capsys.readouterr().err


def test_labels_are_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["acquire", str(folder / "run"), "--labels", "3", "--rows", "4", "--test-pools", "6", "--json"]
    assert run([*words, "--acquisition", "variance"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in report["rows"]] == ["variance", "random"]
    first = [row["curve"][0]["mean"] for row in report["rows"]]
    assert first[0] == first[1], "both begin with the same label"
    assert [point["evaluations"] for point in report["rows"][0]["curve"]] == [1, 2, 3]


def test_intervals_are_over_the_tasks_that_episodes_come_from(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["acquire", str(folder / "run"), "--labels", "2", "--rows", "4", "--test-pools", "30"]
    assert run([*words, "--json", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["num_tasks"] == 30
    assert report["groups"] == {"number": 3, "of": "tasks", "per_episode": 1}
    found = optimise.trained(folder / "run")
    family, method = found.family(num_shots=4), found.method
    assert isinstance(family.test, Grouped)
    groups = family.test.groups(generator_for(0, "acquire", 0), 30)
    tasks = draw(method.learner, method.meta, family.test, 0, "acquire", 0, 30)
    tasks = tasks._replace(support=labels._shuffled(tasks.support, 0))
    machines = [tasks.support.y[groups[:, 0] == number] for number in groups.unique()]
    assert all(len(rows.unique()) <= 6 for rows in machines), "a group is one machine, which has six rows"
    asked = decisions.queries(method, "entropy")["entropy"]
    errors = decisions.errors_of(asked, tasks, first=1, num_labels=2, seed=0)
    half = metrics.half_width([errors.mT[-1:]], groups)
    assert report["rows"][0]["curve"][-1]["ci95"] == pytest.approx(half)
    assert half != pytest.approx(metrics.half_width([errors.mT[-1:]]), rel=0.05)
    assert run([*words, "--quiet"]) == 0
    assert "30 episodes of 3 tasks" in " ".join(capsys.readouterr().out.split())


def test_asking_at_random_under_another_name_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["acquire", str(folder / "run"), "--labels", "2", "--rows", "4", "--test-pools", "2"]
    assert run([*words, "--acquisition", "bald"]) == 2
    assert "bald is the same for every row: dkt has one particle" in capsys.readouterr().err
    assert not (folder / "run/acquire-bald.json").exists()


def test_without_numbers_a_small_table_is_asked_for_what_it_has(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["acquire", str(folder / "run"), "--test-pools", "6", "--quiet"]
    assert run([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["pool_rows"], report["labels"]) == ([4, 4], 4)
    assert run([*words, "--rows", "6"]) == 2
    assert "the smallest task, of 6 rows, has none left to predict: take at most 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["maml", "sinusoid"], "entropy is the same for every row: maml predicts with one particle"),
        (["maml", "sinusoid", "--acquisition", "bald"], "is the same for every row"),
        (["random_policy", "navigation"], "navigation is control"),
    ],
)
def test_what_would_be_refused_after_the_training_is_refused_before(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["acquire", *words, "--quiet"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_learner_whose_rows_may_come_to_differ_is_not_refused_before(folder: Path) -> None:
    one = ["--rows", "3", "--labels", "2", "--test-pools", "2", "--quiet", "--steps", "1", "--num-tasks", "2"]
    data = ["--data.task-column", "machine", "--data.target-columns", "output", "--data.num-shots", "2"]
    place = str(folder / "trained")
    assert run(["acquire", "dkt", str(folder / "machines.csv"), *data, *one, "--out", place]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "optimise needs the folder of a run, or an algorithm and tasks"),
        (["nothing"], "nothing is no run, algorithm, task family or table"),
        (["RUN", "--steps", "5"], "--steps is an option of a training"),
        (["RUN", "--evaluations", "0"], "--evaluations must be at least 1, not 0"),
        (["dkt", "sinusoid", "--rows", "1"], "--rows must be at least 2, not 1"),
        (["RUN", "--pool", "c.csv"], "a table of what was observed, and one of what can be tried"),
        (["RUN", "OBSERVED", "--pool", "OBSERVED"], "Every row of"),
        (["dkt", "sinusoid", "--pool", "c.csv"], "--pool is for a search of your own"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"RUN": str(folder / "run"), "OBSERVED": str(folder / "observed.csv")}
    assert run(["optimise", *(places.get(word, word) for word in words)]) == 2
    assert message in capsys.readouterr().err
