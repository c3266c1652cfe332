"""Whatever a user types or has, a command ends in 0, 2 or 3 and one message: exit code 1 is for defects alone."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metafunc_cli.errors import DATA, USAGE, check_words, expected

from .no_defect import REGRESSION, ROWS, TRAIN, check, ended, folder_of

NAMES = st.sampled_from([
    "run", "table.csv", "table.parquet", "task.csv", "kept.csv", "cut.parquet", "damaged.parquet", "empty.parquet",
    "empty.csv", "nul.csv", "latin.csv", "header.csv", "wide.csv", "quote.csv", "file", "folder", "folder.csv",
    "folder.parquet", "fifo", "null.csv", "loop.csv", "loop.csv/x.csv", "file/x", "file/x.csv", "absent/x.csv",
    "a" * 300, "a" * 300 + ".csv", os.fsdecode(b"\xff\xfe"), os.fsdecode(b"\xff.csv"), "", "/proc/x", "/proc/x.csv",
    "\x1b[31m.csv", "[bold].csv", "-", "=1.csv",
])  # fmt: skip
NUMBERS = st.sampled_from(
    ["-1", "0", str(10**30), "nan", "inf", "-inf", "1e400", "", "x", str(2**63), str(-(2**63) - 1), "1_0", "9" * 5000]
)
SIZES = ["--steps", "--num-tasks", "--repeats", "--seed", "--test-tasks", "--test-steps", "--validate-every", "--clip"]
SIZES += ["--checkpoint-every", "--chunk-size", "--threads", "--num-steps", "--model.hidden", "--data.num-shots"]
SIZES += ["--outer-lr", "--inner-lr", "--data.num-queries"]
SINUSOID = ["train", "maml", "sinusoid", *TRAIN]
PREDICT = ["predict", "run", "--support", "task.csv", "--query", "task.csv", "--out", "new.csv", "--overwrite"]


@st.composite
def with_names(draw: st.DrawFn) -> list[str]:
    """A command with a name where it takes one."""
    name = draw(NAMES)
    return draw(
        st.sampled_from([
            [*SINUSOID, "--dry-run", "--out", name], ["train", "--resume", name], ["train", "--config", name],
            [*SINUSOID, "--init-from", name, "--dry-run"], [*REGRESSION, name, "--dry-run"],
            ["eval", name], ["eval", "run", "--num-tasks", "2", "--data.path", name], ["plot", name], ["compare", name],
            ["compare", "run", name], ["compare", "run", "--out", name, "--test-tasks", "2", "--no-figures"],
            [*PREDICT, "--support", name], [*PREDICT, "--query", name], [*PREDICT[:-1], "--out", name],
            ["predict", name, *PREDICT[2:]], ["check", name], [name], ["train", name], ["train", "maml", name],
        ])
    )  # fmt: skip


@st.composite
def with_numbers(draw: st.DrawFn) -> list[str]:
    """A command with a number that is none, or too large, or too small."""
    number, size = draw(NUMBERS), draw(st.sampled_from(SIZES))
    how = draw(st.sampled_from([[size, number], [f"{size}={number}"]]))
    other = [["eval", "run", "--num-tasks", "2", "--num-steps"], ["eval", "run", "--num-tasks"]]
    other += [["compare", "run", "--no-figures", "--test-tasks"], ["check", "scratch", "--input-shape"]]
    other += [[*PREDICT, "--num-steps"], [*PREDICT, "--seed"]]
    return draw(st.sampled_from([[*SINUSOID, "--json", *how], *([*words, number] for words in other)]))


@st.composite
def with_tables(draw: st.DrawFn) -> tuple[str, bytes]:
    """A table that was cut off, changed or never one."""
    content = draw(st.sampled_from([ROWS.encode(), b"task,x,y\n1,2,3\n", b"", b"\xef\xbb\xbf" + ROWS.encode()]))
    where = draw(st.integers(0, len(content)))
    cut, more = draw(st.integers(0, 20)), draw(st.binary(max_size=20) | st.text(max_size=10).map(str.encode))
    return draw(st.sampled_from([".csv", ".parquet"])), content[:where] + more + content[where + cut :]


QUIETLY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("surroundings"))


@QUIETLY
@given(argv=with_names())
def test_names(argv: list[str], folder: Path) -> None:
    check(folder, argv)


@QUIETLY
@given(argv=with_numbers())
def test_numbers(argv: list[str], folder: Path) -> None:
    check(folder, argv, 0, USAGE, DATA, 4)


@settings(QUIETLY, max_examples=25)
@given(table=with_tables())
def test_tables(table: tuple[str, bytes], folder: Path) -> None:
    suffix, content = table
    (folder / f"drawn{suffix}").write_bytes(content)
    check(folder, [*REGRESSION, f"drawn{suffix}", "--dry-run"])
    check(folder, [*PREDICT, "--query", f"drawn{suffix}"])


@pytest.mark.nightly
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(argv=with_names() | with_numbers(), table=with_tables())
def test_many(argv: list[str], table: tuple[str, bytes], folder: Path) -> None:
    check(folder, argv, 0, USAGE, DATA, 4)
    test_tables.hypothesis.inner_test(table, folder)  # type: ignore[attr-defined]  # hypothesis keeps it there


@pytest.mark.parametrize("name", ["a" * 300, "file/x", "loop.csv", "/proc/x"])
@pytest.mark.parametrize("words", [[*SINUSOID, "--out"], ["compare", "run", "--test-tasks", "2", "--out"]])
def test_a_name_that_cannot_be_a_folder_is_a_usage_error(folder: Path, words: list[str], name: str) -> None:
    code, err = ended(folder, [*words, name])
    assert code == USAGE
    assert name in err
    assert len(err.splitlines()) == 1


def test_a_damaged_table_is_unavailable_data(folder: Path) -> None:
    for name in ("cut.parquet", "damaged.parquet", "empty.parquet"):
        for words in ([*PREDICT, "--support", name], [*REGRESSION, name]):
            code, err = ended(folder, words)
            assert code == DATA, (words, err)
            assert name in err


def test_what_the_system_refuses_is_no_defect() -> None:
    assert expected(OSError(28, "No space left on device")) == ("No space left on device.", DATA)
    found = expected(IsADirectoryError(21, "Is a directory", "d/.0123abcd.unfinished.out.csv", None, "d/out.csv"))
    assert found[0].startswith("d/out.csv: Is a directory. Give another path")
    assert found[1] == USAGE
    absent = expected(FileNotFoundError(2, "Not there", "d/.0123abcd.unfinished.o.csv"))[0]
    assert absent.startswith("d/o.csv: Not there. Give another path")
    assert expected(RuntimeError("can't start new thread"))[1] == DATA
    assert expected(RuntimeError("DefaultCPUAllocator: can't allocate memory"))[1] == DATA
    assert expected(MemoryError())[1] == DATA
    assert expected(RuntimeError("out of luck"))[1] == 1
    assert expected(KeyError("x"))[1] == 1


def test_seeds_may_be_of_any_size_and_sizes_up_to_what_a_machine_counts_to() -> None:
    check_words(["train", "--seed", str(10**30), f"--data.split-seed={10**30}", "--steps", str(2**63 - 1)])
    assert sys.maxsize == 2**63 - 1
