"""A model hub on this machine that speaks the parts of the real one's interface that a download needs."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

REVISION = "1234567890abcdef1234567890abcdef12345678"


@dataclass
class Hub:
    """What the server holds and how it behaves; `requests` are the (path, headers) that it got."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revision: str = REVISION
    token: str | None = None
    ranges: bool = True
    etag: str = '"one"'
    claimed_sha256: dict[str, str] = field(default_factory=dict)
    drop_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    web_page: bool = False
    content_host: str = ""
    pause: threading.Event | None = None
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def downloads(self) -> list[str]:
        """Names and ranges of the files that were asked for."""
        return [
            f"{path.rpartition('/')[2]} {headers.get('range', '')}".strip()
            for path, headers in self.requests
            if "/resolve/" in path
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append((path, {key.lower(): value for key, value in self.headers.items()}))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._describe(*found.groups())
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._serve(*found.groups())
        else:
            self._reply(404, b"")

    def _describe(self, repository: str, revision: str | None) -> None:
        files = self.hub.repositories.get(repository)
        if self.hub.web_page:
            self._reply(200, b"<html>Log in to the guest network</html>", {"Content-Type": "text/html"})
        elif files is None:
            self._reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision not in (None, self.hub.revision):
            self._reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            siblings = [self._sibling(name, content) for name, content in files.items()]
            info = {"id": repository, "sha": self.hub.revision, "siblings": siblings}
            self._reply(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _sibling(self, name: str, content: bytes) -> dict:
        sibling = {"rfilename": name, "size": len(content), "blobId": "0" * 40}
        if not name.endswith((".json", ".txt")):
            sha256 = self.hub.claimed_sha256.get(name, hashlib.sha256(content).hexdigest())
            sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
        return sibling

    def _serve(self, repository: str, revision: str, name: str) -> None:
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            status = 403 if "Authorization" in self.headers else 401
            self._reply(status, b"gated", {"X-Error-Code": "GatedRepo"})
        elif self.hub.content_host:
            self._reply(302, b"", {"Location": f"{self.hub.content_host}{self.path}"})
        elif self.hub.statuses:
            self._reply(self.hub.statuses.pop(0), b"busy")
        elif self.hub.web_page:
            self._reply(200, b"<html>Log in</html>", {"Content-Type": "text/html"})
        elif name not in self.hub.repositories.get(repository, {}):
            self._reply(404, b"", {"X-Error-Code": "EntryNotFound"})
        else:
            self._send(self.hub.repositories[repository][name])

    def _send(self, content: bytes) -> None:
        start = self._start(len(content))
        if start is None:
            self._reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", self.hub.etag)
        self.end_headers()
        if self.command == "GET":
            self._write(content[start:])

    def _start(self, length: int) -> int | None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        fits = self.headers.get("If-Range", self.hub.etag) == self.hub.etag
        if asked is None or not self.hub.ranges or not fits:
            return 0
        return int(asked[1]) if int(asked[1]) < length else None

    def _write(self, body: bytes) -> None:
        if self.hub.drop_after:
            self.wfile.write(body[: self.hub.drop_after.pop(0)])
            self.close_connection = True
            return
        half = len(body) // 2
        self.wfile.write(body[:half])
        if self.hub.pause is not None:
            self.wfile.flush()
            self.hub.pause.wait(20)
        self.wfile.write(body[half:])

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that goes away in the middle is what some tests are about."""


def start(hub: Hub) -> ThreadingHTTPServer:
    """Serve a hub on a free port; `shutdown` and `server_close` end it."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
