"""The folder of compiled code, which is run, and so the user's own.

Others can neither write to it nor put another folder in its place, links in it are not followed, and what is loaded has
to have the sum that its build recorded.
"""

import atexit
import functools
import hashlib
import json
import os
import secrets
import shutil
import stat
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

INDUCTOR, TRITON = "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"
"""The environment variables by which a user names the folders of torch's own compilers."""
NAMED, OFF = "METAFUNC_CODE_CACHE", "off"
"""The environment variable by which a user names the folder of metafunc's, or has nothing kept."""
LIBRARY, SUM, LOCK, BUILDING, SECONDS = ".so", ".sum", ".lock", ".building-", "seconds.json"
LARGEST = 2**29
"""Bytes of libraries, of 1 to 5 MB each, that are kept: those that were used last."""
TIMED = 100
"""How many builds' times are kept."""
ELSEWHERE = f"name another place by {NAMED}, XDG_CACHE_HOME or {INDUCTOR}"
OTHER = f"remove it, or {ELSEWHERE}"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a FIFO must not be waited for
_FOLDER = _READ | getattr(os, "O_DIRECTORY", 0)


class CacheError(RuntimeError):
    """Others could put code into a folder whose code would be run."""


def folder() -> Path:
    """`METAFUNC_CODE_CACHE`, or `metafunc` in `XDG_CACHE_HOME` or `~/.cache`, made if absent; one of this process alone
    where none can be made, or the variable is `off`.

    Raises:
        CacheError: others could write to it, or the variable is no full path.
    """
    if os.environ.get(NAMED) == OFF:
        return checked(_of_this_process(""))
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
        with suppress(FileNotFoundError):  # another process has just pruned it
            os.utime(name + LIBRARY, dir_fd=handle, follow_symlinks=False)
        return content
    message = f"the compiled code {name} is not what was built here: it is not loaded, but built again."
    warnings.warn(message, stacklevel=2)
    return None


def keep(handle: int, name: str, content: bytes) -> None:
    """Keep a library and its sum in an open folder, in place of whatever has its name."""
    write(handle, name + SUM, _sum(name, content))
    write(handle, name + LIBRARY, content)


def write(handle: int, name: str, content: bytes) -> None:
    """Replace a file in an open folder as a whole."""
    building = f"{BUILDING}{secrets.token_hex(8)}"
    made = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=handle)
    try:
        with os.fdopen(made, "wb") as file:
            file.write(content)
        os.replace(building, name, src_dir_fd=handle, dst_dir_fd=handle)
    except BaseException:
        os.unlink(building, dir_fd=handle)
        raise


def reserve(handle: int, name: str) -> int | None:
    """Reserve a name in an open folder, so that one process at a time builds its library; None: another one does.

    What is returned is to be given back by `release`; a process that ends gives it back as well.
    """
    import fcntl

    held = os.open(name + LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600, dir_fd=handle)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(held), os.stat(name + LOCK, dir_fd=handle)):
            return held
    except (BlockingIOError, FileNotFoundError):  # it is held, or was just given back and so deleted
        pass
    os.close(held)
    return None


def release(path: Path, name: str, held: int) -> None:
    """Give a reserved name back."""
    (path / f"{name}{LOCK}").unlink(missing_ok=True)
    os.close(held)


def prune(path: Path) -> None:
    """Delete the libraries that were used least recently, beyond the bytes that are kept, and what killed processes
    have left."""
    room = LARGEST
    for old in sorted(path.glob(f"*{LIBRARY}"), key=_last_used, reverse=True):
        with suppress(FileNotFoundError):  # another process prunes as well
            room -= old.stat().st_size
        if room < 0:
            old.unlink(missing_ok=True)
            old.with_suffix(SUM).unlink(missing_ok=True)
    for remnant in [*path.glob(f"{BUILDING}*"), *path.glob(f"*{LOCK}")]:
        if time.time() - _last_used(remnant) > 86_400:
            shutil.rmtree(remnant, ignore_errors=True) if remnant.is_dir() else remnant.unlink(missing_ok=True)


def build_seconds(path: Path, name: str) -> float | None:
    """How long the library of a name took to build here; if that is not known, the median of those that are."""
    known = _seconds(path)
    return known.get(name) or (statistics.median(known.values()) if known else None)


def keep_seconds(handle: int, path: Path, name: str, seconds: float) -> None:
    """Keep how long a library took to build."""
    latest = {**_seconds(path), name: seconds}
    write(handle, SECONDS, json.dumps(dict([*latest.items()][-TIMED:])).encode())


def _seconds(path: Path) -> dict[str, float]:
    """Times by name, of a file that is only for a guess: what is damaged says nothing."""
    try:
        found = json.loads((path / SECONDS).read_text())
    except (OSError, ValueError):
        return {}
    times = found.items() if isinstance(found, dict) else ()
    return {name: seconds for name, seconds in times if isinstance(seconds, int | float) and 0 < seconds < 1e5}


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process has just deleted it
        return 0.0


def _usual() -> Path:
    if own := os.environ.get(NAMED, ""):
        if not os.path.isabs(own):
            raise CacheError(f"{NAMED} must be a full path, or {OFF}, not {own}")
        return Path(own)
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if os.path.isabs(named) else Path.home() / ".cache") / "metafunc"


@functools.cache
def _of_this_process(reason: str) -> Path:
    try:
        made = Path(tempfile.mkdtemp(prefix="metafunc-"))
    except OSError as error:
        raise CacheError(f"there is no folder for compiled code ({reason}; {error})") from error
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    if not reason:
        return made
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
