"""Runs what the documentation shows: Python blocks share one namespace per page, `sh` blocks one folder per page.

`bash` blocks are the README's two set-up commands, which the gate itself runs, as they stand, on a clean machine.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser


class ShellParser(CodeBlockParser):
    """Runs a block of shell commands with the environment's own programs first on the path."""

    language = "sh"

    def evaluate(self, example: Example) -> str | None:
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        finished = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", str(example.parsed)],
            cwd=example.namespace["folder"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if finished.returncode == 0:
            return None
        return f"exit code {finished.returncode}\n{finished.stdout}\n{finished.stderr}"


def enter(namespace: dict[str, object]) -> None:
    """A page's code and commands meet in one empty folder."""
    folder = tempfile.TemporaryDirectory()
    namespace.update(folder=folder.name, folder_object=folder, came_from=os.getcwd())
    os.chdir(folder.name)


def leave(namespace: dict[str, object]) -> None:
    os.chdir(str(namespace["came_from"]))
    folder = namespace["folder_object"]
    assert isinstance(folder, tempfile.TemporaryDirectory)
    folder.cleanup()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), ShellParser(), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/decisions/*.md"],
    setup=enter,
    teardown=leave,
).pytest()
