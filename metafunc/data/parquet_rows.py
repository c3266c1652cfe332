"""Parquet files as a data set whose columns are read when they are asked for, so that it may be larger than memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from metafunc.data.sampling import WAYS_OUT, DataUnavailable

if TYPE_CHECKING:
    from datasets import Dataset, Features  # noqa: F401 - Dataset is in the alias below

PIECE = 2**20
"""Bytes of a column that are read at a time."""


class ParquetRows:
    """The rows of parquet files, one file after the other, with as much of the interface of a `Dataset` as is needed.

    Args:
        files: the files, whose columns are the same.

    Raises:
        DataUnavailable: one is no parquet file.

    Examples:
        >>> import datasets, tempfile
        >>> file = Path(tempfile.mkdtemp()) / "data.parquet"
        >>> datasets.Dataset.from_dict({"x": [[1, 2], [3, 4]], "label": [0, 1]}).to_parquet(file) > 0
        True
        >>> rows = ParquetRows([file])
        >>> len(rows), rows.column_names, rows["label"]
        (2, ['x', 'label'], [0, 1])
    """

    def __init__(self, files: Sequence[Path]) -> None:
        from datasets import Features
        from pyarrow import parquet

        self.files = tuple(files)
        with self._readable():
            known = [parquet.read_metadata(file) for file in self.files]
            self.features: Features = Features.from_arrow_schema(parquet.read_schema(self.files[0]))
        self.column_names = list(self.features)
        self._count: int = sum(metadata.num_rows for metadata in known)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, name: str) -> list[Any]:
        """All values of a column."""
        from datasets import Dataset
        from datasets.table import InMemoryTable
        from pyarrow import parquet

        with self._readable():
            table = parquet.read_table(list(self.files), columns=[name])
        # Dataset.from_parquet would leave a second copy in the cache, which nothing ever deletes.
        return list(Dataset(InMemoryTable(table))[name])

    def batches(self, name: str, size: int) -> Iterator[Any]:
        """A column from the first row to the last, as Arrow arrays of at most `size` rows."""
        from pyarrow.parquet import ParquetFile

        with self._readable():
            for file in self.files:
                # Without a buffer of this size a whole column of a row group is in memory at once.
                with ParquetFile(file, buffer_size=PIECE, pre_buffer=False) as opened:
                    for batch in opened.iter_batches(size, columns=[name], use_threads=False):
                        yield batch.column(0)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        from pyarrow import ArrowException

        try:
            yield
        except (ArrowException, OSError) as error:
            place = self.files[0] if len(self.files) == 1 else self.files[0].parent
            raise DataUnavailable(f"{place} cannot be read as parquet: {error}\n{WAYS_OUT}") from error


Part: TypeAlias = "Dataset | ParquetRows"
"""Rows of one split: in memory, in mapped Arrow files, or in parquet files."""
