"""The blocks that a newcomer follows: what they install is this checkout, and what fails in them is said."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from sybil.document import Document
from sybil.example import SybilFailure

ROOT = Path(__file__).parents[2]
SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(b"<html></html>")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(json.dumps({"mean": asked["points"]}).encode())

    def answer(self, body):
        self.send_response(CODE)
        self.end_headers()
        self.wfile.write(body)

with HTTPServer(("127.0.0.1", 0), Page) as server:
    print(f"a page: http://127.0.0.1:{server.server_address[1]}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(EXIT)
"""


@pytest.fixture(scope="module")
def shown() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "conftest.py")))


def follow(shown: SimpleNamespace, page: Path, text: str) -> None:
    """Run a page's blocks that set up, as the pages are run."""
    page.write_text(text)
    document = Document.parse(str(page), shown.SetUpParser())
    document.namespace["folder"] = str(page.parent)
    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("pip install metafunc\nmetafunc train", "'ROOT'\nmetafunc train"),
        ("pip install 'metafunc[sklearn]'", "'ROOT[sklearn]'"),
        ("pip install metafunc-more", None),
        ("pip install 'metafunc[sklearn]' nose", "'ROOT[sklearn]' nose"),
    ],
)
def test_what_is_installed_is_this_checkout(shown: SimpleNamespace, written: str, taken: str | None) -> None:
    expected = f"pip install -q -c 'ROOT/constraints.txt' {taken}" if taken else written
    assert shown.PACKAGE.sub(shown.CHECKOUT, written) == expected.replace("ROOT", str(ROOT))


def test_a_block_that_fails_is_said_with_its_line(shown: SimpleNamespace, tmp_path: Path) -> None:
    text = "```sh\nfalse\n```\n\n```bash\ntouch first\n{} | cat\ntouch last\n```\n"
    follow(shown, tmp_path / "page.md", text.format("true"))
    assert (tmp_path / "last").exists()
    with pytest.raises(SybilFailure, match=r"page.md, line 5, column 1 did not evaluate"):
        follow(shown, tmp_path / "page.md", text.format("false"))


@pytest.mark.parametrize(
    ("code", "exit_code", "wrong"), [(200, 0, None), (200, 3, "exit code 3"), (500, 0, "Internal Server Error")]
)
def test_a_server_is_asked_and_stopped(
    shown: SimpleNamespace, tmp_path: Path, code: int, exit_code: int, wrong: str | None
) -> None:
    (tmp_path / "server.py").write_text(SERVER.replace("CODE", str(code)).replace("EXIT", str(exit_code)))
    try:
        said = shown.served(f"'{sys.executable}' server.py", str(tmp_path))
    except OSError as error:
        said = str(error)
    assert said is None if wrong is None else wrong in said


def test_a_server_that_does_not_start_is_said(shown: SimpleNamespace, tmp_path: Path) -> None:
    assert "no such run" in shown.served("sh -c 'echo no such run; exit 2'", str(tmp_path))
