"""The tables of docs/choosing.md are those that the rows give."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from metafunc_cli.settings.generated import ALGORITHMS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(DOCS / "generate_tables.py")))


def test_the_page_is_what_the_rows_give(generate: SimpleNamespace) -> None:
    page = (DOCS / "choosing.md").read_text()
    assert generate.replaced(page, generate.tables()) == page, "run `nox -s config`"


def test_every_name_has_a_row(generate: SimpleNamespace) -> None:
    found = generate.tables()
    assert all(f"| `{name}` |" in found["algorithms"] for name in ALGORITHMS)


def test_the_advice_names_algorithms_that_there_are(generate: SimpleNamespace) -> None:
    text = (DOCS / "choosing.md").read_text().split("## Which algorithm")[1].split("\n## ")[0]
    cells = {line.split("|")[2] for line in text.splitlines() if line.startswith("|")}
    names = {name for cell in cells for name in cell.split("`")[1::2]}
    assert names
    assert names <= {*ALGORITHMS}


def test_every_algorithm_has_a_cost_and_once(generate: SimpleNamespace) -> None:
    counted = [name for names in generate.COSTS for name in names.split()]
    assert {*counted} <= {*ALGORITHMS}
    lines = generate.costs(ALGORITHMS)
    assert sorted(name for line in lines for name in line[0].split("`")[1::2]) == sorted(ALGORITHMS)
    assert generate.costs(["maml", "new"])[-1] == ("`new`", *["not counted"] * 3)


def test_only_what_is_between_the_markers_is_replaced(generate: SimpleNamespace) -> None:
    page = "advice\n<!-- a -->\nold\n<!-- end of a -->\nmore"
    assert generate.replaced(page, {"a": "| new |"}) == "advice\n<!-- a -->\n| new |\n<!-- end of a -->\nmore"
    with pytest.raises(ValueError, match="0 pairs of markers"):
        generate.replaced(page, {"b": "| new |"})
