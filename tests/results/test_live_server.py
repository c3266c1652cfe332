"""The page's server: this machine alone, the page itself alone, and nothing but predictions."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from email.message import Message
from typing import Any

import pytest

from metafunc.results.live import live
from metafunc.results.live_server import LiveServer, page, refused

from .page_cases import HOSTILE, run_folder

JSON = {"Content-Type": "application/json"}
POINT = {"points": [[0, 1]], "steps": 1}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    ready = live(run_folder(tmp_path_factory.mktemp("runs") / "run"))
    with LiveServer(ready, HOSTILE) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(server: LiveServer, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, content, {**(JSON if body is not None else {}), **named})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), answer.headers
    connection.close()
    return found


def test_the_page_is_whole_and_its_names_are_text(server: LiveServer) -> None:
    status, text, headers = ask(server, "GET", "/")
    assert status == 200
    assert HOSTILE not in text
    assert "&lt;script&gt;alert" in text
    assert text == page(server.live, HOSTILE)
    assert "connect-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_point_is_answered_by_a_prediction(server: LiveServer) -> None:
    status, text, _ = ask(server, "POST", "/adapt", POINT)
    assert status == 200
    assert json.loads(text)["mean"] == server.live.adapt(POINT)["mean"]


def test_other_methods_are_answered_as_everything_is(server: LiveServer) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "NONSENSE"):
        status, text, headers = ask(server, method, "/")
        assert (status, headers["Allow"]) == (405, "GET, HEAD, POST")
        assert json.loads(text) == {"error": "The page answers GET, HEAD and POST."}
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Python" not in headers["Server"]


def test_head_has_the_headers_of_the_page_and_nothing_else(server: LiveServer) -> None:
    status, text, headers = ask(server, "HEAD", "/")
    assert (status, text) == (200, "")
    assert headers["Content-Length"] == str(len(page(server.live, HOSTILE).encode()))
    assert ask(server, "HEAD", "/", Host="example.org")[0] == 403
    assert ask(server, "HEAD", "/other")[0] == 404


def test_what_is_no_request_is_answered_without_a_page_of_another_look(server: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n")  # more headers than there may be
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.0 431 ")
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2]) == {"error": "Too many headers"}


def test_it_listens_on_this_machine_alone(server: LiveServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_address[1]}/"


FOREIGN = {
    "another host": {"Host": "example.org"},
    "a host that begins alike": {"Host": "127.0.0.1.example.org"},
    "a host behind an at": {"Host": "127.0.0.1@example.org"},
    "another origin": {"Origin": "http://example.org"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "a page from a file": {"Origin": "null"},
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_comes_from_elsewhere_is_refused(server: LiveServer, name: str, method: str) -> None:
    path = "/" if method == "GET" else "/adapt"
    status, text, _ = ask(server, method, path, POINT if method == "POST" else None, **FOREIGN[name])
    assert status == 403
    assert json.loads(text).keys() == {"error"}


def test_two_hosts_are_refused() -> None:
    headers = Message()
    headers["Host"] = headers["host"] = "127.0.0.1"
    assert refused(headers) is not None
    assert refused(Message()) is not None


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "localhost"])
def test_the_page_itself_is_answered_also_through_a_tunnel(host: str) -> None:
    headers = Message()
    headers["Host"], headers["Origin"] = host, f"http://{host}"
    assert refused(headers) is None


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/adapt", {"points": [], "steps": 99}, {}, 400),
        ("/adapt", b"[1]", {}, 400),
        ("/adapt", b"{", {}, 400),
        ("/adapt", POINT, {"Content-Type": "text/plain"}, 400),
        ("/adapt", b" " * 70_000, {}, 400),
        ("/elsewhere", POINT, {}, 404),
        ("/../config.json", POINT, {}, 404),
    ],
)
def test_a_malformed_request_has_an_error_of_one_line(
    server: LiveServer, path: str, body: Any, headers: dict[str, str], status: int
) -> None:
    found, text, _ = ask(server, "POST", path, body, **headers)
    assert found == status
    assert "\n" not in json.loads(text)["error"]


def test_there_is_one_page(server: LiveServer) -> None:
    assert ask(server, "GET", "/config.json")[0] == 404
