"""Names that others chose do nothing in a spreadsheet, on a page or in a figure, and come back as they were."""

import csv
import re
from pathlib import Path

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metafunc.data import files, regression
from metafunc.data.safe_text import csv_cell, from_csv_cells, markdown_cell
from metafunc.results import tables
from metafunc.results.figures import style

NAMES = st.lists(st.text(alphabet="'=+-@ab1.\t\r\n|<\"", min_size=1, max_size=5), min_size=1, unique=True)
FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\tx", "\rx", "'=1", "''+a", "-"]


@given(NAMES)
def test_no_cell_is_a_formula_and_each_comes_back(names: list[str]) -> None:
    cells = [csv_cell(name) for name in names]
    for name, cell in zip(names, cells, strict=True):
        number = re.fullmatch(r"[+-](\d+\.?\d*|\.\d+)", cell) is not None
        assert number or cell[0] not in "=+-@\t\r\n"
        assert (cell == name) == (cell in names)
    assert from_csv_cells(cells) == names


@pytest.mark.parametrize("number", ["-1", "+2.5", "-.5e-3", "-inf", "1e9", "-1E+30"])
def test_a_number_stays_a_number(number: str) -> None:
    assert csv_cell(number) == number


def test_different_cells_of_a_user_s_file_stay_different() -> None:
    assert from_csv_cells(["'=a", "=a"]) == ["'=a", "=a"]


def test_a_table_is_written_without_formulas_and_read_as_it_was(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"=cmd": FORMULAS, "-y": [-1.5] * len(FORMULAS), "n": [-1] * len(FORMULAS)})
    once, twice = tmp_path / "once.csv", tmp_path / "twice.csv"
    files.write_table(frame, once)
    with once.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["'=cmd", "'-y", "n"]
    assert [row[0] for row in rows] == [f"'{text}" for text in FORMULAS], "written"
    assert {row[1] for row in rows} == {"-1.5"}
    found = files.read_table(once)
    assert list(found.columns) == list(frame.columns)
    assert found["=cmd"].tolist() == FORMULAS
    files.write_table(found, twice)
    assert files.read_table(twice)["=cmd"].tolist() == FORMULAS


def test_tasks_keep_their_names_through_a_table_that_was_written(tmp_path: Path) -> None:
    names = ["=a", "+b", "'c", "-1", "-2", "@d", "e", "f", "g", "h"]
    rows = [(task, float(x), -float(x)) for task in names for x in range(6)]
    plain = pandas.DataFrame(rows, columns=["=task", "x", "y"])
    plain.to_csv(tmp_path / "plain.csv", index=False)
    files.write_table(plain, tmp_path / "safe.csv")
    assert (tmp_path / "plain.csv").read_text() != (tmp_path / "safe.csv").read_text()
    first, second = (
        regression(str(tmp_path / name), num_shots=2, task_column="=task").info for name in ("plain.csv", "safe.csv")
    )
    assert first["fingerprint"] == second["fingerprint"]


def test_a_comparison_s_tables_hold_names_as_text() -> None:
    row = {
        "seeds": [0], "steps": 1, "interval": "tasks", "seconds": None, "parameters": 1, "best": [], "paired": {},
        "mse": {"mean": -1.0, "ci95": 0.5},
    }  # fmt: skip
    report = {"num_tasks": 2, "rows": [{"algorithm": "=cmd|'/c'!A1\n<script>", **row}]}
    assert next(csv.reader(tables.to_csv(report).splitlines()[1:]))[0].startswith("'=cmd")
    assert ",-1.0," in tables.to_csv(report)
    lines = tables.to_markdown(report).splitlines()
    assert lines[2].startswith("| =cmd\\|'/c'!A1 &lt;script&gt; |")
    assert "<script>" not in tables.to_markdown(report)


@given(st.text(max_size=8))
def test_markdown_has_one_line_and_no_html(text: str) -> None:
    cell = markdown_cell(text)
    assert "\n" not in cell
    assert "<" not in cell
    assert not re.search(r"(?<!\\)(\\\\)*\|", cell)


def test_a_column_s_name_is_no_formula_of_a_figure(tmp_path: Path) -> None:
    page, _ = style.figure(3.0, 2.0, r"$\nothing$", r"$\frac$")
    axes = page.add_subplot()
    style.plain(axes, x=r"$\x$", title=r"$\y$")
    style.name_lines(axes, [style.Name(r"$\z$", 0.5, style.BLUE)])
    assert style.save(page, tmp_path / "page.png").exists()
