"""Tables as people have them: what tasks are called, and what is wrong with a file, in one line that names it."""

from pathlib import Path

import pytest

from metafunc.data import DataUnavailable, regression


def table(path: Path, tasks: list[str], *, rows: int = 12) -> str:
    lines = [f"{task},{x},{x * (1 + k)}" for k, task in enumerate(tasks) for x in range(rows)]
    path.write_text("\n".join(["task,x,y", *lines]) + "\n")
    return str(path)


@pytest.mark.parametrize(
    "tasks",
    [
        [str(2**63 + k) for k in range(12)],  # beyond the whole numbers of 64 bits
        [f"{k:03d}" for k in range(12)],
        ["0", "00", "1", "01", "10", "010", "2", "02", "3", "03", "4", "04"],
        ["1.0", "1", "1e0", "true", "True", "nan", "NA", "null", "2.50", "2.5", "-0", "0"],
    ],
    ids=["large", "padded", "pairs", "look-alikes"],
)
def test_a_task_s_name_is_its_text(tmp_path: Path, tasks: list[str]) -> None:
    family = regression(table(tmp_path / "t.csv", tasks), num_shots=3)
    assert sum(family.info["tasks"].values()) == 12
    assert family.info["rows"] == 144


def test_a_row_without_a_task_is_named(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", ["a", "", "b"])
    with pytest.raises(ValueError, match="row 13, column 'task' is empty; every row needs its task"):
        regression(path, num_shots=3)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("t.csv", "task,größe,y\na,1,2\n".encode("latin-1"), DataUnavailable, "is not encoded as UTF-8"),
        ("t.csv", b"task,x,x,y\na,1,2,3\n", ValueError, "has two columns named 'x'"),
        ("t.csv", b"task,x,y\n", ValueError, "has no rows"),
        ("t.csv", b"task;x;y\na;1,5;2,5\n", DataUnavailable, "commas between columns, and points in numbers"),
        ("t.tsv", b"task\tx\ty\na\t1\t2\n", DataUnavailable, r"ends in \.tsv; \.csv and \.parquet are read"),
        ("t.parquet", b"PAR1 and no more", DataUnavailable, "has to be a parquet file"),
        ("t.csv", b"", DataUnavailable, "a header in its first line"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(
    tmp_path: Path, name: str, content: bytes, error: type[Exception], message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        regression(str(path), num_shots=3)
    assert str(path) in str(caught.value)
    assert "hub" not in str(caught.value)
