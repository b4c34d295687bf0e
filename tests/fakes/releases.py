"""GitHub on loopback: what a release holds, its files, a submodule's commit and a repository's tags; faults on request.

In a test: `with loopback_releases() as github:` then `github.add("ggml-org/llama.cpp", "b1", {"a.tar.gz": b"..."})`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class FakeGitHub:
    """Its state, which a test may change while it runs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}
        """By repository and tag."""
        self.digests: dict[str, str | None] = {}
        """Of files whose told hash is not that of their bytes; None: none is told."""
        self.submodules: dict[str, str] = {}
        """llama.cpp's commit by llama-cpp-python's tag."""
        self.tags: dict[str, str] = {}
        """Commit by tag."""
        self.asked: list[str] = []
        """Paths, with the first byte that was asked for: `GET /a.zip from 5`."""
        self.cut_after: list[int] = []
        """The next transfers end after so many bytes."""
        self.statuses: list[tuple[int, dict[str, str]]] = []
        """The next answers are these."""
        self.knows_ranges = True
        self.tamper: dict[str, list[bytes]] = {}
        """What the next transfers of a file bring in its place."""

    def add(self, repository: str, tag: str, files: Mapping[str, bytes]) -> None:
        """Publish a release."""
        self.files[repository, tag] = dict(files)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer as GitHub would."""
        fake = self.server.fake
        path = unquote(urlsplit(self.path).path)
        start = int((re.search(r"bytes=(\d+)-", self.headers.get("Range") or "") or ["", "0"])[1])
        fake.asked.append(f"{path} from {start}" if start else path)
        if fake.statuses:
            status, headers = fake.statuses.pop(0)
            self._send(status, b"", headers)
        elif found := re.fullmatch(r"/repos/([^/]+/[^/]+)/releases/tags/(.+)", path):
            self._listing(found[1], found[2])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/releases/download/([^/]+)/(.+)", path):
            self._file(found[1], found[2], found[3], start)
        elif path.endswith("/contents/vendor/llama.cpp"):
            commit = fake.submodules.get(urlsplit(self.path).query.partition("ref=")[2])
            answer = json.dumps({"type": "submodule", "sha": commit}).encode()
            self._send(200 if commit else 404, answer if commit else b"{}")
        elif path.endswith(".git/info/refs"):
            head = f"{'0' * 39}1 HEAD\0multi_ack thin-pack agent=git/github\n"
            lines = [head, *(f"{commit} refs/tags/{tag}\n" for tag, commit in fake.tags.items())]
            packets = "".join(f"{len(line) + 4:04x}{line}" for line in lines)
            self._send(200, f"001e# service=git-upload-pack\n0000{packets}0000".encode())
        else:
            self._send(404, b"{}")

    def _listing(self, repository: str, tag: str) -> None:
        fake = self.server.fake
        files = fake.files.get((repository, tag))
        assets = []
        for name, content in (files or {}).items():
            digest = fake.digests.get(name, hashlib.sha256(content).hexdigest())
            told = f"sha256:{digest}" if digest is not None else None
            assets.append({"name": name, "size": len(content), "digest": told, "browser_download_url": "elsewhere"})
        if files is None:
            self._send(404, b'{"message": "Not Found"}')
        else:
            self._send(200, json.dumps({"tag_name": tag, "assets": assets}).encode())

    def _file(self, repository: str, tag: str, name: str, start: int) -> None:
        fake = self.server.fake
        content = fake.files.get((repository, tag), {}).get(name)
        if content is None:
            self._send(404, b"")
            return
        if fake.tamper.get(name):
            content = fake.tamper[name].pop(0)
        headers = {}
        if start and fake.knows_ranges:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content = content[start:]
        cut = fake.cut_after.pop(0) if fake.cut_after else None
        self._send(206 if headers else 200, content, headers, cut)

    def _send(
        self, status: int, content: bytes, headers: Mapping[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    fake: FakeGitHub


@contextmanager
def loopback_releases() -> Iterator[FakeGitHub]:
    """A GitHub on a port of its own, until the end of the block."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.fake = FakeGitHub(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
