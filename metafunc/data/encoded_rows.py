"""Rows as they are stored, in Arrow files that are mapped into memory, and decoded whenever they are drawn."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from metafunc.data.parquet_rows import ParquetRows
from metafunc.data.pixel_cache import outside
from metafunc.data.pixels import as_images
from metafunc.data.reader import Reader

if TYPE_CHECKING:
    from datasets import Dataset

AT_ONCE = 64
"""Encoded images that are in memory at a time."""


class EncodedRows:
    """Rows in an order, decoded when they are drawn: as much of a tensor as episodes need.

    Args:
        reader: how a row is decoded; by as many threads as torch may use.
        stored: a data set of the column, whose rows can be had one by one.
        order: which row comes first, second, and so on.
    """

    def __init__(self, reader: Reader, stored: "Dataset", order: NDArray[np.int64]) -> None:
        self._reader, self._order = reader, order
        self._stored = stored.select_columns([reader.column]).with_format("arrow")
        self.shape = (len(order), *reader.shape)
        self.dtype = torch.from_numpy(np.empty(0, reader.dtype)).dtype

    def __len__(self) -> int:
        return len(self._order)

    def index_select(self, dim: int, index: Int64[Tensor, " n"], /) -> Tensor:
        """Some rows, decoded.

        Args:
            dim: 0, the only one that can be chosen from.
            index: which rows.
        """
        assert dim == 0
        which = self._order[index.numpy()]
        found = np.empty((len(which), *self.shape[1:]), self._reader.dtype)
        for begin in range(0, len(which), AT_ONCE):
            rows = which[begin : begin + AT_ONCE].tolist()
            cells = self._stored[rows].column(self._reader.column).combine_chunks()
            found[begin : begin + AT_ONCE] = self._reader.decode(cells, rows)
        return torch.from_numpy(found)


def in_place(rows: Reader) -> "Dataset | None":
    """The data set itself, where all of it is in Arrow files that are mapped; None where it has to be copied."""
    from datasets import concatenate_datasets

    parts = [part for part in rows.parts if not isinstance(part, ParquetRows)]
    mapped = len(parts) == len(rows.parts) and all(part.cache_files for part in parts)
    if not mapped or (rows.of_images and any(True for part in parts for _ in outside(part, rows.column))):
        return None
    return concatenate_datasets([part.select_columns([rows.column]) for part in parts])


def mapped(file: Path) -> "Dataset":
    """What `write_encoded` has written, without reading it."""
    from datasets import Dataset

    return Dataset.from_file(str(file))


def write_encoded(rows: Reader, building: Path) -> None:
    """Copy a column as it is stored into an Arrow file, the images that are named by their paths included."""
    import pyarrow as pa

    writer = None
    with pa.OSFile(str(building), "wb") as sink:
        for cells in rows.batches():
            column = _with_bytes(cells) if rows.of_images else _plain(cells)
            batch = pa.RecordBatch.from_arrays([column], [rows.column])
            writer = writer or pa.ipc.new_stream(sink, batch.schema)
            writer.write_batch(batch)
        if writer is not None:
            writer.close()


def _with_bytes(cells: Any) -> Any:
    import pyarrow as pa

    images = as_images(cells).to_pylist()
    for image in images:
        # What is no file is left as it is, and named when it is decoded.
        if image is not None and image["bytes"] is None and os.path.isfile(image["path"]):
            image["bytes"] = Path(image["path"]).read_bytes()
    return pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()}))


def _plain(cells: Any) -> Any:
    import pyarrow as pa

    return cells.storage if isinstance(cells.type, pa.ExtensionType) else cells
