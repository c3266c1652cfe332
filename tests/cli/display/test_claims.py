"""Claims beside their numbers, or below them on a narrow terminal, and never over many lines."""

import io

import pytest
from metafunc_cli.display.claims import Claim, show_claims
from rich.console import Console
from rich.text import Text

HEADS = ("identity", "error", "tolerance", "verdict")
LONG = "regression: " + "a loop over tasks and chunks of them agrees with what is taken at once " * 3
ROWS = [
    Claim("path_ends_in_adapt", LONG[:130].strip(), ["1.0e-13", "5.0e-11"], Text("holds", "green")),
    Claim("pure", "Called twice, the answer is the same.", ["0", "0"], Text("fails", "bold red")),
]


def shown(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    show_claims(console, HEADS, ROWS)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # it is the StringIO above


@pytest.mark.parametrize("width", [72, 80, 100, 140, 200])
def test_a_claim_takes_at_most_three_lines_and_none_is_too_long(width: int) -> None:
    lines = shown(width)
    assert max(map(len, lines)) <= width
    begins = [i for i, line in enumerate(lines) if line.strip().startswith(("path_ends_in_adapt", "pure"))]
    assert begins[1] - begins[0] <= (3 if width >= 100 else 4)  # with the line of its name, where it stands below
    text = " ".join(" ".join(lines).split())
    assert all(word in text for row in ROWS for word in (*row.claim.split(), *row.numbers, row.verdict.plain))


def test_numbers_stand_below_their_heads_where_claims_are_below() -> None:
    lines = shown(80)
    head, first = lines[0], lines[1]
    for title, cell in zip(HEADS[1:3], ROWS[0].numbers, strict=True):
        assert head.index(title) + len(title) == first.index(cell) + len(cell)
    assert head.index("verdict") == first.index("holds")
    assert lines[2].startswith("  regression: ")


def test_a_wide_terminal_has_claims_in_a_column() -> None:
    lines = shown(200)
    assert any("path_ends_in_adapt" in line and "regression:" in line and "1.0e-13" in line for line in lines)
