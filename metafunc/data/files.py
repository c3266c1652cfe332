"""A user-supplied task, from files: tables of numbers (CSV, parquet), and folders of images."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor

from metafunc.data.atomic_write import make_folder, replace_file
from metafunc.data.pixels import inverted
from metafunc.data.reader import materialise
from metafunc.data.safe_text import csv_cell, csv_quoting, from_csv_cells
from metafunc.data.sampling import DataUnavailable
from metafunc.data.source import IMAGE_SUFFIXES, class_names, load

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from metafunc.data.parquet_rows import Part

TABLES = (".csv", ".parquet")
_ROW_NUMBERS = re.compile(r"(__index_level_\d+__)?")
"""As what pandas saves its row numbers beside the data: a column without a name (CSV), or with this one."""
MIDDLE_GREY = 127.5


class Examples(NamedTuple):
    """Rows to classify: what each is called, its class ("" where it is not known), and its values."""

    names: list[str]
    labels: list[str]
    values: Shaped[Tensor, "n ..."]


def table_suffix(path: Path) -> str:
    """The kind of a table, by its name.

    Raises:
        ValueError: the name ends in neither .csv nor .parquet.
    """
    if path.suffix.lower() not in TABLES:
        raise ValueError(f"{path} has to end in {' or '.join(TABLES)}.")
    return path.suffix.lower()


class NoRows(ValueError):  # noqa: N818 - it names a condition
    """A table has a header and nothing below it."""


def read_table(path: Path) -> "DataFrame":
    """A table with a header, for training and prediction alike: all of its columns but the row numbers of pandas.

    Cells of a CSV file are text as it stands, and whole numbers of a parquet file stay whole beside empty cells: only
    `numbers` makes numbers of the columns that are used as such.

    Args:
        path: a CSV or parquet file, or a folder of parquet files.

    Returns:
        The table, with rows numbered from 0.

    Raises:
        DataUnavailable: there is no such file, or it is none of these, or damaged; the message says how to write it.
        NoRows: it has none; this is a ValueError.
        ValueError: it names a column twice.
    """
    from pyarrow import ArrowInvalid

    if not path.exists():
        raise DataUnavailable(f"There is no file {path}.")
    if path.is_file() and path.suffix.lower() not in TABLES:
        raise DataUnavailable(f"{path} ends in {path.suffix or 'nothing'}; {' and '.join(TABLES)} are read.")
    is_csv = path.is_file() and path.suffix.lower() == ".csv"
    how = (
        "a CSV file with a header in its first line, commas between columns, and points in numbers"
        if is_csv
        else "a parquet file, or a folder of them"
    )
    try:
        frame = _read_csv(path) if is_csv else _read_parquet(path)
    except (ArrowInvalid, OSError) as error:
        first = str(error).partition("\n")[0]
        if "UTF8" in first:
            raise DataUnavailable(f"{path} is not encoded as UTF-8: save it so.") from error
        raise DataUnavailable(f"{path} cannot be read ({first}): it has to be {how}.") from error
    frame = frame.loc[:, [_ROW_NUMBERS.fullmatch(name) is None for name in frame.columns]]
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise ValueError(f"{path} has two columns named {twice[0]!r}: rename one.")
    if not len(frame):
        raise NoRows(f"{path} has no rows.")
    return frame


def write_table(frame: "DataFrame", path: Path) -> None:
    """Write a table, all of it or nothing.

    Args:
        frame: the table; in a CSV file its text, column names included, is none that a spreadsheet takes for a formula.
        path: the file; its name states the format.
    """
    write: Callable[..., object] = _csv_writer(frame) if table_suffix(path) == ".csv" else frame.to_parquet
    make_folder(path.parent)
    replace_file(path, lambda building: write(building, index=False))


def csv_text(frame: "DataFrame") -> str:
    """A table as the text of the CSV file that `write_table` writes.

    Examples:
        >>> import pandas as pd
        >>> csv_text(pd.DataFrame({"x": [1, 2], "name": ["a", "=b"]})).splitlines()
        ['x,name', '1,a', "2,'=b"]
    """
    text: str = _csv_writer(frame)(index=False, lineterminator="\n")
    return text


def _csv_writer(frame: "DataFrame") -> Callable[..., Any]:
    import pandas as pd

    def as_cells(column: "Series[Any]") -> "Series[Any]":
        # Of whole numbers beside empty cells pandas would make floating point where it may choose the type.
        return column if _is_numeric(column) else pd.Series([*map(_csv_cell, column)], column.index, dtype=object)

    texts = frame.apply(as_cells).rename(columns=_csv_cell)
    cells = chain(texts.columns, *(texts[name] for name in texts.columns if not _is_numeric(texts[name])))
    return partial(texts.to_csv, quoting=csv_quoting(cells))


def read_examples(path: Path, input_shape: tuple[int, ...], image_column: str, label_column: str) -> Examples:
    """Rows to classify, in the format that a network was trained on.

    Args:
        path: a folder of images, whose sub-folders are classes; one image; or a parquet file.
        input_shape: channels (1: grey, 3: colour), height and width; square images are resized. Or the length of a row.
        image_column: of a parquet file, the column of images or of lists of numbers.
        label_column: of a parquet file, the column of classes, if it has one.

    Returns:
        The rows: of a folder in the order of the files' names, an image's label being the folder it lies in.

    Raises:
        DataUnavailable: there is no such file or folder.
        ValueError: there are no images, or one cannot be used; it is named.
    """
    if not path.exists():
        raise DataUnavailable(f"There is no file or folder {path}.")
    if path.suffix.lower() == ".parquet":
        (rows,) = load(str(path), split_names=(), subset=None, revision=None).splits.values()
        labelled = label_column in rows.column_names
        labels = [str(label) for label in class_names(rows, label_column)] if labelled else [""] * len(rows)
        return Examples([str(row) for row in range(len(rows))], labels, _values(path, rows, image_column, input_shape))
    files = [file for file in sorted(path.rglob("*")) if _is_image(file)] if path.is_dir() else [path]
    if not all(map(_is_image, files)) or not files:
        raise ValueError(f"{path} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}); a parquet file would do, too.")
    try:
        values = _pixels(files, input_shape)
    except ValueError:
        for file in files:
            _pixels([file], input_shape)  # the first that cannot be used is named
        raise
    names = [file.relative_to(path if path.is_dir() else path.parent) for file in files]
    labels = [name.parent.as_posix() * (name.parent != Path()) for name in names]
    return Examples([name.as_posix() for name in names], labels, values)


def like_trained(values: Tensor, reference: Tensor, *, invert: bool, ink: bool) -> Tensor:
    """Pixels on [0, 1] with the polarity that a network was trained on; floating-point numbers are left as they are.

    Args:
        values: uint8 pixels, or floats.
        reference: the values of the support set, which decide for all.
        invert: whether the training data had black and white exchanged.
        ink: whether they were drawings with ink 1 and paper 0. A drawing is mostly paper, so that a user's are
            inverted if they are mostly bright.

    Returns:
        Floats of the same shape.
    """
    if values.dtype != torch.uint8:
        return values
    flip = bool(reference.float().mean() > MIDDLE_GREY) if ink else invert
    return (inverted(values) if flip else values).float() * (1 / 255)


def _is_numeric(column: "Series[Any]") -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column))


def _read_csv(path: Path) -> "DataFrame":
    from pyarrow import csv, string

    # The header is read as a row, because a name that stands there twice would have its first column's type only.
    how = {
        "read_options": csv.ReadOptions(autogenerate_column_names=True),
        "parse_options": csv.ParseOptions(newlines_in_values=True),
    }
    text = csv.ConvertOptions(column_types=dict.fromkeys(csv.open_csv(path, **how).schema.names, string()))
    cells = csv.read_csv(path, convert_options=text, **how).to_pandas()
    names = from_csv_cells(name.strip() for name in cells.iloc[0])
    frame: DataFrame = cells.iloc[1:].apply(_from_csv).set_axis(names, axis=1).reset_index(drop=True)
    return frame


def _read_parquet(path: Path) -> "DataFrame":
    """All columns, whatever the file says of how pandas would show them: one that was pandas' index is as any other."""
    from pyarrow import parquet

    if path.is_dir():
        table = parquet.read_table(path)
    else:
        with parquet.ParquetFile(path) as file:  # which reads columns by their places, so that names may come twice
            table = file.read()
    frame: DataFrame = table.replace_schema_metadata(None).to_pandas(integer_object_nulls=True)
    return frame


def _from_csv(column: "Series[Any]") -> "Series[Any]":
    if not column.str.startswith("'").any():
        return column
    texts = dict(zip(column, from_csv_cells(column), strict=True))
    return column.map(texts)


def _csv_cell(cell: Any) -> Any:
    return csv_cell(cell) if isinstance(cell, str) else cell


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()


def _pixels(files: Sequence[Path], input_shape: tuple[int, ...]) -> Tensor:
    from datasets import Dataset, Features, Image

    images = Dataset.from_dict({"image": [str(file) for file in files]}, features=Features(image=Image()))
    return _values(files[0], images, "image", input_shape)


def _values(path: Path, rows: "Part", column: str, input_shape: tuple[int, ...]) -> Tensor:
    size = input_shape[-1] if len(input_shape) == 3 and input_shape[-1] == input_shape[-2] else None
    try:
        values = materialise(
            [rows], column, image_size=size, channels=input_shape[0] if len(input_shape) == 3 else None
        )
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    if tuple(values.shape[1:]) != input_shape:
        raise ValueError(
            f"{path} has rows of shape {tuple(values.shape[1:])}, and the run was trained on {input_shape}."
        )
    return values
