"""The folder of compiled code, which is run, and so the user's own.

Others can neither write to it nor put another folder in its place, links in it are not followed, and what is loaded has
to have the sum that its build recorded.
"""

import atexit
import functools
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INDUCTOR, TRITON = "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"
"""The environment variables by which a user names the folders of torch's own compilers."""
LIBRARY, SUM, BUILDING = ".so", ".sum", ".building-"
ELSEWHERE = f"name another place by XDG_CACHE_HOME or {INDUCTOR}"
OTHER = f"remove it, or {ELSEWHERE}"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a FIFO must not be waited for
_FOLDER = _READ | getattr(os, "O_DIRECTORY", 0)


class CacheError(RuntimeError):
    """Others could put code into a folder whose code would be run."""


def folder() -> Path:
    """`metafunc` in `XDG_CACHE_HOME` or `~/.cache`, made if absent; one of this process alone where none can be made.

    Raises:
        CacheError: others could write to it.
    """
    try:
        path = _usual()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(checked(path), os.W_OK):
            return path
        reason = f"{path} cannot be written"
    except (OSError, RuntimeError) as error:  # such as a home that is read-only, or a user who has none
        if isinstance(error, CacheError):
            raise
        reason = str(error)
    return checked(_of_this_process(reason))


def checked(path: Path) -> Path:
    """The same folder, if it is there and no other user can write to it.

    Raises:
        CacheError: it is a link or no folder, it belongs to somebody else, or others can write to it or replace it.
    """
    with opened(path):
        return path


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A folder, checked and held open: what is put in its place meanwhile is not looked at.

    Raises:
        CacheError: as `checked`.
    """
    if path.is_symlink():
        raise CacheError(f"{path} is a link, and what lies there is run: {OTHER}")
    try:
        handle = os.open(path, _FOLDER)
    except OSError as error:
        raise CacheError(f"{path} is no folder that can be opened ({error.strerror})") from error
    try:
        found = os.fstat(handle)
        if found.st_uid != os.getuid():
            raise CacheError(f"{path} belongs to another user, and what lies there is run: {OTHER}")
        if found.st_mode & OTHERS_WRITE:
            raise CacheError(f"others can write to {path}, and what lies there is run: chmod go-w, or {OTHER}")
        for parent in {*path.absolute().parents, *path.resolve().parents}:
            if _replaceable(os.stat(parent)):
                raise CacheError(f"others can write to {parent}, so that {path} can be replaced: {ELSEWHERE}")
        yield handle
    finally:
        os.close(handle)


def named() -> dict[str, str]:
    """The folders of torch's own compilers that the user has named by environment variables, made if absent.

    Raises:
        CacheError: others could write to one.
    """
    found = {name: os.environ[name] for name in (INDUCTOR, TRITON) if os.environ.get(name)}
    for place in found.values():
        try:
            os.makedirs(place, mode=0o700, exist_ok=True)
        except OSError as error:
            raise CacheError(f"{place} cannot be made ({error.strerror})") from error
        checked(Path(place))
    return found


def for_torch() -> dict[str, str]:
    """Environment variables by which torch's compilers in this process keep their files where no other user can write.

    Raises:
        CacheError: others could write to a folder that the user has named.
    """
    if os.name != "posix":
        return {}
    found = named()
    if INDUCTOR not in found:
        own = folder() / "inductor"
        own.mkdir(mode=0o700, exist_ok=True)
        found[INDUCTOR] = str(checked(own))  # which has triton's files in it
    return found


def read(handle: int, name: str) -> bytes | None:
    """A library in an open folder; None, with a warning where there is something, unless it is as it was built."""
    try:
        content, recorded = _content(handle, name + LIBRARY), _content(handle, name + SUM)
    except FileNotFoundError as error:
        if error.filename == name + LIBRARY:
            return None
        content = recorded = b""
    except OSError:  # a link, or nothing that can be read
        content = recorded = b""
    if recorded and recorded == _sum(name, content):
        os.utime(name + LIBRARY, dir_fd=handle, follow_symlinks=False)
        return content
    message = f"the compiled code {name} is not what was built here: it is not loaded, but built again."
    warnings.warn(message, stacklevel=2)
    return None


def keep(handle: int, name: str, content: bytes) -> None:
    """Keep a library and its sum in an open folder, in place of whatever has its name."""
    for suffix, written in ((SUM, _sum(name, content)), (LIBRARY, content)):
        building = f"{BUILDING}{secrets.token_hex(8)}"
        made = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=handle)
        try:
            with os.fdopen(made, "wb") as file:
                file.write(written)
            os.replace(building, name + suffix, src_dir_fd=handle, dst_dir_fd=handle)
        except BaseException:
            os.unlink(building, dir_fd=handle)
            raise


def _usual() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if os.path.isabs(named) else Path.home() / ".cache") / "metafunc"


@functools.cache
def _of_this_process(reason: str) -> Path:
    try:
        made = Path(tempfile.mkdtemp(prefix="metafunc-"))
    except OSError as error:
        raise CacheError(f"there is no folder for compiled code ({reason}; {error})") from error
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    warnings.warn(
        f"compiled code is kept in {made} until this process ends ({reason}): name a folder that can be written with "
        "XDG_CACHE_HOME to keep it.",
        stacklevel=3,
    )
    return made


def _replaceable(parent: os.stat_result) -> bool:
    """Whether somebody other than the user and root can rename what lies in a folder."""
    if parent.st_uid not in (0, os.getuid()):
        return True
    if parent.st_mode & stat.S_ISVTX:
        return False
    return bool(parent.st_mode & stat.S_IWOTH or (parent.st_mode & stat.S_IWGRP and not _own_group(parent.st_gid)))


def _own_group(group: int) -> bool:
    """Whether a group is root's or the user's alone, as where everyone has a group of their own name."""
    import grp
    import pwd

    if group == 0:
        return True
    try:
        found, own = grp.getgrgid(group), pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return False
    return found.gr_name == own and {*found.gr_mem} <= {own}


def _content(handle: int, name: str) -> bytes:
    opened_file = os.open(name, _READ, dir_fd=handle)
    with os.fdopen(opened_file, "rb") as file:
        found = os.fstat(opened_file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise OSError(f"{name} is no file of this user")
        return file.read()


def _sum(name: str, content: bytes) -> bytes:
    """Of the content under this name, so that one library does not pass for another."""
    return hashlib.sha256(name.encode() + content).hexdigest().encode()
