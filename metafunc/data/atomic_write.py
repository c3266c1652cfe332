"""Files that are replaced as a whole: whenever the process or the machine dies, the old or the new one is there.

The new file is written under another name in the same folder, forced to disk, and then renamed, which a file system
does at one stroke.
"""

import errno
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

BUILDING = ".unfinished."
"""In the names of files that are being written."""


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file, all or nothing.

    Args:
        path: the file; what is there stays until the new one is complete.
        write: writes a whole file to the path that it is given, which ends as `path` does.

    Raises:
        OSError: the disk is full or not writable; what was there before is untouched.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note.txt"
        >>> replace_file(path, lambda building: building.write_text("all of it"))
        >>> path.read_text()
        'all of it'
    """
    building = path.with_name(f".{secrets.token_hex(8)}{BUILDING}{path.name}")
    # A random name, made here: what lies there already, such as a link, is never written to.
    os.close(os.open(building, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o666))
    try:
        write(building)
        with building.open("r+b") as file:
            os.fsync(file.fileno())
        building.replace(path)
    except BaseException:
        building.unlink(missing_ok=True)
        raise
    force(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a small text file, all or nothing."""
    replace_file(path, lambda building: building.write_bytes(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON file, all or nothing."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, so that they survive a power cut.

    Example:
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
    with path.open("wb") as file:
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
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such call
            raise
    finally:
        os.close(handle)
