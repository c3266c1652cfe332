"""The pieces of a page: what others have named is text in them, and nothing else."""

import json
import re
from pathlib import Path

import pytest

from metafunc.results import html_parts
from metafunc.results.html_parts import Cell, chart, choice, filled, pairs, script_data, section, table, text_block

from .page_cases import HOSTILE

PIECES = {
    "table": table([HOSTILE], [[Cell(HOSTILE, HOSTILE, HOSTILE, HOSTILE)]], [HOSTILE]),
    "section": section(HOSTILE, HOSTILE, note=HOSTILE),
    "chart": chart(HOSTILE, HOSTILE, HOSTILE),
    "choice": choice(HOSTILE, {HOSTILE: HOSTILE, "b": "c"}, ["", ""]),
    "text_block": text_block(HOSTILE),
    "pairs": pairs({HOSTILE: HOSTILE}),
    "script_data": script_data({HOSTILE: [HOSTILE]}),
}


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_hostile_names_are_text(piece: str) -> None:
    assert "alert" in piece
    for wrong in ("<script", "</script", "<img", "<!--", "'</", '"<'):
        assert wrong not in piece


def test_data_of_scripts_is_what_it_was() -> None:
    assert json.loads(script_data({"a": [HOSTILE, 1.5, None]})) == {"a": [HOSTILE, 1.5, None]}


def test_data_of_scripts_is_finite() -> None:
    with pytest.raises(ValueError, match="JSON"):
        script_data([float("nan")])


def test_what_is_put_into_a_page_has_no_slots() -> None:
    assert filled("<!--A--> <!--B-->", {"A": "<!--B-->", "B": "b"}) == "<!--B--> b"


def test_cells_say_what_they_are_sorted_by() -> None:
    found = table(
        ["", "mse"], [[Cell("maml", "maml"), Cell("0.5 ± 0.1", 0.5, "Δ", "best")], [Cell("b", "b"), Cell("")]]
    )
    assert '<td class="best" data-value="0.5">0.5 ± 0.1<span class="below">Δ</span></td>' in found
    assert '<td class="" data-value=""></td>' in found
    assert found.count('<th scope="row"') == found.count('<th scope="col"') == 2


def test_a_choice_of_one_has_no_menu_and_of_two_shows_the_first() -> None:
    assert "<select" not in choice("Metric", {"mse": "MSE"}, ["x"])
    both = choice("Metric", {"mse": "MSE", "nll": "NLL"}, ["x", "y"])
    assert 'data-option="mse">x' in both
    assert 'data-option="nll" hidden>y' in both


def test_a_page_asks_for_no_source_map() -> None:
    whole = html_parts.page("t", "", {})
    assert "sourceMappingURL" not in whole
    assert whole.count("<script") == whole.count("</script>") == 3


def test_the_way_of_sorting_has_another_mark_than_the_way_that_is_good() -> None:
    """A head may have both: "MSE ↓" that is sorted by."""
    site = Path(__file__).parents[2] / "docs/assets/site.css"
    for style in (html_parts.read("report.css"), site.read_text()):
        marks = re.findall(r'aria-sort="\w+"\][^{]*::after { content: " (.)"', style)
        assert len({*marks}) == 2
        assert not {*marks} & {"↑", "↓"}
