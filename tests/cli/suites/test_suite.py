"""Suites as files: those that are shipped, what a setting becomes, and every mistake with its place."""

from pathlib import Path

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.commands import compare_requests
from metafunc_cli.display.screen import Screen
from metafunc_cli.errors import UsageError
from metafunc_cli.settings.bench_options import Benching
from metafunc_cli.suites import suite as suites
from metafunc_cli.suites.exported import with_tables
from metafunc_cli.suites.narrowed import line, narrowed

SMALL = """
about = "A suite."
learners = ["maml", "cnp"]
references = ["exact"]
metric = "gap"
seeds = 2
[settings]
steps = 5
inner-lr = 0.02
model.hidden = [4, 4]
cnp.outer-lr = 1e-4
[families.noisy]
tasks = "sinusoid"
data.noise = 0.1
[families.more]
tasks = "sine_or_line"
steps = 7
metric = "nll"
maml.num-steps = 2
"""


@pytest.fixture
def written(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(old: str = "", new: str = "") -> str:
        assert old in SMALL
        file = tmp_path / "small.toml"
        file.write_text(SMALL.replace(old, new) if old else SMALL)
        return str(file)

    return write


def test_settings_are_flags_and_a_family_has_its_own(written) -> None:  # type: ignore[no-untyped-def]
    suite = suites.read(written())
    assert [family.metric for family in suite.families] == ["gap", "nll"]
    first, second = (line(suite, family, None) for family in suite.families)
    assert " ".join(first) == (
        "--algorithms maml cnp exact --tasks sinusoid --steps 5 --inner-lr 0.02 --model.hidden 4 4 "
        "--cnp.outer-lr 0.0001 --data.noise 0.1 --seeds 2 --test-tasks 600"
    )
    assert second[second.index("--steps") + 1] == "7"
    assert second.count("--steps") == 1
    assert "--maml.num-steps" in second


@pytest.mark.parametrize(
    ("old", "new", "place", "reason"),
    [
        ('"maml", "cnp"', '"mmal", "cnp"', "learners[0]", "There is no algorithm 'mmal'. Did you mean 'maml'?"),
        ('"maml", "cnp"', '"maml+laplac"', "learners[0]", "There is no transform 'laplac'"),
        ('"maml", "cnp"', '"maml", "maml"', "learners[1]", "maml is there twice"),
        ('["exact"]', '["maml"]', "references", "maml is one of the learners"),
        ('tasks = "sinusoid"', 'tasks = "sinusiod"', "families.noisy: tasks", "Did you mean 'sinusoid'?"),
        ("data.noise", "data.nois", "families.noisy: data.nois", "Did you mean 'noise'?"),
        ("maml.num-steps", "maml.num-stps", "families.more: maml.num-stps", "Did you mean 'num_steps'?"),
        ("maml.num-steps", "abml.num-steps", "families.more: abml.num-steps", "none of the learners: maml, cnp, exact"),
        ("inner-lr", "inner-lrr", "settings.inner-lrr", "Did you mean 'inner_lr'?"),
        ("data.noise", "dota.noise", "families.noisy", "dota"),
        ("= 0.02", '= "x"', "families.noisy: settings.inner-lr", 'is "x", but a number is needed'),
        ("[4, 4]", "[4, 0.5]", "settings.model.hidden[1]", "a whole number is needed"),
        ("seeds = 2", "seeds = 0", "seeds", "at least 1"),
        ("seeds = 2", "seed = 2", "small.toml", "There is no key 'seed'. Did you mean 'seeds'?"),
        ("steps = 5", "seed = 5", "settings.seed", "There is no setting 'seed'"),
        ('metric = "gap"', "", "families.noisy", "metric is missing"),
        ('tasks = "sine_or_line"', "", "families.more", "tasks is missing"),
        ('tasks = "sine_or_line"', 'tasks = "navigation"', "families.more", "maml is for regression"),
        ("families.noisy", 'families."a/b"', "families.a/b", "names a folder"),
        ("seeds = 2", 'seeds = 2\nnetwork = "mlq"', "small.toml", "There is no key 'network'"),
        ("[settings]", '[settings]\nnetwork = "mlq"', "settings.network", "Did you mean 'mlp'?"),
        ("maml.num-steps = 2", 'maml.network = "mlp"', "families.more: maml.network", "There is no setting 'network'"),
        ('tasks = "sinusoid"', 'tasks = "sinusoid"\ntable = "x"', "families.noisy", "PACKAGE/NAME is needed"),
        ('tasks = "sinusoid"', 'tasks = "t.csv"', "families.noisy", 'write tasks = "regression"'),
        ("seeds = 2", "seeds = 2\ntest-steps = 0", "small.toml: test-steps", "at least 1"),
        ("maml.num-steps = 2", "test-steps = true", "families.more: test-steps", "at least 1"),
        ("[settings]", "[settings]\ntest-steps = 3", "settings.test-steps", "There is no setting 'test_steps'"),
        ("maml.num-steps = 2", 'splits = "phase"', "families.more: splits", "a list of names is needed"),
        ("maml.num-steps = 2", 'splits = ["a", "test"]', "families.more: splits[1]", "in any case"),
        ("maml.num-steps = 2", 'splits = ["a", "a"]', "families.more: splits[1]", "a is there twice"),
        ("maml.num-steps = 2", 'row-by-row = ["cpn"]', "families.more: row-by-row[0]", "Did you mean 'cnp'?"),
        ("maml.num-steps = 2", 'row_by_row = ["cnp"]', "families.more: row_by_row", "Did you mean 'row-by-row'?"),
        ("maml.num-steps = 2", 'split = ["a"]', "families.more: split", "Did you mean 'splits'?"),
        ("steps = 5", 'split = ["a"]', "settings.split", "There is no setting 'split'. There are"),
        ("maml.num-steps = 2", 'row-by-row = ["cnp", "cnp"]', "families.more: row-by-row[1]", "cnp is there twice"),
        ("[4, 4]", "[4, 4", "small.toml", "Unclosed array"),
        ("steps = 5", "steps = ", "small.toml", "line 8, column 9), in steps ="),
    ],
)
def test_a_mistake_is_named_with_its_place(written, old: str, new: str, place: str, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError) as caught:
        suites.read(written(old, new))
    assert place in str(caught.value)
    assert reason in str(caught.value)
    assert "small.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "steps = 5",
            "steps = 5\nnum-tasks = -2",
            "families.noisy: maml: settings.num-tasks must be at least 1, not -2.",
        ),
        ("steps = 5", "steps = -5", "families.noisy: maml: settings.steps must be at least 0, not -5."),
        ("maml.num-steps = 2", "maml.steps = -2", "families.more: maml: maml.steps must be at least 0, not -2."),
        ("steps = 5", "steps = 5\nvalidate-every = 0", "settings.validate-every must be at least 1, not 0."),
        ("data.noise = 0.1", "data.noise = -0.1", "families.noisy: maml: data.noise must be a finite number"),
        (
            'tasks = "sine_or_line"',
            'tasks = "regression"',
            'families.more: data.path is missing: regression reads a table. Write data.path = "TABLE.csv"',
        ),
        ('metric = "nll"', 'metric = "nlll"', "families.more: metric: There is no metric of these tasks 'nlll'."),
        ("data.noise = 0.1", 'data.path = "a.csv"', "families.noisy: data.path: There is no setting 'path'."),
        (
            "maml.num-steps = 2",
            'splits = ["sine", "nrea"]',
            "families.more: splits[1]: sine_or_line has no split 'nrea'",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_line_before_anything_is(  # type: ignore[no-untyped-def]
    written, old: str, new: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", written(old, new), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("metafunc bench: small.toml: ")
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_suite_names_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="Did you mean 'regression-1d'"):
        suites.read("regresion-1d")


class Listening(Screen):
    """Keeps what is said of whose tasks all get where presets have others."""

    def __init__(self) -> None:
        super().__init__(json=False, quiet=True, silent=True)
        self.heard: list[str] = []

    def tell(self, message: str) -> None:
        self.heard.append(message)


@pytest.mark.parametrize("name", suites.known())
def test_a_shipped_suite_asks_for_what_there_is(name: str, tmp_path: Path) -> None:
    suite, screen = with_tables(suites.read(name), tmp_path), Listening()
    assert suite.about.endswith((".", "?"))
    for family in suite.families:
        found, _, passed = compare_requests.read(line(suite, family, None))
        requests = compare_requests.requested(screen, found, passed)
        assert {name.split("+")[0] for name in suite.algorithms} == {*requests}
    assert screen.heard == [], "what presets have must not decide the tasks"


def test_a_familys_own_steps_of_the_test_take_the_place_of_the_suites(written) -> None:  # type: ignore[no-untyped-def]
    text = written("seeds = 2", "seeds = 2\ntest-steps = 8")
    Path(text).write_text(Path(text).read_text().replace("steps = 7", "steps = 7\ntest-steps = 9"))
    suite = suites.read(text)
    assert [line(suite, each, None)[-2:] for each in suite.families] == [["--test-steps", "8"], ["--test-steps", "9"]]


def test_a_path_goes_to_the_families_that_read_it(tmp_path: Path) -> None:
    file = tmp_path / "images.toml"
    families = ("omniglot", "", "a"), ("omniglot", 'data.path = "mine"', "b"), ("glyphs", "", "c")
    text = 'learners = ["protonet"]\nmetric = "accuracy"\n'
    file.write_text(text + "".join(f'[families.{n}]\ntasks = "{tasks}"\n{own}\n' for tasks, own, n in families))
    suite, _ = narrowed(suites.read(str(file)), Benching(path="local"))
    lines = [" ".join(line(suite, family, None)) for family in suite.families]
    assert [("--data.path local" in each, "--data.path mine" in each) for each in lines] == [
        (True, False), (False, True), (False, False)
    ]  # fmt: skip
    with pytest.raises(UsageError, match="--path local is for families that read local data"):
        narrowed(suites.read(str(file)), Benching(path="local", families=("b", "c")))


def test_a_path_that_is_missing_is_asked_for_as_what_is_read(tmp_path: Path) -> None:
    file = tmp_path / "images.toml"
    file.write_text('learners = ["protonet"]\nmetric = "accuracy"\n[families.own]\ntasks = "few_shot"\n')
    with pytest.raises(UsageError, match=r"families\.own: data\.path is missing: few_shot reads images") as caught:
        narrowed(suites.read(str(file)), Benching())
    assert "table" not in str(caught.value)
    narrowed(suites.read(str(file)), Benching(path="folder"))


def test_fewer_learners_leave_out_what_was_theirs(written) -> None:  # type: ignore[no-untyped-def]
    read = suites.read(written("maml.num-steps = 2", 'maml.num-steps = 2\nrow-by-row = ["maml", "cnp"]'))
    suite, steps = narrowed(read, Benching(learners=("cnp",), families=("more",), quick=True))
    (family,) = suite.families
    assert family.row_by_row == ("cnp",)
    words = line(suite, family, steps)
    assert "--maml.num-steps" not in words
    assert "--inner-lr" not in words, "which cnp does not have"
    assert words[words.index("--steps") + 1 :][:1] == ["5"]
    assert (suite.seeds, suite.test_tasks) == (1, 10)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Benching(learners=("tnp",)), "There is no learner of this suite 'tnp'"),
        (Benching(families=("noise",)), "Did you mean 'noisy'?"),
        (Benching(learners=("exact",)), "references only"),
        (Benching(learners=("cnp", "cnp")), "twice"),
        (Benching(steps=3, minutes=1.0), "give one of them"),
        (Benching(equal="steps"), "--minutes"),
        (Benching(minutes=0.0), "--minutes"),
        (Benching(seeds=0), "--seeds"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(written, asked: Benching, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=reason):
        narrowed(suites.read(written()), asked)
