"""The loopback hub's answers: who may read, what is listed, where a file is, and its bytes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.fakes.hub_state import CHUNK_BYTES, FakeFile, FakeRepo, Faults, Route, Seen

if TYPE_CHECKING:
    from tests.fakes.hub import Hub

_NAME = r"(?P<repo>[^/]+/[^/]+)"
_ROUTES: tuple[tuple[Route, re.Pattern[str]], ...] = (
    ("refs", re.compile(rf"/api/models/{_NAME}/refs\Z")),
    ("tree", re.compile(rf"/api/models/{_NAME}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?\Z")),
    ("info", re.compile(rf"/api/models/{_NAME}(?:/revision/(?P<revision>[^/]+))?\Z")),
    ("cache", re.compile(rf"/api/resolve-cache/models/{_NAME}/(?P<revision>[^/]+)/(?P<path>.+)\Z")),
    ("cdn", re.compile(rf"/cdn/{_NAME}/(?P<revision>[^/]+)/(?P<path>.+)\Z")),
    ("resolve", re.compile(rf"/{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)\Z")),
)
SENDFILE_BYTES = 8 * 1024 * 1024
_RANGE = re.compile(r"bytes=(\d+)-(\d*)\Z")


@dataclass(frozen=True)
class _Target:
    """What a request turned out to be about."""

    repo: FakeRepo
    revision: str
    files: dict[str, FakeFile]
    path: str | None


class _Refused(Exception):  # noqa: N818 -- an answer, not an error
    def __init__(self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}
        if code:
            self.headers["X-Error-Code"] = code


class HubHandler(BaseHTTPRequestHandler):
    """One connection to the hub or to its CDN."""

    protocol_version = "HTTP/1.1"
    # Headers leave as one packet, without waiting for the client's acknowledgement of an earlier one (40 ms).
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True
    server_version = "loopback-hub"

    @property
    def hub(self) -> Hub:
        return cast("Hub", getattr(self.server, "hub"))  # noqa: B009 -- BaseServer does not know our attribute

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class's name
        """Say nothing: `Hub.requests` has it."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        self._route: Route = "unknown"
        for route, pattern in _ROUTES:
            if match := pattern.match(url.path):
                self._route = route
                break
        self._seen = Seen(
            route=self._route,
            method=self.command,
            path=self.path,
            range=self.headers.get("Range"),
            authorization=self.headers.get("Authorization"),
            peer=self.client_address,
        )
        self.hub.requests.add(self._seen)
        try:
            self._dispatch(match.groupdict() if match else {}, parse_qs(url.query))
        except _Refused as refused:
            body = refused.message.encode()
            if refused.status != 404:
                body = json.dumps({"error": refused.message}).encode()
            self._send(refused.status, {"X-Error-Message": refused.message, **refused.headers}, body)
        self.wfile.flush()

    def _dispatch(self, given: dict[str, str | None], query: dict[str, list[str]]) -> None:
        if self._route == "unknown":
            raise _Refused(404, None, "Not Found")
        self._show_fault(self.hub.faults)
        target = self._target(str(given["repo"]), unquote(given.get("revision") or "main"), given.get("path"))
        if self._route == "refs":
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": target.repo.head}
            self._send_json({"branches": [branch], "converts": [], "tags": []})
        elif self._route == "info":
            self._send_json(_info(target, blobs=query.get("blobs", ["false"])[0].lower() in {"true", "1"}))
        elif self._route == "tree":
            self._tree(target, query)
        else:
            self._file(target)

    def _target(self, name: str, revision: str, path: str | None) -> _Target:
        sent = self.headers.get("Authorization")
        repo = self.hub.repos.get(name)
        if self._route == "cdn":
            # The address is its own permission; real storage refuses one that comes with a second.
            if sent is not None:
                raise _Refused(400, None, "Only one auth mechanism allowed")
        elif repo is None or (repo.token is not None and sent != f"Bearer {repo.token}"):
            if repo is not None and repo.gated:
                raise _Refused(403 if sent else 401, "GatedRepo", f"Access to model {name} is restricted.")
            raise _Refused(404 if sent else 401, "RepoNotFound", "Repository not found")
        files = repo.at(revision) if repo else None
        if repo is None or files is None:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return _Target(repo=repo, revision=revision, files=files, path=unquote(path) if path else None)

    def _show_fault(self, faults: Faults) -> None:
        if faults.status is None or self._route not in faults.routes or faults.times == 0:
            return
        if faults.after_requests > 0:
            faults.after_requests -= 1
            return
        if faults.times is not None:
            faults.times -= 1
        headers = {} if faults.retry_after_s is None else {"Retry-After": str(faults.retry_after_s)}
        raise _Refused(faults.status, faults.error_code, faults.error_message or "fault on request", headers)

    def _tree(self, target: _Target, query: dict[str, list[str]]) -> None:
        recursive = query.get("recursive", ["false"])[0].lower() in {"true", "1"}
        entries = _tree_entries(target, recursive=recursive)
        start = int(query.get("cursor", ["0"])[0])
        end = start + self.hub.page_size
        headers = {}
        if end < len(entries):
            more = f"{self.hub.url}{urlsplit(self.path).path}?recursive={recursive}&cursor={end}"
            headers["Link"] = f'<{more}>; rel="next"'
        self._send_json(entries[start:end], headers)

    def _file(self, target: _Target) -> None:
        file = target.files.get(target.path or "")
        commit = target.repo.commit_of(target.revision)
        if file is None:
            raise _Refused(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        self._show_fault(file.faults)
        tail = f"{target.repo.name}/{commit}/{quote(target.path or '')}"
        if self._route == "resolve" and file.is_lfs:
            headers = {
                "Location": f"{self.hub.cdn_url}/cdn/{tail}?Expires=1893456000&Signature=loopback",
                "X-Repo-Commit": commit,
                "X-Linked-Size": str(file.size_bytes),
                "X-Linked-ETag": f'"{file.sha256}"',
                "Accept-Ranges": "bytes",
            }
            self._send(302, headers, b"Found. Redirecting")
        elif self._route == "resolve":
            self._send(307, {"Location": f"/api/resolve-cache/models/{tail}", "X-Repo-Commit": commit}, b"Redirecting")
        else:
            # Storage has an ETag of its own, which is neither the sha256 nor the git hash.
            own = hashlib.md5(file.etag.encode()).hexdigest()
            etag = file.etag if self._route == "cache" else own
            self._content(file, {"ETag": f'"{etag}"', **({"X-Repo-Commit": commit} if self._route == "cache" else {})})

    def _content(self, file: FakeFile, headers: dict[str, str]) -> None:
        faults = file.faults
        if faults.error_page is not None:
            self._send(200, {"Content-Type": "text/html"}, faults.error_page, with_length=faults.with_length)
            return
        if faults.served is not None:
            file = FakeFile(faults.served)
        size = file.size_bytes
        start, end, status = 0, size, 200
        match = _RANGE.match(self.headers.get("Range") or "")
        if match and not faults.ignore_range:
            start, end, status = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size), 206
            if start >= size:
                self._send(416, {"Content-Range": f"bytes */{size}"}, b"")
                return
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers |= {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        self._begin(status, {**headers, **self._framing(end - start, with_length=faults.with_length)})
        if self.command == "GET":
            self._stream(file, start, end)

    def _stream(self, file: FakeFile, start: int, end: int) -> None:
        faults = file.faults
        rate = faults.bytes_per_s or self.hub.faults.bytes_per_s
        chunk_bytes = CHUNK_BYTES if rate is None else max(1, min(CHUNK_BYTES, int(rate / 50)))
        cut_at = None if faults.cut_at is None or faults.cut_times == 0 or faults.cut_at < start else faults.cut_at
        if faults.cut_every is not None and start + faults.cut_every < end:
            cut_at = start + faults.cut_every
        wrong_at = file.size_bytes // 2 if faults.wrong_bytes else -1
        if isinstance(file.content, Path) and rate is None and cut_at is None and not faults.damages:
            self._send_file(file.content, start, end)
            return
        position = start
        for whole in file.read(start, end, chunk_bytes):
            chunk = whole
            if position <= wrong_at < position + len(chunk):
                at = wrong_at - position
                chunk = chunk[:at] + bytes([chunk[at] ^ 0xFF]) + chunk[at + 1 :]
            if faults.wrong_chunks > 0:
                faults.wrong_chunks -= 1
                chunk = chunk[:-1] + bytes([chunk[-1] ^ 0xFF])
            if cut_at is not None and position + len(chunk) >= cut_at:
                self._write(chunk[: cut_at - position])
                if faults.cut_times is not None:
                    faults.cut_times -= 1
                self.close_connection = True
                return
            self._write(chunk)
            position += len(chunk)
            if rate is not None and self.hub.stopping.wait(len(chunk) / rate):
                self.close_connection = True
                return

    def _send_file(self, path: Path, start: int, end: int) -> None:
        """From the page cache to the socket without a detour: a benchmark must not measure this server."""
        self.wfile.flush()
        with path.open("rb") as stream:
            while start < end and not self.hub.stopping.is_set():
                size = min(SENDFILE_BYTES, end - start)
                if sys.platform == "win32":
                    stream.seek(start)
                    sent = self.wfile.write(stream.read(size))
                else:
                    sent = os.sendfile(self.connection.fileno(), stream.fileno(), start, size)
                if sent == 0:
                    break
                start += sent
                self._seen.body_bytes += sent
        self.close_connection = self.close_connection or start < end

    def _write(self, chunk: bytes) -> None:
        self._seen.body_bytes += len(chunk)
        self.wfile.write(chunk)
        self.wfile.flush()

    def _send_json(self, data: Any, headers: dict[str, str] | None = None) -> None:
        self._send(200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(data).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes, *, with_length: bool = True) -> None:
        self._begin(status, {**headers, **self._framing(len(body), with_length=with_length)})
        if self.command == "GET":
            self._write(body)

    def _framing(self, n_bytes: int, *, with_length: bool) -> dict[str, str]:
        """How the client knows where the body ends: by its length, or by the end of the connection."""
        return {"Content-Length": str(n_bytes)} if with_length else {"Connection": "close"}

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self._seen.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _info(target: _Target, *, blobs: bool) -> dict[str, Any]:
    repo = target.repo
    return {
        "_id": repo.head[:24],
        "id": repo.name,
        "modelId": repo.name,
        "author": repo.name.partition("/")[0],
        "sha": repo.commit_of(target.revision),
        "lastModified": "2026-10-01T12:00:00.000Z",
        "private": repo.token is not None and not repo.gated,
        "gated": "auto" if repo.gated else False,
        "disabled": False,
        "downloads": 1,
        "likes": 1,
        "tags": ["gguf"],
        "siblings": [_sibling(path, file, blobs=blobs) for path, file in sorted(target.files.items())],
    }


def _sibling(path: str, file: FakeFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    lfs = {"lfs": {"sha256": file.sha256, "size": file.size_bytes, "pointerSize": 135}} if file.is_lfs else {}
    return {"rfilename": path, "size": file.size_bytes, "blobId": file.oid, **lfs}


def _tree_entries(target: _Target, *, recursive: bool) -> list[dict[str, Any]]:
    prefix = f"{target.path}/" if target.path else ""
    entries: dict[str, dict[str, Any]] = {}
    for path, file in sorted(target.files.items()):
        if not path.startswith(prefix):
            continue
        folders = path[len(prefix) :].split("/")[:-1]
        for depth in range(1, len(folders) + 1):
            folder = prefix + "/".join(folders[:depth])
            if recursive or depth == 1:
                oid = hashlib.sha1(folder.encode()).hexdigest()
                entries[folder] = {"type": "directory", "oid": oid, "size": 0, "path": folder}
        if recursive or not folders:
            lfs = {"lfs": {"oid": file.sha256, "size": file.size_bytes, "pointerSize": 135}} if file.is_lfs else {}
            entries[path] = {"type": "file", "oid": file.oid, "size": file.size_bytes, "path": path, **lfs}
    if not entries:
        raise _Refused(404, "EntryNotFound", f"{target.path} does not exist on {target.revision}")
    return list(entries.values())
