"""Runs what the documentation shows: Python blocks share one namespace per page, `sh` blocks one folder per page.

`bash` blocks set up or serve. The README's the gate itself runs, as they stand, on a clean machine; those of the pages
are run where METAFUNC_NEWCOMER is set, as `nox -s newcomer` sets it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.request import Request, urlopen

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

# What a shell starts in the background ignores SIGINT, and so would all that is started here and interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent
PACKAGE = re.compile(r"pip install '?metafunc(\[\w+\])?'?(?!\S)")
CHECKOUT = rf"pip install -q -c '{ROOT}/constraints.txt' '{ROOT}\1'"
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/")
ASKED = {"points": [[-1.0, 0.5], [2.0, -0.5]], "steps": 1}
"""Two points that are clicked, as the page of `metafunc play` sends them."""


class ShellParser(CodeBlockParser):
    """Runs a block of shell commands with the environment's own programs first on the path."""

    language = "sh"
    seconds = 300

    def evaluate(self, example: Example) -> str | None:
        finished = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.commands(example)],
            cwd=example.namespace["folder"],
            env=surroundings(),
            capture_output=True,
            text=True,
            timeout=self.seconds,
            check=False,
        )
        if finished.returncode == 0:
            return None
        return f"exit code {finished.returncode}\n{finished.stdout}\n{finished.stderr}"

    def commands(self, example: Example) -> str:
        return str(example.parsed)


class SetUpParser(ShellParser):
    """Runs a block that installs, this checkout in place of the package of an index, or one that serves a page."""

    language = "bash"
    seconds = 1800

    def evaluate(self, example: Example) -> str | None:
        if not self.commands(example).startswith("metafunc play"):
            return super().evaluate(example)
        return served(self.commands(example), example.namespace["folder"])

    def commands(self, example: Example) -> str:
        return PACKAGE.sub(CHECKOUT, str(example.parsed))


def surroundings() -> dict[str, str]:
    """What commands find: this environment's programs first, and no browser to open."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": programs, "BROWSER": "true"}


def served(command: str, folder: str) -> str | None:
    """Start a server, load its page, let its learner adapt to two points, and stop it by Ctrl-C; what went wrong."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    server = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=folder, env=surroundings(), **settings)
    try:
        said = ""
        while not (found := ADDRESS.search(said)) and (line := server.stdout.readline()):
            said += line
        if found:
            request = Request(f"{found[0]}adapt", json.dumps(ASKED).encode(), {"Content-Type": "application/json"})
            with urlopen(found[0]) as page, urlopen(request) as answer:
                shown = b"<html" in page.read() and bool(json.load(answer)["mean"])
    finally:
        server.send_signal(signal.SIGINT)
        said += server.communicate(timeout=60)[0]
    return None if found and shown and server.returncode == 0 else f"exit code {server.returncode}\n{said}"


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


newcomer = [SetUpParser()] if os.environ.get("METAFUNC_NEWCOMER") else []
pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), ShellParser(), SkipParser(), *newcomer],
    patterns=["README.md", "docs/*.md", "docs/decisions/*.md"],
    setup=enter,
    teardown=leave,
).pytest()
