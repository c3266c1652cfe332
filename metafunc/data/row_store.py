"""Where the rows of a data set are while tasks are drawn: in memory, in a file that is mapped, or encoded as they came.

| rows, decoded | where |
|---|---|
| of at most `memory_limit` GB | in the memory of each process |
| larger, and the disk has room for them | in one file per machine, sorted by class, mapped by all processes |
| larger than that room, or than `disk_limit` GB | encoded in mapped Arrow files, and decoded when they are drawn |

The tasks are bitwise the same.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metafunc.data.atomic_write import replace_file
from metafunc.data.encoded_rows import EncodedRows, in_place, mapped, write_encoded
from metafunc.data.pixel_cache import Kept, check_unchanged, identity, kept, write_rows
from metafunc.data.reader import Reader, in_memory, places

GB = 1e9
SPARE = 0.02
"""The share of a file's size that a disk has to have free beyond it."""


class Stored(NamedTuple):
    """Rows sorted by class, and the names of their files where they have some."""

    values: Tensor | EncodedRows
    kept: Kept | None = None


def stored(
    rows: Reader, order: NDArray[np.int64], *, memory_limit: float, disk_limit: float | None, source: str
) -> Stored:
    """Rows in an order, wherever there is room for them.

    Args:
        rows: what to read.
        order: which row comes first, second, and so on.
        memory_limit: GB of rows up to which they are in memory.
        disk_limit: GB of rows up to which they are decoded into a file; None: as many as the disk has free.
        source: what the data and their division into classes are called.

    Raises:
        DataUnavailable: the disk is full, or the data were changed while they were read.
        ValueError: a row cannot be used; it is named.
    """
    if rows.num_bytes <= memory_limit * GB:
        return Stored(in_memory(rows, order))
    before = identity(rows)
    files = kept(rows, order, source, before)
    with files.locked():  # only one process looks how much room there is, and the others find what it has made
        decoded = _decoded(rows, order, files, before, disk_limit)
        return Stored(_encoded(rows, order, files, before) if decoded is None else decoded, files)


def _decoded(
    rows: Reader, order: NDArray[np.int64], files: Kept, before: str, disk_limit: float | None
) -> Tensor | None:
    """The rows in a file; None where there is no room for it."""

    def write(building: Path) -> None:
        write_rows(rows, places(order), building)
        check_unchanged(rows, before)

    allowed = disk_limit is None or rows.num_bytes <= disk_limit * GB
    known = files.path(".npy").exists()
    if not allowed or not (known or rows.num_bytes * (1 + SPARE) <= files.room()):
        return None
    file = files.made(".npy", write)
    try:
        values = np.load(file, mmap_mode="r")
    except (ValueError, EOFError):
        values = np.empty(0)
    if values.shape != (len(rows), *rows.shape):  # cut off, by a disk or by hand
        warnings.warn(f"{file} is not what was written there, and is made again.", stacklevel=2)
        replace_file(file, write)
        values = np.load(file, mmap_mode="r")
    return read_only(values)


def _encoded(rows: Reader, order: NDArray[np.int64], files: Kept, before: str) -> EncodedRows:
    found = in_place(rows)
    if found is None:

        def write(building: Path) -> None:
            write_encoded(rows, building)
            check_unchanged(rows, before)

        found = mapped(files.made(".arrow", write))
    return EncodedRows(rows, found, order)


def read_only(values: NDArray[np.generic]) -> Tensor:
    """A mapped array as a tensor, which nothing may write to: the system would end the process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(values)
