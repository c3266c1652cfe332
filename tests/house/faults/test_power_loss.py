"""Power cuts on a disk that loses what was not forced: what a save had promised is there, and the run ends bitwise."""

from functools import cache
from pathlib import Path
from random import Random

import pytest

from .blackout import Recorded, at_the_end, broken, record, survive
from .cases import CUTS, SEED
from .jobs import JOBS, Bases
from .power import LOSSES, Call, Disk, calls

recordings = cache(record)
"""Each command is recorded once."""


def recorded(bases: Bases, job: str) -> Recorded:
    """A command's cuts."""
    return recordings(bases, job, SEED)


@pytest.mark.parametrize(("job", "part"), [(job, i) for job, number in CUTS.items() for i in range(number)])
def test_power_cut(bases: Bases, job: str, part: int) -> None:
    cuts = recorded(bases, job).cuts
    cut = cuts[int((part + Random(f"{job} {part}").random()) / CUTS[job] * len(cuts))]
    assert survive(bases, job, recorded(bases, job), cut) == ""


@pytest.mark.parametrize("job", CUTS)
def test_no_cut_breaks_a_promise(bases: Bases, job: str) -> None:
    found = recorded(bases, job)
    assert [(cut.name, wrong) for cut in found.cuts for wrong in broken(found, cut)] == []


@pytest.mark.parametrize("job", CUTS)
def test_what_a_command_wrote_is_there_once_it_has_ended(bases: Bases, tmp_path: Path, job: str) -> None:
    for number, cut in enumerate(at_the_end(recorded(bases, job))):
        folder = cut.put(tmp_path / str(number))
        assert JOBS[job].result(folder) == bases.expected(job), cut.name


@pytest.mark.nightly
@pytest.mark.parametrize("job", CUTS)
@pytest.mark.parametrize("part", range(8))
def test_power_cuts_of_the_night(bases: Bases, job: str, part: int) -> None:
    found = recordings(bases, job, SEED + 1, draws=6)
    assert [wrong for cut in found.cuts[part::8] if (wrong := survive(bases, job, found, cut))] == []


TWINS = ["without_force", "without_force_of_folders", "without_force_of_lines", "checkpoints_unforced", "in_place"]


@pytest.mark.parametrize("twin", TWINS)
def test_wrong_twins_are_noticed(bases: Bases, twin: str) -> None:
    found = record(bases, "train", SEED, f"setups:{twin}")
    promises = any(True for cut in found.cuts for _ in broken(found, cut))
    assert promises or any(survive(bases, "train", found, cut) for cut in found.cuts)


ROOT = Path("/disk")


def disk(*operations: str) -> Disk:
    """A disk after operations such as "write a 0 text", "rename a b" or "fsync ."."""
    found = Disk(ROOT)
    for line in operations:
        operation, name, *rest = line.split()
        offset = int(rest[0]) if operation in ("write", "truncate") else 0
        data = rest[1].encode() if operation == "write" else b""
        second = str(ROOT / rest[0]) if operation == "rename" else ""
        assert found.do(Call(operation, offset, str(ROOT / name), second, data))
    return found


REPLACED = ["create a", "write a 0 old", "fsync a", "fsync .", "create b", "write b 0 new"]


def outcomes(*operations: str) -> set[bytes | None]:
    """What the file `a` may hold after a power cut; None where it is gone."""
    after = disk(*operations)
    seeds = [(loss, Random(seed)) for loss in LOSSES for seed in range(40)]
    return {after.after(loss, chance).get("a") for loss, chance in seeds}


def test_a_forced_file_that_is_renamed_is_old_or_new() -> None:
    assert outcomes(*REPLACED, "fsync b", "rename b a") == {b"old", b"new"}
    assert outcomes(*REPLACED, "fsync b", "rename b a", "fsync .") == {b"new"}


def test_an_unforced_file_that_is_renamed_may_be_empty_or_zeros() -> None:
    assert {b"old", b"new", b"", b"\0\0\0"} <= outcomes(*REPLACED, "rename b a", "fsync .") | {b"old"}


def test_a_file_in_a_folder_that_was_not_forced_may_be_gone() -> None:
    assert None in outcomes("create a", "write a 0 text", "fsync a")
    assert outcomes("create a", "write a 0 text", "fsync a", "fsync .") == {b"text"}


def test_a_deletion_may_be_undone() -> None:
    assert outcomes(*REPLACED[:4], "unlink a") == {b"old", None}
    assert outcomes(*REPLACED[:4], "unlink a", "fsync .") == {None}


def test_a_write_in_place_may_be_torn() -> None:
    long = "x" * 1500
    found = outcomes("create a", f"write a 0 {long}", "fsync a", "fsync .", f"write a 0 {'y' * 1500}")
    assert {long.encode(), b"y" * 1500} < found
    assert any(b"x" in content and b"y" in content for content in found if content)


def test_a_record_is_read_back() -> None:
    lines = b"create|5|0|0|/disk/a|\nwrite|5|3|4|/disk/a|\na|\nb!8|0|1|0|/disk/b|\nmark|0|0|0|saved 2|\n"
    assert [call.operation for call in calls(lines)] == ["create", "write", "!8", "mark"]
    assert list(calls(lines))[1] == Call("write", 3, "/disk/a", "", b"a|\nb")
