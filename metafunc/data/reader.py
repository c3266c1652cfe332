"""From columns of images or of lists of numbers to rows of one shape, block by block: all need not be in memory."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metafunc.checks import one_of
from metafunc.data.lists import numbers_of
from metafunc.data.parquet_rows import ParquetRows
from metafunc.data.pixels import as_images, inverted, pixels_of

if TYPE_CHECKING:
    from metafunc.data.parquet_rows import Part

IMAGES, LISTS = 64, 2**20
"""Images that are read at a time, which may be large files, and bytes of numbers."""


@dataclass(frozen=True)
class Reader:
    """How the rows of a column become numbers: all of one shape and type, those of the first row.

    Args:
        parts: where the column is, one after the other.
        column: images (encoded, or paths), or lists of numbers of one length.
        image_size: side length to which images are resized, or as which vectors are read; None: as they are.
            Images are upright as their EXIF data say, and lie on white where they are transparent.
        channels: 1 (grey) or 3 (colour); None: those of the first image.
        invert: whether to exchange black and white.
        of_images: whether the column has images.
        shape: of a row; () until the first one has been looked at.
        dtype: numbers from 0 to 255 are kept as uint8, floating point as float32.
    """

    parts: "Sequence[Part]"
    column: str
    image_size: int | None
    channels: int | None
    invert: bool
    of_images: bool
    shape: tuple[int, ...] = ()
    dtype: "np.dtype[Any]" = field(default_factory=lambda: np.dtype(np.uint8))

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def row_bytes(self) -> int:
        """What a row takes as numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def num_bytes(self) -> int:
        """What all rows take as numbers."""
        return len(self) * self.row_bytes

    def batches(self) -> Iterator[Any]:
        """The cells of all rows, as Arrow arrays."""
        size = IMAGES if self.of_images else max(1, LISTS * bool(self.shape) // self.row_bytes)
        for part in self.parts:
            yield from batches(part, self.column, size)

    def blocks(self) -> Iterator[tuple[range, NDArray[Any]]]:
        """The numbers of all rows, block by block, each with the numbers of its rows."""
        begin = 0
        for cells in self.batches():
            rows = range(begin, begin + len(cells))
            yield rows, self.decode(cells, rows)
            begin = rows.stop

    def decode(self, cells: Any, rows: Sequence[int]) -> NDArray[Any]:
        """The numbers of some rows.

        Args:
            cells: what the column has of them, as an Arrow array.
            rows: which they are, for messages.

        Raises:
            ValueError: a row is damaged, or other than the first; it is named.
        """
        found = self._images(cells, rows) if self.of_images else self._lists(cells, rows)
        return inverted(found) if self.invert else found

    def _images(self, cells: Any, rows: Sequence[int]) -> NDArray[Any]:
        known = as_images(cells).to_pylist()
        threads = min(torch.get_num_threads(), len(known))
        if threads == 1:
            return np.stack([self._image(cell, row) for cell, row in zip(known, rows, strict=True)])
        with ThreadPoolExecutor(threads) as pool:  # Pillow decodes and resizes without the interpreter's lock
            return np.stack([*pool.map(self._image, known, rows)])

    def _image(self, cell: Any, row: int) -> NDArray[Any]:
        pixels = pixels_of(cell, row, self.image_size, self.channels)
        if self.shape and pixels.shape != self.shape:
            raise ValueError(
                f"Image {row} is {pixels.shape[2]} x {pixels.shape[1]} pixels, the first one "
                f"{self.shape[2]} x {self.shape[1]}. Give image_size=N to make all of them N x N."
            )
        return pixels

    def _lists(self, cells: Any, rows: Sequence[int]) -> NDArray[Any]:
        values = numbers_of(cells, rows, self.column, self.image_size)
        if self.shape and values.shape[1:] != self.shape:
            raise ValueError(f"Row {rows[0]} of column {self.column!r} has another length than row 0: cut them alike.")
        if self.shape and values.dtype != self.dtype:
            raise ValueError(f"Column {self.column!r} has {values.dtype} in row {rows[0]} and {self.dtype} in row 0.")
        return values


def reader(
    parts: "Sequence[Part]",
    column: str,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    invert: bool = False,
) -> Reader:
    """Look at the first row of a column, which all others have to be like.

    Raises:
        ValueError: there is no such column, or no row, or the first one cannot be used.
    """
    from datasets import Image

    kinds = [part.features[one_of(column, part.column_names, "image_column")] for part in parts]
    binary = ("binary", "string", "large_binary", "large_string")
    of_images = isinstance(kinds[0], Image) or getattr(kinds[0], "dtype", None) in binary
    found = Reader(parts, column, image_size, channels, invert, of_images)
    first = next((cells for cells in found.batches() if len(cells)), None)
    if first is None:
        raise ValueError("The data set has no rows.")
    values = found.decode(first.slice(0, 1), [0])
    if not values.size:
        raise ValueError(f"The first row of {column!r} is empty: every row needs numbers.")
    known = values.shape[1] if of_images else channels
    return replace(found, channels=known, shape=values.shape[1:], dtype=values.dtype)


def materialise(
    parts: "Sequence[Part]", column: str, *, image_size: int | None = None, channels: int | None = None
) -> Tensor:
    """All rows of a column as one tensor.

    Args:
        parts: where the column is, one after the other.
        column: images or lists of numbers, as a `Reader` takes them.
        image_size: as a `Reader` takes it.
        channels: as a `Reader` takes it.

    Returns:
        (n, channels, height, width) for images, lists of lists and vectors with an `image_size`; (n, length) for other
        vectors. Numbers from 0 to 255 are kept as uint8, floating point as float32.

    Raises:
        ValueError: images of different sizes or kinds, ragged lists, or numbers that are neither; the row is named.
    """
    return in_memory(reader(parts, column, image_size=image_size, channels=channels))


def in_memory(rows: Reader, order: NDArray[np.int64] | None = None) -> Tensor:
    """All rows as one tensor, in their order or another.

    Args:
        rows: what to read.
        order: which row comes first, second, and so on; None: as they are.
    """
    place = np.arange(len(rows)) if order is None else places(order)
    values = np.empty((len(rows), *rows.shape), rows.dtype)
    for which, block in rows.blocks():
        values[place[which.start : which.stop]] = block
    return torch.from_numpy(values)


def places(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each row goes that is put in an order: its inverse."""
    found = np.empty_like(order)
    found[order] = np.arange(len(order))
    return found


def batches(part: "Part", column: str, size: int) -> Iterator[Any]:
    """A column of a data set from the first row to the last, as Arrow arrays of at most `size` rows."""
    if isinstance(part, ParquetRows):
        yield from part.batches(column, size)
        return
    for table in part.select_columns([column]).with_format("arrow").iter(size):
        yield table.column(column).combine_chunks()
