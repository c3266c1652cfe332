"""A disk that loses power: which bytes and names may be there afterwards, given what had been forced.

The model replays a record of calls. A write or a change of length is safe once its file has been forced, a name (made,
renamed, deleted) once its folder has been; until then the disk may have any part of them, in any order. A rename is one
stroke: it happens or it does not. Nothing else is promised by POSIX, and nothing else is assumed.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

SECTOR = 512
"""Bytes that a disk writes whole."""


class Call(NamedTuple):
    """A recorded call, or a mark of the program, whose text is in `path`."""

    operation: str
    offset: int
    path: str
    second: str
    data: bytes


def calls(record: bytes) -> Iterator[Call]:
    """The calls of a record, in order."""
    place = 0
    while place < len(record):
        end = record.index(b"\n", place)
        operation, _, offset, length, path, second = record[place:end].decode().split("|")
        place = end + 1 + int(length)
        yield Call(operation, int(offset), path, second, record[end + 1 : place])


class Change(NamedTuple):
    """A change of a file: bytes at a place, or None for a new length."""

    place: int
    data: bytes | None


class File:
    """A file: its forced content, and what has been changed since."""

    def __init__(self) -> None:
        self.safe = b""
        self.pending: list[Change] = []

    def content(self, survives: Callable[[], bool] = lambda: True, *, lengths: bool = False) -> bytes:
        """What is there if only the changes that survive have reached the disk.

        Args:
            survives: asked for every sector and every change of length.
            lengths: whether a file has its new length though the bytes are lost, which then are zero.
        """
        found = bytearray(self.safe)
        for place, data in self.pending:
            if data is None:
                if survives():
                    found = found[:place].ljust(place, b"\0")
                continue
            for start in range(0, len(data), SECTOR):
                piece, at = data[start : start + SECTOR], place + start
                arrived = survives()
                if arrived or lengths:
                    found = found.ljust(at + len(piece), b"\0")
                if arrived:
                    found[at : at + len(piece)] = piece
        return bytes(found)

    def force(self) -> None:
        """Make all of it safe."""
        self.safe, self.pending = self.content(), []


class Naming(NamedTuple):
    """A change of a folder: a name that is gone, a name that is there, or at one stroke both."""

    gone: str
    there: str
    what: "File | Folder | None"


class Folder:
    """A folder: its names now, its forced names, and what has been changed since."""

    def __init__(self) -> None:
        self.now: dict[str, File | Folder] = {}
        self.safe: dict[str, File | Folder] = {}
        self.pending: list[Naming] = []

    def change(self, naming: Naming) -> None:
        """Change a name."""
        _apply(self.now, naming)
        self.pending.append(naming)

    def names(self, survives: Callable[[], bool]) -> dict[str, "File | Folder"]:
        """The names that are there if only the changes that survive have reached the disk."""
        found = dict(self.safe)
        for naming in self.pending:
            if survives():
                _apply(found, naming)
        return found

    def force(self) -> None:
        """Make all names safe; what they name is not."""
        self.safe, self.pending = dict(self.now), []


def _apply(names: dict[str, File | Folder], naming: Naming) -> None:
    names.pop(naming.gone, None)
    if naming.what is not None:
        names[naming.there] = naming.what


class Disk:
    """A folder on a disk, as it is, and as it may be once power was lost.

    Args:
        root: the folder; its own name is safe.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.top = root, Folder()
        self.marks: list[str] = []

    def load(self, folder: Path) -> None:
        """Put files there that have been safe for long."""
        for path in sorted(folder.rglob("*")):
            parent = self._at(str(self.root / path.relative_to(folder).parent))
            assert isinstance(parent, Folder)
            new = parent.now[path.name] = parent.safe[path.name] = Folder() if path.is_dir() else File()
            if isinstance(new, File):
                new.safe = path.read_bytes()

    def do(self, call: Call) -> bool:
        """Do what a call did. Returns whether it changed something that a power cut could show."""
        operation = call.operation
        if operation == "mark":
            self.marks.append(call.path)
            return False
        if operation in ("create", "mkdir"):
            parent, name = self._parent(call.path)
            parent.change(Naming("", name, Folder() if operation == "mkdir" else File()))
        elif operation == "rename":
            (parent, old), (target, new) = self._parent(call.path), self._parent(call.second)
            assert parent is target, f"a rename between folders is not modelled: {call}"
            parent.change(Naming(old, new, parent.now[old]))
        elif operation == "link":
            parent, name = self._parent(call.path)
            parent.change(Naming("", name, self._at(call.second)))
        elif operation == "unlink":
            parent, name = self._parent(call.path)
            parent.change(Naming(name, "", None))
        elif operation in ("write", "truncate", "empty", "fsync"):
            self._of_node(call)
        return operation not in ("open", "close", "lock") and operation[0] not in "!~"

    def _of_node(self, call: Call) -> None:
        node = self._at(call.path)
        if call.operation == "fsync" and node is not None:
            node.force()
        elif isinstance(node, File):
            node.pending.append(Change(call.offset, call.data if call.operation == "write" else None))

    def _parent(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rpartition("/")
        found = self._at(parent)
        assert isinstance(found, Folder), path
        return found, name

    def _at(self, path: str) -> File | Folder | None:
        node: File | Folder | None = self.top
        for name in Path(path).relative_to(self.root).parts:
            node = node.now.get(name) if isinstance(node, Folder) else None
        return node

    def after(self, loss: str, chance: Random) -> dict[str, bytes | None]:
        """What is there once power is back, by relative path; None for a folder."""
        return dict(_tree(self.top, "", LOSSES[loss](chance)))


class Loss(NamedTuple):
    """What of that which was not forced survives."""

    names: Callable[[], bool]
    bytes: Callable[[], bool]
    lengths: Callable[[], bool]


def _no() -> bool:
    return False


def _yes() -> bool:
    return True


def _random(chance: Random) -> Loss:
    names, data = (chance.choice((0.1, 0.5, 0.9)) for _ in range(2))
    return Loss(*(lambda p=p: chance.random() < p for p in (names, data, 0.5)))


LOSSES: dict[str, Callable[[Random], Loss]] = {
    "nothing survives": lambda _: Loss(_no, _no, _no),
    "names without bytes": lambda _: Loss(_yes, _no, _no),
    "names and lengths": lambda _: Loss(_yes, _no, _yes),
    "bytes without names": lambda _: Loss(_no, _yes, _yes),
    "everything survives": lambda _: Loss(_yes, _yes, _yes),
    "any part": _random,
}
"""How a disk may lose: strictly, in the orders that file systems are known for, and at random."""


def _tree(folder: Folder, prefix: str, loss: Loss) -> Iterator[tuple[str, bytes | None]]:
    for name, node in sorted(folder.names(loss.names).items()):
        if isinstance(node, Folder):
            yield prefix + name, None
            yield from _tree(node, f"{prefix}{name}/", loss)
        else:
            yield prefix + name, node.content(loss.bytes, lengths=loss.lengths())


def put(tree: dict[str, bytes | None], folder: Path) -> None:
    """Write what is there once power is back into a folder that is empty."""
    for name, content in tree.items():
        if content is None:
            (folder / name).mkdir(parents=True)
        else:
            (folder / name).write_bytes(content)
