"""What a name or a message holds cannot steer a terminal, and is no markup."""

import sys
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metafunc_cli.__main__ import run
from metafunc_cli.display.progress import progress
from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen
from metafunc_cli.display.visible import visible
from rich.table import Table
from rich.text import Text

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\u202egnp.exe\x9b31m[bold]x[/bold]:smile:\x7f"
SHOWN = "a\\x1b]0;owned\\x07\\x1b[2J\\u202egnp.exe\\x9b31m[bold]x[/bold]:smile:\\x7f"


@given(st.text())
def test_nothing_steers_and_what_does_not_is_kept(text: str) -> None:
    found = visible(text)
    assert not any((ord(mark) < 32 and mark not in "\n\t") or 0x7F <= ord(mark) < 0xA0 for mark in found)
    assert not set(found) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    assert visible(found) == found
    found.encode()  # half of a pair of surrogates, as in a name that is not UTF-8, could not be written


def test_letters_of_every_script_stay() -> None:
    text = "Größe Δ 機械 \u0645\u0631\u062d\u0628\u0627 😀\n\tx"
    assert visible(text) == text


@pytest.mark.parametrize("way", ["say", "text", "table", "warning", "progress", "lines"])
def test_whatever_is_printed_goes_through_it(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = StringIO(), StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("COLUMNS", "200")
    screen = Screen(json=False, quiet=False)
    if way == "say":
        screen.say(HOSTILE)
    elif way == "text":
        screen.out.print(Text.assemble((HOSTILE, "bold")))
    elif way == "table":
        table = Table()
        table.add_column(HOSTILE)
        table.add_row(HOSTILE)
        screen.out.print(table)
    elif way == "warning":
        screen._warning(HOSTILE, UserWarning, "", 0)
    elif way == "lines":
        show_lines(screen.out, [("wrote", HOSTILE)])
    else:
        monkeypatch.setattr("metafunc_cli.display.progress.SECONDS", 0.0)
        with progress(screen.err, HOSTILE, quiet=False) as advance:
            advance(1, 2, HOSTILE)
    printed = out.getvalue() + err.getvalue()
    assert SHOWN.replace("\\x07", "") in printed.replace("\\x07", "")  # rich itself leaves out a bell
    assert not set(printed) & {"\x1b", "\u202e", "\x07", "\x9b"}


def test_so_does_the_message_of_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "table.csv"
    file.write_text("\x1b[31mred\x1b[0m,x,y\n" + "".join(f"{task},2,1\n" for task in range(12) for _ in range(8)))
    assert run(["train", "maml", "regression", "--data.path", str(file), "--data.num-shots", "3"]) == 2
    err = capsys.readouterr().err
    assert "\\x1b[31mred" in err
    assert "\x1b" not in err
