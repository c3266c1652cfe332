"""A file of a run folder that is damaged: the command that reads it names it, makes it again, or was not misled."""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from .jobs import COMPARE, EVAL, PLOT, PREDICT, RESUME, Bases, compare_result, files, run_result, unacceptable

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


FILES = ("config.json", "env.json", "metrics.jsonl")


def _of_steps(*steps: int) -> tuple[str, ...]:
    files = ("manifest.json", "tensors.safetensors")
    return tuple(f"checkpoints/step-{step:09d}/{file}" for step in steps for file in files)


class Reader(NamedTuple):
    """A command that reads a run folder.

    Args:
        argv: its words.
        start: the folder that it starts from.
        result: what it ends with.
        files: those of the run.
        run: where the run lies.
        other: where another run lies.
    """

    argv: Sequence[str]
    start: str
    result: Callable[[Path], Mapping[str, Any]]
    files: tuple[str, ...] = (*FILES, "meta_test.json", *_of_steps(4, 6))
    run: str = "finished/work/run"
    other: str = "other/work/run"


def _resumed(work: Path) -> Mapping[str, Any]:
    return run_result(work / "run")


def _tested(work: Path) -> Mapping[str, Any]:
    return {p.name: p.read_bytes() for p in (work / "run").glob("meta_test-*.json")}


READERS = {
    "resume": Reader(RESUME, "finished", _resumed),
    "go on": Reader(RESUME, "interrupted", _resumed, (*FILES, *_of_steps(2, 4)), "interrupted/work/run"),
    "predict": Reader(PREDICT, "finished", lambda work: files(work / "out")),
    "eval": Reader(EVAL, "finished", _tested),
    "plot": Reader(PLOT, "finished", lambda work: files(work / "run" / "figures")),
    "compare": Reader(
        COMPARE,
        "compared",
        lambda work: compare_result(work / "compared"),
        (*FILES, "seconds.json", *_of_steps(3)),
        "compared/work/compared/maml-0",
        "compared/work/compared/fomaml-0",
    ),
}


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
        file = root.joinpath(*Path(reader.run).parts[1:]) / case.file
        before = file.read_bytes()
        self.bases.base(Path(reader.other).parts[0])
        other = self.bases.root / reader.other
        elsewhere = max(other.glob(re.sub(r"step-\d+", "step-*", case.file))).read_bytes()
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
        Case(reader, file, damage, seed)
        for reader in readers
        for file in READERS[reader].files
        for damage in DAMAGES
        for seed in seeds
    ]
