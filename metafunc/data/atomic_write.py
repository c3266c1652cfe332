"""Files that are replaced as a whole: whenever the process or the machine dies, the old or the new one is there.

The new file is written under another name in the same folder, forced to disk, and then renamed, which a file system
does at one stroke.
"""

import errno
import glob
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]  # the module, or None where there is none

BUILDING = ".unfinished."
"""In the names of files that are being written."""


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file, all or nothing.

    Args:
        path: the file; what is there stays until the new one is complete.
        write: writes a whole file to the path that it is given, which ends as `path` does.

    Raises:
        OSError: the disk is full or not writable; what was there before is untouched.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note.txt"
        >>> replace_file(path, lambda building: building.write_text("all of it"))
        >>> path.read_text()
        'all of it'
    """
    with about(path):
        sweep(path.parent, path.name)
        building = path.with_name(f".{secrets.token_hex(8)}{BUILDING}{path.name}")
        try:
            # A random name, made here: what lies there already, such as a link, is never written to.
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
            with open(os.open(building, flags, 0o666), "wb") as held:
                _lock(held.fileno())
                write(building)
                with building.open("r+b") as file:
                    os.fsync(file.fileno())
                building.replace(path)
        except BaseException:
            building.unlink(missing_ok=True)
            raise
        force(path.parent)


def sweep(folder: Path, name: str | None = None) -> None:
    """Delete what writers that died have left in a folder: files that are unfinished and that no process is writing.

    Args:
        folder: where they lie.
        name: of the file that was to be written; None for every file.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / f".0123456789abcdef{BUILDING}note.txt").write_text("half of i")
        >>> sweep(folder)
        >>> list(folder.iterdir())
        []
    """
    if fcntl is None:
        return
    for remnant in folder.glob(f".*{BUILDING}{'*' if name is None else glob.escape(name)}"):
        # One that has just gone, or may not be opened or deleted, is no reason to write nothing.
        with suppress(OSError), open(os.open(remnant, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "wb") as file:
            if _lock(file.fileno()):
                remnant.unlink()


def refuse_link(path: Path) -> None:
    """Refuse to write to what lies elsewhere.

    Raises:
        ValueError: the path is a link.
    """
    if path.is_symlink():
        raise ValueError(f"{path} is a link, and what is written stays in its own folder: delete the link.")


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Let errors of the system, such as a full disk, name the file that they are about."""
    try:
        yield
    except OSError as error:
        # What deletes a folder knows the files in it by their bare names.
        if error.filename is None or BUILDING in str(error.filename) or not os.path.dirname(str(error.filename)):
            error.filename, error.filename2 = str(path), None
        raise


def _lock(handle: int) -> bool:
    """Take the lock of a file; whether it could be had. It ends with the process, however that ends."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process writes the file, or the file system knows no locks: nothing is swept then
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write a small text file, all or nothing."""
    replace_file(path, lambda building: building.write_bytes(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON file, all or nothing."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, so that they survive a power cut.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "runs" / "one"
        >>> make_folder(path)
        >>> path.is_dir()
        True
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        force(folder.parent)
    path.mkdir(exist_ok=True)  # or an error that says that a file is in the way


def write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it; for files in a folder that will be renamed as a whole."""
    with about(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def force(directory: Path) -> None:
    """Make what was made, renamed or deleted in a folder survive a power cut, where folders can be forced to disk."""
    if os.name != "posix":
        return
    try:
        handle = os.open(directory, os.O_RDONLY)
    except PermissionError:  # a folder above the user's own, which nothing was made in
        return
    try:
        with about(directory):
            os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such call
            raise
    finally:
        os.close(handle)
