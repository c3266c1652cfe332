"""The page on which a learner adapts to clicked points, served to this machine alone.

It listens on 127.0.0.1, and answers to no other name: a page of another site that has its own name point here (DNS
rebinding) is refused by the header Host, and a page of another origin by Origin. Requests are JSON, which no form of
another site can send. Nothing is written, and no code is loaded.
"""

import json
import threading
from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from metafunc.results.html_parts import filled, read, script_data
from metafunc.results.live import Live
from metafunc.training import json_file

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")
MOST_BYTES = 1 << 16
"""Of a request."""
IDLE = 10.0
"""Seconds that a connection may say nothing."""
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class LiveServer(ThreadingHTTPServer):
    """A server of one learner's page; it has a port as soon as it is made.

    Args:
        live: the learner.
        run: the run's name, for the page.
        port: 0 for one that is free.

    Raises:
        OSError: the port cannot be had.

    Examples:
        >>> LiveServer.daemon_threads  # an open request does not keep the process
        True
    """

    daemon_threads = True

    def __init__(self, live: Live, run: str, port: int = 0) -> None:
        self.live = live
        self.lock = threading.Lock()
        self.page = page(live, run)
        super().__init__((ADDRESS, port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"


def page(live: Live, run: str) -> str:
    """The page, whole."""
    return filled(
        read("play.html"),
        {
            "TITLE": escape(live.title),
            "RUN": escape(run),
            "STYLE": read("common.css") + read("play.css"),
            "DATA": script_data(live.settings),
            "SCRIPT": read("play.js"),
        },
    )


def refused(headers: Any) -> str | None:
    """Why a request is not answered; None: it is from this machine, and from the page itself.

    Args:
        headers: of the request.

    Examples:
        >>> from email.message import Message
        >>> headers = Message()
        >>> headers["Host"] = "127.0.0.1:8000"
        >>> refused(headers)
        >>> headers["Origin"] = "http://example.org"
        >>> refused(headers)
        'http://example.org is another origin.'
    """
    hosts, origins = headers.get_all("Host", []), headers.get_all("Origin", [])
    if len(hosts) != 1 or _name(hosts[0]) not in NAMES:
        return f"{', '.join(hosts) or 'a host without a name'} is not this machine's own name."
    for origin in origins:
        if origin != f"http://{hosts[0]}":
            return f"{origin} is another origin."
    return None


def _name(host: str) -> str | None:
    try:
        found = urlsplit(f"//{host}")
        return found.hostname if found.netloc == host and "@" not in host else None
    except ValueError:
        return None


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: LiveServer
    timeout = IDLE
    server_version, sys_version = "metafunc", ""

    def do_GET(self) -> None:
        """Answer with the page."""
        if self._refuse():
            return
        if self.path != "/":
            self._json(HTTPStatus.NOT_FOUND, {"error": "There is one page, /."})
            return
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)

    def do_HEAD(self) -> None:
        """Answer with what would come before the page."""
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer another method, or what is no request, as all else is answered."""
        self.close_connection = True
        if code == HTTPStatus.NOT_IMPLEMENTED:
            said = {"error": "The page answers GET, HEAD and POST."}
            self._json(HTTPStatus.METHOD_NOT_ALLOWED, said, Allow="GET, HEAD, POST")
        else:
            self._json(HTTPStatus(code), {"error": message or HTTPStatus(code).phrase})

    def do_POST(self) -> None:
        """Answer with a prediction, or with functions that are drawn."""
        if self._refuse():
            return
        live = self.server.live
        work = {"/adapt": live.adapt, "/draw": live.draw}.get(self.path)
        if work is None:
            self._json(HTTPStatus.NOT_FOUND, {"error": "POST goes to /adapt or /draw."})
            return
        try:
            asked = self._body()
            with self.server.lock:
                answer = work(asked)
        except (ValueError, RuntimeError) as error:  # of what was asked, and of linear algebra on it
            self._json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            return
        self._json(HTTPStatus.OK, answer)

    def _refuse(self) -> bool:
        reason = refused(self.headers)
        if reason is not None:
            self.close_connection = True
            self._json(HTTPStatus.FORBIDDEN, {"error": reason})
        return reason is not None

    def _body(self) -> dict[str, Any]:
        """What was sent.

        Raises:
            ValueError: it is no JSON object, or is too long.
        """
        if self.headers.get_content_type() != "application/json":
            raise ValueError("A request has to be application/json.")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            raise ValueError(f"A request has to state its length, at most {MOST_BYTES} bytes.")
        return json_file.parse(self.rfile.read(int(length)), "The request")

    def _json(self, status: HTTPStatus, value: Mapping[str, Any], **more: str) -> None:
        self._send(status, "application/json", json.dumps(value, allow_nan=False), **more)

    def _send(self, status: HTTPStatus, kind: str, text: str, **more: str) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **HEADERS, **more}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the page shows what happens."""
