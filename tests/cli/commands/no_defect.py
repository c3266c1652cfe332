"""Runs a command line as a user would, and holds how it ends against what is promised."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pandas
from metafunc_cli.__main__ import run

TRAIN = ["--steps", "1", "--num-tasks", "2", "--test-tasks", "2", "--test-steps", "1", "--quiet"]
REGRESSION = ["train", "maml", "regression", "--data.num-shots", "3", *TRAIN, "--data.path"]
ROWS = "\n".join(["task,x,y", *(f"{task},{x},{task * x}" for task in range(12) for x in range(8))]) + "\n"
DONE, USAGE, DATA, DIVERGED = 0, 2, 3, 4


def folder_of(folder: Path) -> Path:
    """A folder with a run, `run`, and with entries of every kind that a name can point at by mistake."""
    (folder / "table.csv").write_text(ROWS)
    (folder / "task.csv").write_text("x,y\n1,2\n2,3\n")
    (folder / "kept.csv").write_text("kept")
    pandas.read_csv(folder / "table.csv").to_parquet(folder / "table.parquet")
    whole = (folder / "table.parquet").read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 0xFF
    damaged[-20] ^= 0xFF
    contents = {
        "cut.parquet": whole[: len(whole) // 2], "damaged.parquet": bytes(damaged), "empty.parquet": b"",
        "empty.csv": b"", "nul.csv": ROWS.encode().replace(b"1", b"\0"), "latin.csv": b"t\xe4sk,x,y\n1,2,3\n",
        "header.csv": b"task,x,y\n", "wide.csv": ROWS.encode("utf-16"), "quote.csv": b'task,x,y\n"1,2,3\n',
        "file": b"x", "config.json": b"{}",
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    for name in ("folder", "folder.csv", "folder.parquet"):
        (folder / name).mkdir()
    (folder / "fifo").mkdir()
    os.mkfifo(folder / "fifo/fifo.csv")
    (folder / "null.csv").symlink_to("/dev/null")
    (folder / "loop.csv").symlink_to("loop.csv")
    assert ended(folder, [*REGRESSION, "table.csv", "--out", "run"])[0] == DONE
    return folder


def ended(folder: Path, argv: list[str]) -> tuple[int, str]:
    """The exit code and what is on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run(argv)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    return code, err.getvalue()


def check(folder: Path, argv: list[str], *codes: int) -> None:
    """Run, and refuse any other ending than these, a defect's message, and what is half written."""
    code, err = ended(folder, argv)
    assert code in (codes or (DONE, USAGE, DATA)), (code, argv, err)
    assert "Traceback" not in err, argv
    assert "METAFUNC_TRACEBACK" not in err, (argv, err)
    assert code == DONE or err.strip(), argv
    assert (folder / "kept.csv").read_text() == "kept"
    assert not [*unfinished(folder)], argv


def unfinished(folder: Path) -> Iterator[Path]:
    """What a writer has left behind."""
    return folder.rglob("*unfinished*")
