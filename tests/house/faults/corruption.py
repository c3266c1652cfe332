"""A file of a run folder that is damaged: the command that reads it names it, makes it again, or was not misled."""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from .jobs import EVAL, PREDICT, RESUME, Bases, files, run_result, unacceptable

Damage = Callable[[bytes, Random, bytes], bytes | None]
"""From a file's content, chance and the same file of another run to what then lies there; None for no file."""


def _flip(content: bytes, chance: Random, _: bytes) -> bytes:
    return _changed(content, chance.randrange(len(content)), 1 << chance.randrange(8))


def _changed(content: bytes, place: int, bits: int) -> bytes:
    return content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]


def _digit(content: bytes, chance: Random, _: bytes) -> bytes:
    """Another digit, which leaves JSON valid."""
    digits = [found.start() for found in re.finditer(rb"(?<=[\s:,.\d-])[1-9]", content)]
    if not digits:
        return _flip(content, chance, b"")
    place = chance.choice(digits)
    new = chance.choice([d for d in b"123456789" if d != content[place]])
    return content[:place] + bytes([new]) + content[place + 1 :]


def _key(content: bytes, chance: Random, _: bytes) -> bytes:
    """A letter more in a name."""
    names = [found.start(1) for found in re.finditer(rb'"(\w+)": ', content)]
    place = chance.choice(names) if names else 0
    return content[:place] + b"z" + content[place:]


def _cut(content: bytes, chance: Random, _: bytes) -> bytes:
    return content[: chance.randrange(len(content))]


def _zeros(content: bytes, chance: Random, _: bytes) -> bytes:
    start = chance.randrange(len(content))
    length = min(chance.choice((1, 16, 512)), len(content) - start)
    return content[:start] + bytes(length) + content[start + length :]


def _lines(change: Callable[[list[bytes], int], list[bytes]]) -> Damage:
    def damage(content: bytes, chance: Random, _: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        return b"".join(change(lines, chance.randrange(len(lines))))

    return damage


DAMAGES: dict[str, Damage] = {
    "flipped bit": _flip,
    "other digit": _digit,
    "renamed key": _key,
    "cut off": _cut,
    "zeros": _zeros,
    "emptied": lambda *_: b"",
    "deleted": lambda *_: None,
    "dropped line": _lines(lambda lines, i: lines[:i] + lines[i + 1 :]),
    "doubled line": _lines(lambda lines, i: lines[: i + 1] + lines[i:]),
    "exchanged lines": _lines(lambda lines, i: lines[:i] + lines[i:][::-1]),
    "another run's": lambda _, __, other: other,
}


OTHER_NAMES = {"meta_test.json": ("the run's meta-test",)}
"""What a message may call a file instead."""


class Reader(NamedTuple):
    """A command that reads a run folder, and what it ends with."""

    argv: Sequence[str]
    start: str
    result: Callable[[Path], Mapping[str, Any]]


def _tested(work: Path) -> Mapping[str, Any]:
    return {p.name: p.read_bytes() for p in (work / "run").glob("meta_test-*.json")}


def _figures(work: Path) -> Mapping[str, Any]:
    return files(work / "run" / "figures")


READERS = {
    "resume": Reader(RESUME, "finished", lambda work: run_result(work / "run")),
    "go on": Reader(RESUME, "interrupted", lambda work: run_result(work / "run")),
    "predict": Reader(PREDICT, "finished", lambda work: files(work / "out")),
    "eval": Reader(EVAL, "finished", _tested),
    "plot": Reader(["plot", "run"], "finished", _figures),
}


FILES = (
    "config.json",
    "env.json",
    "metrics.jsonl",
    "meta_test.json",
    "checkpoints/step-000000004/manifest.json",
    "checkpoints/step-000000004/tensors.safetensors",
    "checkpoints/step-000000006/manifest.json",
    "checkpoints/step-000000006/tensors.safetensors",
)
"""All files of a finished run; an interrupted one has some of them."""


class Case(NamedTuple):
    """A damage of a file, read by a command."""

    reader: str
    file: str
    damage: str
    seed: int

    @property
    def name(self) -> str:
        """How it is called on pytest's command line."""
        return f"{self.reader}-{self.file}-{self.damage}-{self.seed}".replace(" ", "_").replace("'", "")


class Readers:
    """What undamaged folders give, by command.

    Args:
        bases: the folders.
    """

    def __init__(self, bases: Bases) -> None:
        self.bases = bases
        self._expected: dict[str, Mapping[str, Any]] = {}

    def expected(self, name: str) -> Mapping[str, Any]:
        """What a command ends with on an undamaged folder."""
        if name not in self._expected:
            reader, root = READERS[name], self.bases.begin(READERS[name].start)
            ended = self.bases.machine.run(root, reader.argv)
            assert ended.code == 0, ended
            self._expected[name] = reader.result(root / "work")
            shutil.rmtree(root)
        return self._expected[name]

    def read(self, case: Case, setup: str = "") -> str:
        """Damage a file and read the folder.

        Returns:
            What is wrong, in one line; empty if nothing is.
        """
        reader = READERS[case.reader]
        root = self.bases.begin(reader.start)
        file = root / "work" / "run" / case.file
        if not file.exists():
            shutil.rmtree(root)
            return ""
        before = file.read_bytes()
        other = self.bases.base("other") / "work" / "run" / case.file
        elsewhere = other.read_bytes() if other.exists() else b""
        after = DAMAGES[case.damage](before, Random(case.seed), elsewhere)
        if after is None:
            file.unlink()
        else:
            file.write_bytes(after)
        ended = self.bases.machine.run(root, reader.argv, below="", setup=setup)
        wrong = unacceptable(ended)
        known = {case.file, file.name, file.parent.name, *OTHER_NAMES.get(case.file, ())} - {"run"}
        named = any(name in ended.stderr for name in known)
        if ended.code not in (0, 1, 2, 3):
            wrong.append(f"exit {ended.code}")
        elif ended.code != 0:
            wrong += ["the message does not name the file"] * (not named)
        elif not named and before != after:
            found, expected = reader.result(root / "work"), self.expected(case.reader)
            silent = sorted(part for part in {*expected, *found} if expected.get(part) != found.get(part))
            wrong += [f"used in silence: {part} differs" for part in silent]
        shutil.rmtree(root)
        return f"{'; '.join(wrong)} [{case.name}] {ended.stderr.strip()[-300:]!r}" if wrong else ""


def cases(readers: Iterable[str], seeds: Iterable[int]) -> list[Case]:
    """Every damage of every file, read by each command."""
    return [
        Case(reader, file, damage, seed) for reader in readers for file in FILES for damage in DAMAGES for seed in seeds
    ]
