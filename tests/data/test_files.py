"""User-supplied tables and images are read as they are, or refused with the place where they are wrong."""

from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from metafunc.data import DataUnavailable, files, regression
from metafunc.data import numbers as numbers_of_files
from metafunc.data.numbers import numbers, numeric_where_exact


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_comes_back_as_it_was_written(tmp_path: Path, suffix: str):
    frame = pandas.DataFrame({"name": ["a", "b c", "d,e"], "x": [0.1, 1e-300, -7.0], "n": [1, 2, 3]})
    path = tmp_path / "new" / f"table{suffix}"
    files.write_table(frame, path)
    found = files.read_table(path)
    if suffix == ".csv":  # whose cells are text as it stands
        assert found["x"].tolist() == ["0.1", "1e-300", "-7.0"]
        found = found.apply(numeric_where_exact)
    pandas.testing.assert_frame_equal(found, frame, check_dtype=False)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@given(
    st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-9, 9)), min_size=1, max_size=5)
)
def test_numbers_are_exact_in_the_order_asked_for(rows):
    frame = pandas.DataFrame(rows, columns=["a", "b"])
    assert numbers(frame, ["b", "a"], Path("t.csv")).tolist() == [[float(b), a] for a, b in rows]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("x,y\n1,2\n3,\n", r"t\.csv, row 2, column 'y' is empty"),
        ("x,y\n1,nan\n", r"row 1, column 'y' is empty"),
        ("x,y\n1,2\n5,tall\n", r"row 2, column 'y' is 'tall'"),
        ("x,y\n1,inf\n", r"row 1, column 'y' is 'inf'"),
        ("x,z\n1,2\n", r"t\.csv has no column 'y'; it has x, z"),
        ("x,y\n1,2\n5,1_000\n", r"row 2, column 'y' is '1_000'"),
        ("x,y\n1,2020-01-01\n", r"row 1, column 'y' is '2020-01-01'"),
    ],
)
def test_a_cell_that_is_no_number_is_named(tmp_path: Path, cells: str, message: str):
    path = write(tmp_path / "t.csv", cells)
    with pytest.raises(ValueError, match=message):
        numbers(files.read_table(path), ["x", "y"], path)


@pytest.mark.parametrize(
    "column", [pandas.to_datetime(["2020-01-01", "2020-01-02"]), [[1.0], [2.0]], [None, "1"], [b"1", b"2"]]
)
def test_parquet_columns_of_other_kinds_are_no_numbers(tmp_path: Path, column: list[object]):
    path = tmp_path / "t.parquet"
    pandas.DataFrame({"x": column}).to_parquet(path)
    with pytest.raises(ValueError, match="row 1, column 'x'"):
        numbers(files.read_table(path), ["x"], path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", b"", "cannot be read .*a header in its first line"),
        ("t.csv", b"x,y\n1,2,3\n", "cannot be read .*Expected 2 columns, got 3"),
        ("t.csv", b"task;x;y\na;1,5;2\n", "cannot be read .*commas between columns, and points in numbers"),
        ("t.csv", "task,x\nK\xf6ln,1\n".encode("latin-1"), "is not encoded as UTF-8"),
        ("t.csv", "h\xf6he,x\n1,1\n".encode("latin-1"), "is not encoded as UTF-8"),
        ("t.parquet", b"no parquet", "cannot be read .*it has to be a parquet file"),
        ("t.tsv", b"x\ty\n", r"ends in \.tsv; \.csv and \.parquet are read"),
    ],
)
def test_what_is_no_table_is_refused_for_training_and_prediction_alike(
    tmp_path: Path, name: str, text: bytes, message: str
):
    path = tmp_path / name
    path.write_bytes(text)
    for read in (files.read_table, lambda path: regression(str(path), num_shots=3)):
        with pytest.raises(DataUnavailable, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"), [("task,x,y\n", "no rows"), ("task,x,x,y\na,1,2,3\n", "two columns named 'x': rename one")]
)
def test_a_table_without_rows_or_with_a_name_twice_is_refused(tmp_path: Path, text: str, message: str):
    path = write(tmp_path / "t.csv", text)
    for read in (files.read_table, lambda path: regression(str(path), num_shots=3)):
        with pytest.raises(ValueError, match=message):
            read(path)


def test_cells_are_text_whatever_they_look_like(tmp_path: Path):
    cells = ["007", "1e5", "+3", "NA", "", "true", "2020-01-01", "18446744073709551617", "a\nb", 'c"d', " e "]
    path = tmp_path / "t.csv"
    pandas.DataFrame({"name": cells, "x": range(len(cells))}).to_csv(path, index=False)
    assert files.read_table(path)["name"].tolist() == cells


def test_columns_that_pandas_took_for_its_index_are_there(tmp_path: Path):
    frame = pandas.DataFrame({"task": list("abba"), "x": [1.0, 2.0, 3.0, 4.0], "n": pandas.array([1, 2, None, 2**60])})
    frame.set_index("task").to_parquet(tmp_path / "t.parquet")
    found = files.read_table(tmp_path / "t.parquet")
    assert sorted(found.columns) == ["n", "task", "x"]
    assert found["n"].tolist() == [1, 2, None, 2**60]
    frame.to_parquet(tmp_path / "numbered.parquet", index=True)
    frame[1:].to_parquet(tmp_path / "part.parquet", index=True)
    assert list(files.read_table(tmp_path / "numbered.parquet").columns) == ["task", "x", "n"]
    assert list(files.read_table(tmp_path / "part.parquet").columns) == ["task", "x", "n"]


def as_python_reads(cell: str) -> float | None:
    text = cell.strip()
    if text in numbers_of_files.MISSING or "_" in text:
        return None
    try:
        found = float(text)
    except ValueError:
        return None
    return found if np.isfinite(found) else None


@given(
    st.lists(
        st.floats(allow_nan=False).map(repr)
        | st.decimals(allow_nan=False).map(str)
        | st.integers(-(10**40), 10**40).map(lambda whole: f"{whole}.0")
        | st.sampled_from(["", " 1", "1_0", "NAN", "0x10", "1.", ".5", "1d5", "-inf", "4.9e-324", "x"]),
        min_size=1,
        max_size=4,
    )
)
def test_text_is_the_nearest_double_or_refused(cells):
    expected = [as_python_reads(cell) for cell in cells]
    frame = pandas.DataFrame({"x": cells})
    if None in expected:
        with pytest.raises(ValueError, match=f"row {expected.index(None) + 1}, column 'x'"):
            numbers(frame, ["x"], Path("t.csv"))
    else:
        assert numbers(frame, ["x"], Path("t.csv"))[:, 0].tolist() == expected


def test_row_numbers_that_pandas_wrote_are_left_out(tmp_path: Path):
    pandas.DataFrame({"x": [1.0, 2.0]}).to_csv(tmp_path / "t.csv")
    assert list(files.read_table(tmp_path / "t.csv").columns) == ["x"]


def test_what_pandas_took_for_its_index_is_a_column(tmp_path: Path):
    pandas.DataFrame({"a": [7, 1, 2], "y": [3, 4, 5]}).set_index("a").to_parquet(tmp_path / "a.parquet")
    assert sorted(files.read_table(tmp_path / "a.parquet").columns) == ["a", "y"]
    pandas.DataFrame({"y": [3, 4, 5]}, index=[7, 1, 2]).to_parquet(tmp_path / "b.parquet")
    assert [*files.read_table(tmp_path / "b.parquet").columns] == ["y"]


@pytest.mark.parametrize("said", [b'{"index_columns": ["a"], "columns": 5}', b"no JSON", b"[]"])
def test_what_a_parquet_file_says_of_pandas_is_not_needed(tmp_path: Path, said: bytes):
    table = pyarrow.table({"a": [1, 2]}).replace_schema_metadata({b"pandas": said})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert files.read_table(tmp_path / "a.parquet")["a"].tolist() == [1, 2]


def test_whole_numbers_beside_an_empty_cell_keep_their_digits(tmp_path: Path):
    parquet.write_table(pyarrow.table({"id": [2**53 + 1, None, 5]}), tmp_path / "a.parquet")
    files.write_table(files.read_table(tmp_path / "a.parquet"), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().split("\n")[:4] == ["id", str(2**53 + 1), '""', "5"]


def test_a_parquet_file_with_a_column_twice_is_refused(tmp_path: Path):
    column = pyarrow.array([1, 2])
    parquet.write_table(pyarrow.table([column, column], names=["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a[.]parquet has two columns named 'a'"):
        files.read_table(tmp_path / "a.parquet")


def test_a_folder_s_name_is_no_column_of_a_parquet_file(tmp_path: Path):
    (tmp_path / "a=1").mkdir()
    parquet.write_table(pyarrow.table({"y": [2]}), tmp_path / "a=1/y.parquet")
    assert [*files.read_table(tmp_path / "a=1/y.parquet").columns] == ["y"]


def test_of_many_columns_only_some_are_listed():
    with pytest.raises(ValueError, match="has no column 'y'; it has c0, ") as raised:
        numbers(pandas.DataFrame({f"c{i}": [0.0] for i in range(1000)}), ["y"], Path("t.csv"))
    assert len(str(raised.value)) < 300


def test_missing_cells_may_be_allowed():
    frame = pandas.DataFrame({"x": [1.0, None]})
    assert numbers(frame, ["x"], Path("t"), missing=True).isnan().tolist() == [[False], [True]]


def test_an_absent_file_is_unavailable(tmp_path: Path):
    with pytest.raises(DataUnavailable):
        files.read_table(tmp_path / "t.csv")
    with pytest.raises(DataUnavailable):
        files.read_examples(tmp_path / "folder", (1, 4, 4), "image", "label")


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def test_folders_are_classes(tmp_path: Path):
    for i, name in enumerate(["b/1.png", "a/2.png", "a/1.png", "c/d/1.png", "loose.png"]):
        save(tmp_path / name, pixels(i, 4, 4))
    write(tmp_path / "a" / "notes.txt", "no image")
    save(tmp_path / "a" / ".hidden.png", pixels(9, 4, 4))
    read = files.read_examples(tmp_path, (1, 4, 4), "image", "label")
    assert read.names == ["a/1.png", "a/2.png", "b/1.png", "c/d/1.png", "loose.png"]
    assert read.labels == ["a", "a", "b", "c/d", ""]
    assert read.values[0, 0].tolist() == pixels(2, 4, 4).tolist()
    alone = files.read_examples(tmp_path / "loose.png", (1, 4, 4), "image", "label")
    assert alone.names == ["loose.png"]
    assert torch.equal(alone.values, read.values[4:])


def test_images_take_the_format_of_the_training(tmp_path: Path):
    save(tmp_path / "grey.png", np.full((10, 6), 40, np.uint8))
    save(tmp_path / "red.png", np.broadcast_to(np.array([200, 0, 0], np.uint8), (3, 9, 3)))
    colour = files.read_examples(tmp_path, (3, 4, 4), "image", "label").values
    assert colour.shape == (2, 3, 4, 4)
    assert colour[1, :, 0, 0].tolist() == [200, 0, 0]
    assert files.read_examples(tmp_path, (1, 4, 4), "image", "label").values[0].unique().tolist() == [40]


def test_an_unusable_image_is_named(tmp_path: Path):
    save(tmp_path / "1.png", pixels(0, 4, 4))
    write(tmp_path / "2.png", "no image")
    with pytest.raises(ValueError, match=r"2\.png cannot be used"):
        files.read_examples(tmp_path, (1, 4, 4), "image", "label")
    save(tmp_path / "1.png", pixels(0, 3, 4))
    save(tmp_path / "2.png", pixels(0, 3, 5))
    with pytest.raises(ValueError, match=r"2\.png has rows of shape \(1, 3, 5\)"):
        files.read_examples(tmp_path, (1, 3, 4), "image", "label")


def test_an_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="holds no images"):
        files.read_examples(tmp_path, (1, 4, 4), "image", "label")


def test_parquet_rows_are_read_as_in_training(tmp_path: Path):
    path = tmp_path / "rows.parquet"
    flat = pixels(3, 3, 16)
    pandas.DataFrame({"pixels": flat.tolist(), "kind": ["u", "v", "u"]}).to_parquet(path)
    read = files.read_examples(path, (1, 4, 4), "pixels", "kind")
    assert read.labels == ["u", "v", "u"]
    assert np.array_equal(read.values.numpy().reshape(3, 16), flat)
    assert files.read_examples(path, (1, 4, 4), "pixels", "label").labels == ["", "", ""]
    with pytest.raises(ValueError, match=r"rows\.parquet cannot be used"):
        files.read_examples(path, (1, 4, 4), "image", "kind")


@pytest.mark.parametrize(
    ("brightness", "invert", "ink", "flipped"),
    [(200, False, False, False), (200, True, False, True), (200, False, True, True), (20, False, True, False)],
)
def test_polarity_follows_the_training(brightness: int, invert: bool, ink: bool, flipped: bool):
    values = torch.full((1, 1, 2, 2), 50, dtype=torch.uint8)
    support = torch.full((1, 1, 2, 2), brightness, dtype=torch.uint8)
    shown = files.like_trained(values, support, invert=invert, ink=ink)
    assert shown.flatten()[0].item() == pytest.approx((205 if flipped else 50) / 255)


def test_floats_are_left_alone():
    values = torch.tensor([[3.0, -1.0]])
    assert files.like_trained(values, values, invert=True, ink=True) is values
