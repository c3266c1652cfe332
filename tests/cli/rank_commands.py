"""Commands on finished runs that ranks share, as a program of its own, since it forks.

`python rank_commands.py FOLDER` prints the exit codes, and what files hold, as JSON.
"""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from forked import Case, forked
from metafunc_cli.__main__ import run

RUN = ("--quiet", "--steps", "2", "--num-tasks", "4", "--test-tasks", "2", "--test-steps", "1")
FEW = ("--quiet", "--num-tasks", "20", "--num-steps", "1", "--conformal", "0.9")
COMPARED = ("--quiet", "--no-figures", "--test-tasks", "51", "--test-steps", "1", "--shots", "2")


def command(*argv: str) -> Case:
    """A command as each rank runs it, which meets the others by itself."""

    def case(_: Any) -> int:
        with open("out.txt", "a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        return run(argv)

    return case


def kept_by_the_first(folder: Path) -> Case:
    """The comparison again, in a folder of which the second rank sees nothing, as on another machine."""

    def case(ranks: Any) -> int:
        if os.environ["RANK"] == "1":
            shutil.copytree(folder / "run", folder / "elsewhere" / "run")
            os.chdir(folder / "elsewhere")
        return int(command("compare", "run", *COMPARED, "--out", "on2")(ranks))

    return case


def sums(*files: Path) -> dict[str, str]:
    """The bits of files."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def main(folder: Path) -> dict[str, Any]:
    """Everything that is tried."""
    os.chdir(folder)
    found: dict[str, Any] = {"trained": forked(1, command("train", "maml", "sinusoid", *RUN, "--out", "run"), folder)}
    for size in (1, 2):
        codes = [
            forked(size, command("eval", "run", *FEW), folder, meets=False),
            forked(size, command("compare", "run", *COMPARED, "--out", f"on{size}"), folder, meets=False),
        ]
        tested = [*Path("run").glob("meta_test-*"), *Path("run").glob("evaluation-*")]
        if size == 2:  # again: what rank 0 alone knows of is no reason for it to leave the others waiting
            codes.append(forked(size, kept_by_the_first(folder), folder, meets=False))
        compared = [Path(f"on{size}") / f"compare.{kind}" for kind in ("json", "csv", "md")]
        found[size] = {"codes": codes, "bits": sums(*tested, *compared)}
        for file in tested:
            file.unlink()

    def other_meta(ranks: Any) -> int:
        if ranks.rank == 1:
            from metafunc.training import together

            together.sum_of = lambda meta: 0  # type: ignore[assignment]  # as if its folder held another run
        return int(command("eval", "run", *FEW)(ranks))

    for name, case in (
        ("training", command("compare", "--algorithms", "maml", "--tasks", "sinusoid")),
        ("split", command("eval", "run", "--split", "nope")),
        ("number", command("eval", "run", "--ranks", "3")),
        ("meta", other_meta),
    ):
        Path("out.txt").unlink()
        found[name] = {"codes": forked(2, case, folder, meets=False), "said": Path("out.txt").read_text()}
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(Path(sys.argv[1]))))
