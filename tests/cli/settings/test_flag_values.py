"""What a flag cannot have is refused in one line: what is needed, what was given, and the most similar value."""

import shlex
from pathlib import Path
from typing import Any, Literal

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.errors import UsageError
from metafunc_cli.settings.flag_values import check_values

COMPILE = Literal["auto", "on", "off"]


@pytest.mark.parametrize(
    ("hint", "given"),
    [
        (COMPILE, "off"),
        (COMPILE | None, "None"),
        (Literal[1, 3] | None, "3"),
        (int, "-3"),
        (int | None, "None"),
        (float, "1e-3"),
        (float, "inf"),
        (str, "1e-3"),
        (int | tuple[int, int], "1"),
        (int | tuple[int, int] | None, "1 3"),
        (tuple[int, ...], ""),
        (tuple[int, ...], "40 40"),
        (tuple[float, float, float] | None, ".5 .2 .3"),
        (tuple[str, ...] | None, "a b"),
        (tuple[COMPILE, ...], "on off"),
    ],
)
def test_what_a_type_admits_passes(hint: Any, given: str) -> None:
    check_values("--flag", hint, given.split())


@pytest.mark.parametrize(
    ("hint", "given", "said"),
    [
        (COMPILE, "maybe", "--flag must be one of 'auto', 'on', 'off', not 'maybe'."),
        (COMPILE, "of", "--flag must be one of 'auto', 'on', 'off', not 'of'. Did you mean 'off'?"),
        (COMPILE | None, "of", "--flag must be one of 'auto', 'on', 'off', 'None', not 'of'. Did you mean 'off'?"),
        (Literal[1, 3] | None, "2", "--flag must be one of '1', '3', 'None', not '2'."),
        (int, "1.5", "--flag must be a whole number, not '1.5'."),
        (int, "", "--flag must be a whole number, and nothing follows it."),
        (float | None, "a", "--flag must be a number, or None, not 'a'."),
        (int | tuple[int, int], "1 2 3", "--flag must be a whole number or 2 whole numbers, not '1 2 3'."),
        (int | tuple[int, int], "1 x", "--flag must be a whole number or 2 whole numbers, not 'x'."),
        (tuple[int, ...], "40 x", "--flag must be whole numbers, not 'x'."),
        (tuple[float, float, float], ".5 .5", "--flag must be 3 numbers, not '.5 .5'."),
        (tuple[COMPILE, ...], "on of", "--flag must be one of 'auto', 'on', 'off', not 'of'. Did you mean 'off'?"),
    ],
)
def test_what_it_does_not_is_refused_with_what_it_does(hint: Any, given: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_values("--flag", hint, given.split())
    assert str(raised.value) == said


def test_a_switch_that_has_become_a_choice_is_turned_off_by_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shlex.split("train maml regression --data.no-standardise --data.path a")) == 2
    assert "regression --data.standardise False --data.path a\n" in capsys.readouterr().err


def test_a_column_that_was_guessed_gives_way_to_the_one_that_is_corrected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("machine,load,yield\na,1,2\na,2,3\nb,1,2\nb,2,4\n")
    assert run(["train", "maml", str(table), "--data.target", "load"]) == 2
    assert capsys.readouterr().err.count("--data.target-columns") == 1


@pytest.mark.parametrize(
    ("line", "better"),
    [
        ("train emaml_rl navigation --steps 2 --credit sampling", "train emaml_rl navigation --help"),
        ("train maml sinusoid --innerlr .1 --steps 2", "train maml sinusoid --inner-lr .1 --steps 2"),
        ("train maml sinusoid --innerlr=x", "train maml sinusoid --help"),
        ("train maml sinusoid --model.hidde 40", "train maml sinusoid --model.hidden 40"),
        ("train maml sinusoid --innerlr .1 --preset quick", "train maml sinusoid --inner-lr .1 --preset quick"),
        ("train maml sinusoid --noise .1 --steps 2", "train maml sinusoid --data.noise .1 --steps 2"),
        (
            "tune maml regression --space inner_lr:0.1..1",
            "tune maml regression --space inner_lr:0.1..1 --data.path FILE",
        ),
        (
            "tune maml sinusoid --trials 2 --innerlr .1 --space num_steps:1..3",
            "tune maml sinusoid --trials 2 --inner-lr .1 --space num_steps:1..3",
        ),
        (
            "compare --algorithms maml cnp --tasks regression --seeds 2",
            "compare --algorithms maml cnp --tasks regression --seeds 2 --data.path FILE",
        ),
        ("optimise dkt regression --top 2", "optimise dkt regression --top 2 --data.path FILE"),
        ("bench regression-1d --ranks 2", "bench regression-1d --help"),
        ("bench --seed 1 regression-1d --quick", "bench regression-1d --seeds 1 --quick"),
        ("push A user/b --privat", "push A user/b --private"),
    ],
)
def test_the_command_that_is_proposed_has_all_names_and_a_flag_that_can_have_the_value(
    line: str, better: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(shlex.split(line)) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"  metafunc {better}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train maml sinusoid --compile maybe", "--compile must be one of 'auto', 'on', 'off', not 'maybe'."),
        ("train maml sinusoid --steps=1.5", "--steps must be a whole number, not '1.5'."),
        ("train maml gp --data.kernel rbff", "not 'rbff'. Did you mean 'rbf'?"),
        ("train maml sinusoid --quick=yes", "--quick takes no value: it is there or not."),
        ("train maml sinusoid --quiet no", "--quiet takes no value, and no is no algorithm"),
        ("train maml regression --data.standardise no --data.path a", "one of 'True', 'False', 'task', not 'no'."),
        ("train --quiet malm sinusoid", "Did you mean 'maml'?"),
        (
            "train maml regression --data.path a --data.task-column b c",
            "--data.task-column takes one value, b, and c is left over: leave it out, or give --data.task-column 'b c'",
        ),
        ("train sinusoid --steps 10 20", "--steps takes one value, 10, and 20 is left over: leave it out."),
        (
            "train maml few_shot --data.path a --data.target-column b c",
            "left over: leave it out, or give --data.target-columns b c.",
        ),
        (
            "train maml classification --data.path a --data.standardise task",
            "must be one of 'True', 'False', not 'task'. 'task' goes with regression.",
        ),
        ("train maml sinusoid --data.noize .1 .2", "There is no option --data.noize. Perhaps --data.noise?"),
        ("tune maml sinusoid --space inner_lr:0..1 --trials x", "--trials must be a whole number, not 'x'."),
        ("bench regression-1d --equal foo", "--equal must be one of 'seconds', 'steps', not 'foo'."),
        ("compare --algorithms maml dkt --tasks gp --format pgn", "not 'pgn'. Did you mean 'png'?"),
        ("check maml --input-dtype flot", "not 'flot'. Did you mean 'float'?"),
        ("check", "check takes one target, such as maml"),
        ("check maml dkt", "check takes one target, not 2: maml, dkt."),
    ],
)
def test_every_command_says_it_in_one_line_of_its_own(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shlex.split(line)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith(f"metafunc {line.split()[0]}: ")
    assert error.count("\n") == 1
