"""Any damage of any file of a run folder: it is named, made good, or of no consequence; never used in silence."""

import shutil
from pathlib import Path
from random import Random

import pytest

from .cases import DAMAGED, GATE_DAMAGE, NIGHTLY_DAMAGE
from .corruption import DAMAGES, READERS, Case, Readers
from .machine import Machine

names = {"ids": lambda case: case.name}


@pytest.mark.parametrize("case", GATE_DAMAGE, **names)
def test_damage(readers: Readers, case: Case) -> None:
    assert readers.read(case) == ""


@pytest.mark.nightly
@pytest.mark.parametrize("case", NIGHTLY_DAMAGE, **names)
def test_damage_of_the_night(readers: Readers, case: Case) -> None:
    assert readers.read(case) == ""


@pytest.mark.parametrize("name", DAMAGED)
def test_known_damage(readers: Readers, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, file, old, new = DAMAGED[name]

    def edited(content: bytes, _: Random, __: bytes) -> bytes:
        assert old in content
        return content.replace(old, new)

    monkeypatch.setitem(DAMAGES, name, edited)
    assert readers.read(Case(reader, file, name, 0)) == ""


def test_every_damage_changes_a_file(tmp_path: Path) -> None:
    content = b'{\n  "first": 0.25,\n  "second": 3\n}\n'
    for name, damage in DAMAGES.items():
        changed = {damage(content, Random(seed), b"other") for seed in range(8)}
        assert changed - {content}, name


def _other_tensors(content: bytes, *_: object) -> bytes:
    """A bit of every number flipped, in a file that remains well formed."""
    start = 8 + int.from_bytes(content[:8], "little")
    return content[:start] + bytes(byte ^ 1 for byte in content[start:])


def test_a_checkpoint_used_without_its_sums_is_noticed(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DAMAGES, "other tensors", _other_tensors)
    case = Case("predict", "checkpoints/step-000000006/tensors.safetensors", "other tensors", 0)
    assert readers.read(case) == ""
    assert "used in silence" in readers.read(case, "setups:without_sums")


@pytest.mark.parametrize("reader", ["resume", "predict"])
def test_a_whole_checkpoint_of_another_run_is_named(readers: Readers, machine: Machine, reader: str) -> None:
    root = readers.bases.begin("finished")
    checkpoints = root / "work/run/checkpoints"
    other = readers.bases.base("other") / "work/run/checkpoints"
    shutil.rmtree(checkpoints)
    shutil.copytree(other, checkpoints)
    ended = machine.run(root, READERS[reader].argv)
    assert ended.code in (2, 3), ended
    assert "run/" in ended.stderr
