"""A hub on this machine: as much of its interface as pushing and reading a repository takes, kept in memory."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class Repositories:
    """Files by repository and revision.

    Args:
        files: of each repository, by name; a revision is the sum of its files.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.states: dict[tuple[str, str], dict[str, bytes]] = {}
        self.asked: list[str] = []

    def put(self, name: str, files: Mapping[str, bytes]) -> str:
        """Take a state of a repository; its revision."""
        self.files[name] = dict(files)
        text = json.dumps({path: hashlib.sha1(content).hexdigest() for path, content in sorted(files.items())})
        revision = hashlib.sha1(text.encode()).hexdigest()
        self.states[name, revision] = dict(files)
        return revision

    def at(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """A state by revision or branch."""
        if name not in self.files:
            return None
        if revision == "main":
            revision = self.put(name, self.files[name])
        found = self.states.get((name, revision))
        return None if found is None else (revision, found)


@contextmanager
def serving(repositories: Repositories) -> Iterator[str]:
    """Serve them; the endpoint."""

    class Handler(_Handler):
        known = repositories

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    known: Repositories
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self._body()
        words = unquote(urlsplit(self.path).path).strip("/").split("/")
        self.known.asked.append(f"POST {self.path}")
        if words[:3] == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'user'}/{asked['name']}"
            if name in self.known.files:
                return self._json({"error": "there is one", "url": f"http://{self.headers['Host']}/{name}"}, 409)
            self.known.private[name] = bool(asked.get("private")) or asked.get("visibility") == "private"
            self.known.put(name, {})
            return self._json({"url": f"http://{self.headers['Host']}/{name}"})
        if words[1] == "validate-yaml":
            return self._json({"errors": [], "warnings": []})
        name, action = "/".join(words[2:4]), words[4]
        if action == "preupload":
            files = json.loads(body)["files"]
            return self._json(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        files = dict(self.known.files[name])
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        revision = self.known.put(name, files)
        return self._json(
            {"commitUrl": f"http://{self.headers['Host']}/{name}/commit/{revision}", "commitOid": revision}
        )

    def do_HEAD(self) -> None:
        self._get(head=True)

    def do_GET(self) -> None:
        self._get(head=False)

    def _get(self, *, head: bool) -> None:
        words = unquote(urlsplit(self.path).path).strip("/").split("/")
        self.known.asked.append(f"{self.command} {self.path}")
        if words[:2] == ["api", "whoami-v2"]:
            return self._json({"name": "user", "type": "user", "orgs": []})
        if words[:2] == ["api", "models"]:
            return self._of_model("/".join(words[2:4]), words[4:])
        found = self.known.at("/".join(words[:2]), words[3]) if words[2:3] == ["resolve"] else None
        path = "/".join(words[4:])
        if found is None or path not in found[1]:
            return self._json(
                {"error": "not found"}, 404, {"X-Error-Code": "EntryNotFound" if found else "RepoNotFound"}
            )
        content = found[1][path]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": found[0]}
        return self._answer(b"" if head else content, 200, headers, length=len(content))

    def _of_model(self, name: str, rest: list[str]) -> None:
        found = self.known.at(name, rest[1] if len(rest) > 1 else "main")
        if found is None:
            code = "RepoNotFound" if name not in self.known.files else "RevisionNotFound"
            return self._json({"error": "not found"}, 404, {"X-Error-Code": code})
        revision, files = found
        if rest[:1] == ["tree"]:
            entries = [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ]
            return self._json(entries)
        siblings = [{"rfilename": path} for path in files]
        return self._json({"id": name, "modelId": name, "sha": revision, "siblings": siblings, "tags": []})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self, value: Any, code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self._answer(json.dumps(value).encode(), code, {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, content: bytes, code: int, headers: Mapping[str, str], length: int | None = None) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
