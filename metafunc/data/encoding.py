"""Inputs that are no numbers, as numbers: dates, categories and missing cells, coded by the training tasks alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float64
from numpy.typing import NDArray
from torch import Tensor

from metafunc.data.numbers import as_numbers, check_there, empty_cells, numbers

if TYPE_CHECKING:
    from pandas import DataFrame, DatetimeIndex, Series

Kind: TypeAlias = Literal["number", "date", "category"]
MOST_LEVELS = 100
"""More different texts than that are names of rows rather than categories, unless the user says what they are."""


@dataclass(frozen=True)
class Code:
    """How one column becomes numbers.

    Args:
        name: of the column.
        kind: number (or truth), date (days since `origin`), or category (a feature for each level, and one for others).
        levels: the categories of the training tasks, in order.
        origin: the earliest date of the training tasks, as ISO 8601 has it, in UTC.
        missing: whether cells may be empty, which one more feature says then.
        fill: what stands in an empty cell: the mean over the training tasks. A category's features are all 0 there.
    """

    name: str
    kind: Kind = "number"
    levels: tuple[str, ...] = ()
    origin: str = ""
    missing: bool = False
    fill: float = 0.0

    @property
    def features(self) -> tuple[str, ...]:
        """What the numbers are called."""
        values = (*(f"{self.name}={level}" for level in self.levels), f"{self.name}=another")
        return (*(values if self.kind == "category" else (self.name,)), *[f"{self.name} missing"] * self.missing)

    @property
    def measured(self) -> tuple[bool, ...]:
        """Which of them are quantities, to be standardised, and not zeros and ones."""
        return (self.kind != "category", *(False for _ in self.features[1:]))


@dataclass(frozen=True)
class Encoding:
    """How the inputs of a table become numbers, column by column; it goes to JSON and back.

    Examples:
        >>> found = Encoding((Code("x"), Code("shift", "category", ("day", "night"))))
        >>> found.features
        ('x', 'shift=day', 'shift=night', 'shift=another')
        >>> Encoding.from_json(found.to_json()) == found
        True
    """

    codes: tuple[Code, ...]

    @classmethod
    def of_numbers(cls, names: Sequence[str]) -> "Encoding":
        """That of columns of numbers, which leaves them as they are."""
        return cls(tuple(map(Code, names)))

    @classmethod
    def from_json(cls, found: Sequence[Mapping[str, Any]]) -> "Encoding":
        """From what `to_json` made."""
        return cls(tuple(Code(**{**each, "levels": tuple(each["levels"])}) for each in found))

    @classmethod
    def of_run(cls, info: Mapping[str, Any], names: Sequence[str]) -> "Encoding":
        """That which a family's `info` has; columns of numbers where it has none."""
        return cls.from_json(info["encoding"]) if info.get("encoding") else cls.of_numbers(names)

    def to_json(self) -> list[dict[str, Any]]:
        """The same in the form of JSON."""
        return [{**asdict(code), "levels": list(code.levels)} for code in self.codes]

    @property
    def plain(self) -> bool:
        """Whether all columns are numbers without empty cells."""
        return all(code == Code(code.name) for code in self.codes)

    @property
    def features(self) -> tuple[str, ...]:
        """What the numbers are called."""
        return tuple(chain.from_iterable(code.features for code in self.codes))

    @property
    def measured(self) -> Bool[Tensor, " features"]:
        """Which of them are quantities, to be standardised, and not zeros and ones."""
        return torch.tensor([*chain.from_iterable(code.measured for code in self.codes)])

    def __call__(self, frame: "DataFrame", path: Path) -> Float64[Tensor, "n features"]:
        """The inputs of a table as numbers.

        Args:
            frame: the table, which has the columns by their names.
            path: what it is called, for messages.

        Raises:
            ValueError: a column is not there, or a cell is not what its column holds; it is named.
        """
        check_there(frame, [code.name for code in self.codes], path)
        return torch.cat([_encoded(frame, code, path) for code in self.codes], 1)

    def unknown(self, frame: "DataFrame") -> dict[str, list[str]]:
        """The levels of a table's categories that no training task had, by column."""
        found = {
            code.name: sorted(levels_of(frame[code.name]) - {*code.levels})
            for code in self.codes
            if code.kind == "category"
        }
        return {name: levels for name, levels in found.items() if levels}


def level_of(cell: Any) -> str:
    """What a category's cell is called: blanks around a text do not count, and 2.0 is 2, as an empty cell makes of it.

    Examples:
        >>> level_of(" north"), level_of(2.0), level_of(2)
        ('north', '2', '2')
    """
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return str(cell).strip()


def levels_of(column: "Series[Any]") -> set[str]:
    """The levels of the cells that are not empty."""
    return {level_of(cell) for cell, none in zip(column, empty_cells(column), strict=True) if not none}


def fit(
    frame: "DataFrame", names: Sequence[str], training: Bool[Tensor, " n"], path: Path, categories: Sequence[str] = ()
) -> Encoding:
    """The encoding of a table's columns, made from its training rows.

    A column is one of numbers if each cell is one or is empty; of dates if each is a date as 2024-05-31 or a time as
    2024-05-31T18:00; and of categories if each is a text, no number, and half of the rows or more repeat another's.

    Args:
        frame: the table.
        names: of the columns.
        training: which rows count.
        path: what the table is called, for messages.
        categories: columns that hold categories, whatever their cells look like.

    Returns:
        The encoding.

    Raises:
        ValueError: a column has no value in the training rows, or texts that are as many as names of rows would be.

    Examples:
        >>> import pandas, torch
        >>> frame = pandas.DataFrame({"day": ["2024-05-01", "2024-05-03", "2024-05-04"], "x": [1.0, None, 5.0]})
        >>> found = fit(frame, ["day", "x"], torch.ones(3, dtype=torch.bool), Path("t.csv"))
        >>> found(frame, Path("t.csv"))
        tensor([[0., 1., 0.],
                [2., 3., 1.],
                [3., 5., 0.]], dtype=torch.float64)
    """
    return Encoding(tuple(_fitted(frame, name, training.numpy(), path, name in categories) for name in names))


def dates(column: "Series[Any]") -> "DatetimeIndex":
    """Cells as times in UTC; NaT where a cell is empty or no time in the form of ISO 8601."""
    import pandas as pd

    texts = [None if none else str(cell) for cell, none in zip(column, empty_cells(column), strict=True)]
    return pd.DatetimeIndex(pd.to_datetime(pd.Series(texts), format="ISO8601", utc=True, errors="coerce"))


def kind_of(column: "Series[Any]") -> Kind | None:
    """What a column holds; None for what is neither numbers nor dates nor texts alone."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return "category"
    empty = empty_cells(column)
    if pd.api.types.is_datetime64_any_dtype(column):
        return "date"
    a_number = ~np.isnan(as_numbers(column))
    if (a_number | empty).all():
        return "number"
    if (~empty & dates(column).isna()).any():
        texts = all(isinstance(cell, str) for cell, none in zip(column, empty, strict=True) if not none)
        return "category" if texts and not a_number.any() else None
    return "date"


def _fitted(frame: "DataFrame", name: str, training: NDArray[np.bool_], path: Path, as_category: bool) -> Code:
    column = frame[name]
    kind = "category" if as_category else kind_of(column) or "number"
    empty = empty_cells(column)
    missing = bool(empty.any())
    seen = training & ~empty
    if not seen.any():
        raise ValueError(f"{path}, column {name!r} is empty in all training tasks.")
    if kind == "category":
        levels = sorted(levels_of(column[seen]))
        count = column.nunique()
        if not as_category and column.dtype.name != "category" and count > min(MOST_LEVELS, len(column) / 2):
            raise ValueError(
                f"{path}, column {name!r} has {count} different texts in {len(column)} rows, such as {levels[0]!r}: "
                "they are no numbers (with a point), no dates (as 2024-05-31), and too many to be categories."
            )
        return Code(name, kind, tuple(levels), missing=missing)
    code = Code(name, kind, missing=missing)
    if kind == "date":
        code = Code(name, kind, origin=dates(column[seen]).min().isoformat(), missing=missing)
    values = _encoded(frame, code, path)[:, 0].numpy()[seen]
    return Code(name, kind, origin=code.origin, missing=missing, fill=float(values.mean()) if missing else 0.0)


def _encoded(frame: "DataFrame", code: Code, path: Path) -> Float64[Tensor, "n features"]:
    column = frame[code.name]
    empty = torch.from_numpy(empty_cells(column))
    if bool(empty.any()) and not code.missing:
        where = f"{path}, row {int(empty.long().argmax()) + 1}, column {code.name!r} is empty"
        raise ValueError(f"{where}; a {'finite number' if code.kind == 'number' else code.kind} is needed.")
    if code.kind == "category":
        place = {level: number for number, level in enumerate(code.levels)}
        which = torch.tensor([place.get(level_of(cell), len(place)) for cell in column])
        values = torch.nn.functional.one_hot(which, len(place) + 1).double() * ~empty[:, None]
    else:
        values = _days(column, code, path) if code.kind == "date" else numbers(frame, [code.name], path, missing=True)
        values = torch.where(empty[:, None], code.fill, values)
    return torch.cat([values, empty[:, None].double()], 1) if code.missing else values


def _days(column: "Series[Any]", code: Code, path: Path) -> Float64[Tensor, "n 1"]:
    import pandas as pd

    found = dates(column)
    bad = found.isna() & ~empty_cells(column)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{path}, row {row + 1}, column {code.name!r} is {str(column.iloc[row])!r}; a date is needed, such as "
            "2024-05-31 or 2024-05-31T18:00."
        )
    days = (found - pd.Timestamp(code.origin)) / pd.Timedelta(days=1)
    return torch.tensor(days.to_numpy(dtype=np.float64, na_value=np.nan))[:, None]
