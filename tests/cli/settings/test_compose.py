import dataclasses
import json
import os
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metafunc_cli.__main__ import run
from metafunc_cli.errors import LARGEST, UsageError
from metafunc_cli.presets.all import PRESETS
from metafunc_cli.settings import compose
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, MODELS
from metafunc_cli.settings.names import choose
from metafunc_cli.settings.options import Output, Training

PAIRS = [(a, t) for a, row in ALGORITHMS.items() for t, family in FAMILIES.items() if family.kinds[0] in row.kinds]
REQUIRED = {name: ["--data.path", "somewhere"] for name in ("few_shot", "regression", "classification")}


def read(*argv: str) -> dict[str, Any]:
    return compose.read(argv).settings.to_json()


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values that a type admits."""
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple:
        items = get_args(hint)
        if ... in items:
            return st.lists(values(items[0]), max_size=3).map(tuple)
        return st.tuples(*map(values, items))
    if get_origin(hint) in (Union, UnionType):
        return st.one_of(*map(values, get_args(hint)))
    if hint is type(None):
        return st.none()
    words = st.text("abcxyz_./0123456789", min_size=1, max_size=8)
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    return {int: st.integers(-LARGEST, LARGEST), float: numbers, bool: st.booleans(), str: words}[hint]


def words(flag: str, value: Any) -> list[str]:
    """A value as the words of a command line."""
    if isinstance(value, bool):
        head, dot, last = flag.rpartition(".")
        return [flag if value else f"{head}.no-{last}" if dot else f"--no-{flag[2:]}"]
    return [flag, *map(str, value)] if isinstance(value, tuple) else [flag, str(value)]


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[list[list[str]], dict[str, Any]]:
    """The groups of words of a command line, and the settings that they mean."""
    algorithm, tasks = draw(st.sampled_from(PAIRS))
    model = draw(st.sampled_from(sorted(MODELS)))
    groups, meant = [[algorithm], [tasks], ["--model", model]], {}
    parts = {
        "algorithm": ("", ALGORITHMS[algorithm].fields),
        "tasks": ("data.", FAMILIES[tasks].fields),
        "model": ("model.", MODELS[model].fields),
        "training": ("", Training),
    }
    for section, (prefix, fields) in parts.items():
        hints = get_type_hints(fields)
        for field in dataclasses.fields(fields):
            if draw(st.booleans()) or field.default is dataclasses.MISSING:
                value = draw(values(hints[field.name]))
                groups.append(words(f"--{prefix}{field.name}".replace("_", "-"), value))
                meant[section, field.name] = value
    return groups, meant


@given(command_lines(), st.randoms(use_true_random=False))
def test_any_order_of_a_command_line_means_the_same_and_survives_a_file(
    tmp_path_factory: pytest.TempPathFactory, line: tuple[list[list[str]], dict[str, Any]], random: Any
) -> None:
    groups, meant = line
    names = [group[0] for group in groups[:2]]
    shuffled = groups[2:]
    random.shuffle(shuffled)
    for group in (groups[0], groups[1]):  # the two names keep their order, wherever they stand
        # A name right behind a list of words would be read as one of them.
        shuffled.insert(0 if group is groups[1] else random.randint(0, 1), group)
    found = read(*(word for group in shuffled for word in group))
    for (section, name), value in meant.items():
        assert found[section][name] == compose.plain(value), (section, name)
    assert {found["algorithm"]["name"], found["tasks"]["name"]} == set(names)

    file = tmp_path_factory.mktemp("settings") / "config.json"
    file.write_text(json.dumps(found))
    assert read("--config", str(file)) == found


def test_names_may_stand_anywhere() -> None:
    expected = read(
        "reptile", "glyphs", "--steps", "7", "--inner-lr", "0.5", "--model", "mlp", "--model.hidden", "8", "9"
    )
    lines = [
        "--steps 7 reptile --inner-lr=0.5 glyphs --model mlp --model.hidden 8 9",
        "--model.hidden 8 9 glyphs --model=mlp --steps=7 --inner_lr 0.5 reptile",
        "glyphs --model mlp --model.hidden 8 9 reptile --steps 7 --inner-lr 5e-1",
    ]
    for line in lines:
        assert read(*line.split()) == expected
    assert expected["model"]["hidden"] == [8, 9]
    assert expected["training"]["steps"] == 7


def test_flags_over_file_over_preset_over_default(tmp_path: Path) -> None:
    file = tmp_path / "some.json"
    file.write_text(json.dumps({"training": {"steps": 11, "num_tasks": 3}}))
    found = read("maml", "sinusoid", "--config", str(file), "--num-tasks", "4")["training"]
    assert (found["num_tasks"], found["steps"], found["validate_every"]) == (4, 11, 5000)
    assert found["checkpoint_every"] == Training().checkpoint_every
    assert read("maml", "sinusoid")["training"]["steps"] == 70_000


def test_an_empty_command_line_is_the_quick_preset_and_flags_alone_change_it() -> None:
    quick = next(preset for preset in PRESETS if preset.name == "quick")
    assert read()["training"]["steps"] == quick.training["steps"]
    assert read("--seed", "3")["training"] == {**read()["training"], "seed": 3}


def test_another_network_leaves_the_presets_network_settings_behind() -> None:
    assert read("maml", "glyphs")["model"]["hidden"] == [256, 128, 64, 64]
    assert read("maml", "glyphs", "--model", "conv4")["model"]["filters"] == MODELS["conv4"].fields().filters


@pytest.mark.parametrize(("tasks", "usual"), [("circles", "mlp"), ("glyphs", "conv4"), ("pose", "mlp")])
def test_images_to_classify_go_through_convolutions_where_none_is_named(tasks, usual):
    names, preset = choose(("maml_noise", tasks), None, {}, None)
    assert preset is None
    assert names["model"] == usual


def test_another_algorithm_takes_tasks_and_network_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(read("maml", "sinusoid", "--data.num-shots", "3", "--num-steps", "9")))
    found = read("reptile", "--config", str(file))
    assert found["tasks"]["num_shots"] == 3
    assert found["algorithm"] == {**found["algorithm"], "name": "reptile", "num_steps": 5}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mamll sinusoid", "Did you mean 'maml'?"),
        ("maml sinusod", "Did you mean 'sinusoid'?"),
        ("nothing", "There are: maml, fomaml"),
        (
            "protonet sinusoid",
            "protonet takes circles, omniglot, tiny_omniglot, glyphs, few_shot, classification; sinusoid goes with",
        ),
        ("maml fomaml", "both algorithms"),
        ("sinusoid glyphs", "both task families"),
        ("maml sinusoid reptile", "3 names"),
        ("--model nlp", "Did you mean 'mlp'?"),
        ("--preset quickk", "Did you mean 'quick'?"),
        ("reptile --preset quick", "is for maml on sinusoid, not for reptile"),
        ("--config absent.json", "absent.json cannot be read"),
        ("--resume nowhere", "nowhere is no run: it has no config.json"),
        ("--overwrite", "give --out as well"),
        ("no.such.module:builder sinusoid", "there is no module no"),
        ("json:nothing", "no attribute 'nothing'"),
    ],
)
def test_what_cannot_be_is_one_paragraph_and_exit_code_2(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *line.split()]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("metafunc train: ")
    assert printed.err.count("\n") == 1
    assert not printed.out


def flags() -> list[tuple[str, str, str]]:
    """(command line before it, flag, bad value) for every field of every dataclass that cannot hold any word."""
    sections = [("maml sinusoid", "", Training), ("maml sinusoid", "", Output)]
    sections += [
        (f"{name} {next(t for a, t in PAIRS if a == name)}", "", row.fields) for name, row in ALGORITHMS.items()
    ]
    sections += [
        (f"{next(a for a, t in PAIRS if t == name)} {name}", "data.", row.fields) for name, row in FAMILIES.items()
    ]
    sections += [(f"maml sinusoid --model {name}", "model.", row.fields) for name, row in MODELS.items()]
    return [
        (line, f"--{prefix}{field.name}".replace("_", "-"), "no_such_value")
        for line, prefix, fields in sections
        for field in dataclasses.fields(fields)
        if str not in (hint := get_type_hints(fields)[field.name], *get_args(hint)) and hint is not bool
    ]


def test_every_flag_refuses_a_value_of_another_type_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    cases = flags()
    assert len(cases) > 60
    for line, flag, value in cases:
        assert run(["train", *line.split(), *REQUIRED.get(line.split()[1], []), flag, value]) == 2, flag
        error = capsys.readouterr().err
        assert error.startswith(f"metafunc train: {flag} must be "), flag
        assert error.count("\n") == 1, flag


@pytest.mark.parametrize(
    ("command", "right"), [("train", "train --inner-lr"), ("eval x --num-task 3", "eval x --num-tasks")]
)
def test_an_unknown_flag_is_named_beside_the_command_as_it_should_be(
    command: str, right: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(read("maml", "sinusoid")))
    wrong = ["--inner-rl", "3"] if command == "train" else []
    assert run([*command.replace("x", str(tmp_path)).split(), *wrong]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == [f"  metafunc {right} 3".replace("x", str(tmp_path))]


@given(st.data())
def test_a_file_with_a_wrong_value_or_name_is_refused_by_its_path(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    settings = read(*data.draw(st.sampled_from([p for p in PAIRS if p[1] not in REQUIRED])))
    section = data.draw(
        st.sampled_from([name for name, values in settings.items() if len(values) > (name != "training")])
    )
    key = data.draw(st.sampled_from([key for key in settings[section] if key != "name"]))
    wrong: Any = data.draw(st.sampled_from([{"a": 1}, [["deep"]], {}]))
    if data.draw(st.booleans()):
        settings[section][key] = wrong
    else:
        settings[section][key + "s_"] = settings[section].pop(key)
        key = f"Did you mean {key!r}?"
    file = tmp_path_factory.mktemp("settings") / "config.json"
    file.write_text(json.dumps(settings))
    with pytest.raises(UsageError) as refused:
        read("--config", str(file))
    assert section in str(refused.value)
    assert key in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "holds no JSON object"),
        ('{"algoritm": {"name": "maml"}}', "Did you mean 'algorithm'?"),
        ('{"algorithm": {}}', "algorithm has no name"),
        ('{"training": 3}', "training holds no settings"),
        ('{"algorithm": {"name": "os:system"}}', "Add --imports if you trust it"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        read("--config", str(file))


def test_a_resumed_run_keeps_its_settings(tmp_path: Path) -> None:
    settings = read("maml", "sinusoid", "--steps", "12")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert read("--resume", str(tmp_path)) == settings
    assert read("--resume", str(tmp_path), "--steps", "12", "--quiet") == settings
    for changed in (["--steps", "13"], ["reptile"], ["--data.num-shots", "4"], ["--model.hidden", "7"], ["--out", "x"]):
        with pytest.raises(UsageError, match=r"resumed run keeps its settings|--resume goes on"):
            read("--resume", str(tmp_path), *changed)


def test_a_run_from_before_a_setting_goes_on_with_what_was_usual(tmp_path: Path) -> None:
    older = read("maml", "sinusoid", "--steps", "12")
    del older["training"]["schedule"], older["tasks"]["noise"]
    (tmp_path / "config.json").write_text(json.dumps(older))
    assert read("--resume", str(tmp_path)) == read("maml", "sinusoid", "--steps", "12")
    with pytest.raises(UsageError, match=r"was begun with training\.schedule = constant"):
        read("--resume", str(tmp_path), "--schedule", "cosine")


def test_help_of_a_pair_shows_its_own_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["train", "reptile", "glyphs", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--batch-size" in shown
    assert "--data.num-ways" in shown
    assert "--data.num-test-queries" not in shown


def test_no_color_is_honoured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with pytest.raises(SystemExit):
        run(["train", "--help"])
    assert "\x1b" not in capsys.readouterr().out
    assert os.environ["TERM"] == "xterm-256color"
