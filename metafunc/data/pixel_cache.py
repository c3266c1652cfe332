"""Files of decoded rows, which a machine makes once: all processes map them into memory, which they then share.

A file's name is a sum over what the rows are made of: every image or table by its place, its size and its times, how it
is read, and in which order. Where one of them changes, another file is made, and the old one is deleted.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from metafunc.data.atomic_write import make_folder, refuse_link, replace_file, sweep, write_text
from metafunc.data.parquet_rows import ParquetRows
from metafunc.data.reader import Reader
from metafunc.data.sampling import DataUnavailable

if TYPE_CHECKING:
    from datasets import Dataset

    from metafunc.data.parquet_rows import Part

FOLDER = "METAFUNC_PIXELS"
"""The environment variable by which a user names the folder."""
FORMAT = 1
"""Of the files; another one when their content changes."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def folder() -> Path:
    """Where the files are: what `METAFUNC_PIXELS` names, or `metafunc/pixels` in `XDG_CACHE_HOME` or `~/.cache`."""
    if named := os.environ.get(FOLDER):
        return Path(named).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "metafunc" / "pixels"


class Kept(NamedTuple):
    """The files of one data set: `SOURCE-CONTENT.npy` (or `.arrow`), and the fingerprints of its partitions.

    Args:
        folder: where they are.
        source: a sum over where the data lie and how they are read.
        content: a sum over what the data are.
    """

    folder: Path
    source: str
    content: str

    def path(self, suffix: str) -> Path:
        """One of the files."""
        return self.folder / f"{self.source}-{self.content}{suffix}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time make the files of a source; what processes that died have left is deleted.

        Raises:
            DataUnavailable: the disk is full, or the folder cannot be written to.
        """
        try:
            make_folder(self.folder)
            sweep(self.folder)
            lock = self.folder / f"{self.source}.lock"
            refuse_link(lock)
            # The system's own lock, which ends with the process, however that ends.
            with FileLock(lock, fallback_to_soft=False):
                yield
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise DataUnavailable(
                    f"{self.folder} cannot hold decoded images ({error.strerror}): name a folder that you may write to "
                    f"by {FOLDER}."
                ) from error
            raise DataUnavailable(
                f"The disk of {self.folder} is full ({error.strerror}): name a folder on another one by {FOLDER}, or "
                "ask for smaller images by image_size."
            ) from error

    def made(self, suffix: str, write: Callable[[Path], object]) -> Path:
        """One of the files, written if it is absent; files of what the same source was before are deleted."""
        path = self.path(suffix)
        if not path.exists():
            replace_file(path, write)
            for other in self.folder.glob(f"{self.source}-*"):
                if not other.name.startswith(f"{self.source}-{self.content}"):
                    with suppress(OSError):  # another user's, or one that another process has just deleted
                        other.unlink()
        return path

    def remembered(self, name: str, make: Callable[[], str]) -> str:
        """A text that is costly to make, made once."""
        file = self.path(f"-{name}.sum")
        if not file.exists():
            write_text(file, make())
        return file.read_text()

    def room(self) -> int:
        """Bytes that the disk has free."""
        place = next(place for place in (self.folder, *self.folder.parents) if place.exists())
        return shutil.disk_usage(place).free


def kept(rows: Reader, order: NDArray[np.int64], source: str, state: str) -> Kept:
    """The names of the files of some rows in some order.

    Args:
        rows: what is read.
        order: which row comes first, second, and so on.
        source: what the data and their division into classes are called.
        state: their `identity`.
    """
    import PIL

    # Another version of the decoder may round otherwise.
    how = (FORMAT, rows.column, rows.image_size, rows.channels, rows.invert, rows.shape, str(rows.dtype), len(rows))
    content = hashlib.sha256(repr((how, PIL.__version__, state)).encode() + order.tobytes())
    about = (source, rows.column, rows.image_size, rows.channels, rows.invert)
    return Kept(folder(), hashlib.sha256(repr(about).encode()).hexdigest()[:16], content.hexdigest()[:32])


def identity(rows: Reader) -> str:
    """A sum over every file that rows are read from: its path, size and number, and when it was changed.

    The system sets the time of the last change of a file or its name (`ctime`) whatever a program says of the others.
    """
    digest = hashlib.sha256()
    for part in rows.parts:
        found = 0
        for file in files_of(part, rows):
            found += 1
            digest.update(repr((os.path.abspath(file), *_state(file))).encode())
        if not found:  # all of it is in memory
            for cells in rows.batches():
                digest.update(repr(cells.to_pylist()).encode())
    return digest.hexdigest()


def files_of(part: "Part", rows: Reader) -> Iterator[str]:
    """The files that a part of the rows is read from."""
    if isinstance(part, ParquetRows):
        yield from map(str, part.files)
        return
    yield from (entry["filename"] for entry in part.cache_files)
    if rows.of_images:
        yield from outside(part, rows.column)


def outside(part: "Dataset", column: str) -> Iterator[str]:
    """The image files that a data set names, instead of having their bytes."""
    import pyarrow as pa

    for chunk in part.data.column(column).chunks:  # and not row by row, which would read all images
        if pa.types.is_struct(chunk.type):
            yield from chunk.field("path").filter(chunk.field("bytes").is_null()).drop_null().to_pylist()
        elif pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type):
            yield from chunk.drop_null().to_pylist()


def _state(file: str) -> tuple[int, ...]:
    try:
        found = os.stat(file)
    except OSError:  # it is named where it is read
        return ()
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def write_rows(rows: Reader, places: NDArray[np.int64], building: Path) -> None:
    """Decode all rows into a file of numpy's format, each to its place, a few of them in memory at a time.

    Args:
        rows: what to decode.
        places: where each row goes.
        building: the file, which is there and empty.

    Raises:
        OSError: the disk has no room for all of them, which is found out first.
        ValueError: a row cannot be used; it is named.
    """
    shape, dtype = (len(rows), *rows.shape), np.dtype(rows.dtype)
    with building.open("r+b") as file:
        about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, about)
        begin, size = file.tell(), rows.row_bytes
        if hasattr(os, "posix_fallocate"):  # a write into a map of a disk that is full would end the process
            file.flush()
            os.posix_fallocate(file.fileno(), 0, begin + rows.num_bytes)
        for which, block in rows.blocks():
            for row, values in zip(which, block, strict=True):
                file.seek(begin + int(places[row]) * size)
                file.write(np.ascontiguousarray(values).data)


def check_unchanged(rows: Reader, before: str) -> None:
    """Refuse what was changed while it was read.

    Raises:
        DataUnavailable: a file is not what it was.
    """
    if identity(rows) != before:
        raise DataUnavailable("The images were changed while they were read: wait until all are there, and try again.")
