"""Columns of a table as numbers: read exactly or refused by name, and brought to one scale whatever their size."""

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from pandas import DataFrame, Series

MISSING = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A"})
"""Texts that say that a cell of a CSV file is empty."""
TRUTHS = {"true": 1.0, "True": 1.0, "TRUE": 1.0, "false": 0.0, "False": 0.0, "FALSE": 0.0}
LISTED = 20
"""How many columns a message lists."""
WHOLE = 2**53
"""From here on not every whole number is a number in double precision."""
PLAIN = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


class Scale(NamedTuple):
    """What every column is centred by and divided by.

    Args:
        mean: (columns,).
        scale: (columns,), positive and finite.
    """

    mean: Float64[Tensor, " columns"]
    scale: Float64[Tensor, " columns"]


def numbers(
    frame: "DataFrame", columns: Sequence[str], path: Path, *, missing: bool = False
) -> Float64[Tensor, "n columns"]:
    """Some columns of a table as numbers.

    Args:
        frame: the table.
        columns: which, in this order.
        path: the file it came from, for messages.
        missing: whether cells may be empty; they become NaN.

    Returns:
        Values (rows, columns).

    Raises:
        ValueError: a column is not there, or a cell is empty, no number, not finite, or a whole number beyond double
            precision; it is named.

    Examples:
        >>> import pandas
        >>> numbers(pandas.DataFrame({"a": [1, 2], "b": [3, 4]}), ["b", "a"], Path("t.csv"))
        tensor([[3., 1.],
                [4., 2.]], dtype=torch.float64)
    """
    check_there(frame, columns, path)
    values = np.empty((len(frame), len(columns)))
    for place, name in enumerate(columns):
        column = frame[name]
        values[:, place] = as_numbers(column)
        bad = ~np.isfinite(values[:, place])
        if bad.any():
            empty = empty_cells(column)
            bad &= ~(missing & empty)
        if bad.any():
            row = int(bad.argmax())
            found = "is empty" if empty[row] else f"is {str(column.iloc[row])!r}"
            raise ValueError(f"{path}, row {row + 1}, column {name!r} {found}; a finite number is needed.")
        _check_whole(column, values[:, place], f"{path}, row {{}}, column {name!r}")
    return torch.from_numpy(values)


def check_there(frame: "DataFrame", columns: Sequence[str], path: Path) -> None:
    """Refuse a table that has not all of some columns.

    Raises:
        ValueError: one is not there; it is named.
    """
    absent = [name for name in columns if name not in frame.columns]
    if absent:
        listed = ", ".join(map(str, frame.columns[:LISTED])) + ", ..." * (len(frame.columns) > LISTED)
        raise ValueError(f"{path} has no column {absent[0]!r}; it has {listed}.")


def numeric_where_exact(column: "Series[Any]") -> "Series[Any]":
    """A column of text as numbers if all its cells are numbers that lose nothing: `007` and long identifiers stay."""
    import pandas as pd

    empty = empty_cells(column)
    texts = [str(cell) for cell, none in zip(column, empty, strict=True) if not none]
    exact = all(PLAIN.fullmatch(text) and ("." in text or len(text) <= 15) for text in texts)
    return pd.Series(as_numbers(column), column.index) if texts and exact else column


def logarithms(
    values: Float64[Tensor, "n columns"], columns: Sequence[str], path: Path
) -> Float64[Tensor, "n columns"]:
    """Natural logarithms; cells that are not known (NaN) stay so.

    Raises:
        ValueError: a value is not positive; it is named.

    Examples:
        >>> import torch
        >>> logarithms(torch.tensor([[1.0]], dtype=torch.float64), ["y"], Path("t.csv"))
        tensor([[0.]], dtype=torch.float64)
    """
    bad = values <= 0
    if bad.any():
        row, place = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{path}, row {row + 1}, column {columns[place]!r} is {values[row, place].item():g}, which has no "
            "logarithm: leave the row out, or train without log_targets."
        )
    return values.log()


def moments(values: Float64[Tensor, "n columns"]) -> Scale:
    r"""Mean and standard deviation of every column, from numbers of any size; a constant column is only centred.

    Squares of 1e300 are infinite and those of 1e-310 are zero, so that a column is divided by a power of two near its
    largest magnitude first, which changes no digit of an ordinary number. Where the spread is small beside that, the
    deviations from the mean are averaged once more: the rounding of the mean would count as spread.

    Examples:
        >>> import torch
        >>> moments(torch.tensor([[1e300, 5.0], [3e300, 5.0]], dtype=torch.float64)).scale.tolist()
        [1e+300, 1.0]
    """
    most = values.abs().amax(0)
    exponent = np.frexp(most.numpy())[1]
    near = torch.from_numpy(np.ldexp(values.numpy(), -exponent))
    mean, spread = near.mean(0), near.std(0, correction=0)
    again = mean + (near - mean).mean(0)
    rest = near - again
    rounded = spread < 1e-6
    mean = torch.where(rounded, again, mean)
    spread = torch.where(rounded, (rest.square().mean(0) - rest.mean(0).square()).sqrt(), spread)
    mean, spread = (torch.from_numpy(np.ldexp(part.numpy(), exponent)) for part in (mean, spread))
    constant = values.amin(0) == values.amax(0)
    return Scale(torch.where(constant, values[0], mean), torch.where(constant, 1.0, spread))


def standardised(
    values: Float64[Tensor, "n columns"], by: Scale, columns: Sequence[str], path: Path
) -> Float32[Tensor, "n columns"]:
    """Columns in the units of a scale, in the single precision that networks are trained in.

    Args:
        values: the columns as they are.
        by: what they are centred by and divided by.
        columns: what they are called, for messages.
        path: the file they came from, for messages.

    Returns:
        (values - mean) / scale.

    Raises:
        ValueError: a scale is no positive number, or a value is not finite in these units; file and column are named.

    Examples:
        >>> import torch
        >>> values = torch.tensor([[1e300], [3e300]], dtype=torch.float64)
        >>> standardised(values, moments(values), ["y"], Path("t.csv"))
        tensor([[-1.],
                [ 1.]])
    """
    for name, mean, scale in zip(columns, by.mean.tolist(), by.scale.tolist(), strict=True):
        if not (math.isfinite(mean) and math.isfinite(scale) and scale > 0):
            raise ValueError(
                f"{path}, column {name!r} would be centred by {mean} and divided by {scale}: both have to be finite, "
                "and the second positive. Give the column in another unit."
            )
    # A half of both, where the difference of two numbers could pass the largest; else nothing changes.
    factor = torch.where(values.abs().amax(0).maximum(by.mean.abs()) > 1e300, 0.5, 1.0).double()
    found = ((values * factor - by.mean * factor) / (by.scale * factor)).float()
    bad = ~found.isfinite()
    if bad.any():
        row, place = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{path}, row {row + 1}, column {columns[place]!r} is {values[row, place].item()}, which single precision "
            f"does not hold (centred by {by.mean[place].item():.4g}, divided by {by.scale[place].item():.4g}): give "
            "the column in another unit, or leave the row out."
        )
    return found


def check_resolved(values: Float64[Tensor, "n columns"], columns: Sequence[str], path: Path) -> None:
    """Refuse raw columns that lose in single precision what they say: a small variation beside a large offset.

    Raises:
        ValueError: a column varies by less than a hundred steps of single precision; it is named.
    """
    for name, column in zip(columns, values.unbind(1), strict=True):
        least, most = column.min().item(), column.max().item()
        if 0 < most - least < 100 * 2**-24 * max(-least, most) or (least < most and max(-least, most) < 1e-36):
            raise ValueError(
                f"{path}, column {name!r} varies from {least} to {most}, which single precision does not resolve: "
                "standardise it, or give it in another unit."
            )


def as_numbers(column: "Series[Any]") -> NDArray[np.float64]:
    """Each cell as a number, or NaN; pandas would take a date for a count of nanoseconds, and stop at a list."""
    import pandas as pd
    import pyarrow as pa

    if pd.api.types.is_numeric_dtype(column) and not isinstance(column.dtype, pd.api.extensions.ExtensionDtype):
        return column.to_numpy(dtype=np.float64)
    if pd.api.types.infer_dtype(column, skipna=False) == "string":
        # Arrow reads digits as Python does, to the nearest double, in a tenth of the time, and less than Python does.
        with suppress(pa.ArrowInvalid):
            cells: NDArray[np.float64] = pa.array(column, pa.string()).cast(pa.float64()).to_numpy()
            return cells
    return np.array([_as_number(cell) for cell in column])


def _as_number(cell: Any) -> float:
    if isinstance(cell, str):
        text = cell.strip()
        if text in TRUTHS:
            return TRUTHS[text]
        cell = math.nan if text in MISSING or "_" in text else text  # Python reads 1_000 as a number
    if not isinstance(cell, int | float | str | Decimal | np.number):
        return math.nan
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return math.nan


def empty_cells(column: "Series[Any]") -> NDArray[np.bool_]:
    """Which cells are empty, or say that they are."""
    texts = np.array([isinstance(cell, str) and cell.strip() in MISSING for cell in column], dtype=bool)
    return texts | column.isna().to_numpy(dtype=bool)


def _check_whole(column: "Series[Any]", values: NDArray[np.float64], where: str) -> None:
    """Refuse whole numbers that change in double precision, as identifiers may; `where` has room for a row."""
    for row in (np.abs(values) >= WHOLE).nonzero()[0].tolist():
        cell = column.iloc[row]
        whole = re.fullmatch(r"[+-]?\d+", cell.strip()) if isinstance(cell, str) else isinstance(cell, int | np.integer)
        if whole and int(cell) != int(values[row]):
            raise ValueError(
                f"{where.format(row + 1)} is {cell}, and double precision has no such whole number: if it is a name, "
                "leave the column out; if it is a quantity, give it in a larger unit."
            )
