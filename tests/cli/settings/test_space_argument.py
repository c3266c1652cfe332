"""What `--space` takes: ranges and choices of settings that there are, by their types."""

import pytest
from metafunc_cli.errors import UsageError
from metafunc_cli.settings import compose
from metafunc_cli.settings.space_argument import flags_of, space_of

from metafunc.training.search_space import Choice, Range

SETTINGS = compose.read(["maml", "sinusoid"]).settings


def test_ranges_and_choices_have_the_types_of_their_settings() -> None:
    words = [
        "inner_lr:1e-4..0.3:log",
        "--num-steps:1..3",
        "model.hidden:40x40,100x100x100",
        "outer_optimiser:adam,sgd",
        "clip:none,10",
        "deterministic:true,false",
    ]
    assert space_of(words, SETTINGS) == {
        "algorithm.inner_lr": Range(1e-4, 0.3, log=True),
        "algorithm.num_steps": Range(1, 3, whole=True),
        "model.hidden": Choice(((40, 40), (100, 100, 100))),
        "training.outer_optimiser": Choice(("adam", "sgd")),
        "training.clip": Choice((None, 10.0)),
        "training.deterministic": Choice((True, False)),
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("inner_lrr:1e-4..0.3", "There is no setting to search 'inner_lrr'. Did you mean 'inner_lr'?"),
        ("hidden:4,8", "There is no setting to search 'hidden'"),
        ("data.num_shots:1..5", "--data.* decides the tasks"),
        ("inner_lr", "inner_lr has no values: --space takes NAME:LOW..HIGH"),
        ("inner_lr:0.3..0.1", "A range goes from a number to a greater one, not from 0.3 to 0.1. --space takes"),
        ("inner_lr:0..0.1:log", "begins above zero"),
        ("inner_lr:0.1..0.2:exp", "after its range comes nothing, or log, and not exp"),
        ("inner_lr:a..b", "a is no number"),
        ("num_steps:1.5..2", "1.5 is no whole number"),
        ("num_steps:1", "give two or more"),
        ("outer_optimiser:adam,sdg", "it is one of adam,"),
        ("outer_optimiser:1..2", "it takes no numbers"),
        ("deterministic:yes,no", "it is true or false, and not yes"),
    ],
)
def test_what_cannot_be_is_said(word: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        space_of([word], SETTINGS)
    assert message in str(refused.value)


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="has inner_lr twice"):
        space_of(["inner_lr:0.1..0.2", "inner-lr:0.1..0.2"], SETTINGS)


def test_values_become_the_flags_of_train() -> None:
    values = {"algorithm.inner_lr": 0.1, "model.hidden": (4, 8), "training.deterministic": False, "training.clip": None}
    flags = flags_of(values, SETTINGS)
    assert flags == ["--inner-lr", "0.1", "--model.hidden", "4", "8", "--no-deterministic", "--clip", "None"]
    read = compose.read(["maml", "sinusoid", *flags]).settings
    assert (read.hyper.inner_lr, read.network.hidden, read.training.clip) == (0.1, (4, 8), None)
