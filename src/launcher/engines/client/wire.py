"""One HTTP request, on the standard library.

httpx takes a tenth of a second to import: longer than a server on this machine takes to begin its answer. A connection
serves one request, since llama-server closes kept ones without saying so.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from launcher.engines.client import faults
from launcher.engines.client.dial import Interrupt, dial, proxy_headers, proxy_of
from launcher.engines.client.site import Key, Site, redirected

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Of an answer that is read whole: the longest prompt as tokens in JSON is a tenth of it."""
_MAX_ERROR_BYTES = 65_536
_PIECE_BYTES = 65_536
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 307, 308})


class Reply:
    """The head of an answer, and its body as it arrives."""

    def __init__(self, site: Site, response: http.client.HTTPResponse, interrupt: Interrupt) -> None:
        self._site = site
        self._response = response
        self._interrupt = interrupt
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}

    @property
    def kind(self) -> str:
        """Media type, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def read(self) -> bytes:
        """What has arrived of the body; empty at its end.

        Raises:
            LauncherError: the connection broke off.
            StoppedError: stopped from elsewhere.
        """
        try:
            piece = self._response.read1(_PIECE_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._interrupt.check()
            raise faults.broke_off(self._site, error) from error
        self._interrupt.check()  # a socket that was shut down reads as the end
        return piece

    def body(self, limit: int = MAX_DOCUMENT_BYTES) -> bytes:
        """The whole body, or its first `limit` bytes."""
        pieces: list[bytes] = []
        size = 0
        while size < limit and (piece := self.read()):
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)[:limit]


class Wire:
    """Requests to one server."""

    def __init__(self, site: Site, key: Key | None, interrupt: Interrupt) -> None:
        self.site = site
        self.key = key
        self.interrupt = interrupt

    @contextmanager
    def request(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Iterator[Reply]:
        """Ask, and give the answer with its body unread; the connection is closed at the end of the block.

        Redirects are followed on the same host alone.

        Raises:
            LauncherError: there is no answer, or it leads elsewhere.
            StoppedError: stopped from elsewhere.
        """
        site = self.site
        body = None if document is None else json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
        for _ in range(_MAX_REDIRECTS):
            with self._once(site, method, path, body) as reply:
                location = reply.headers.get("location")
                if reply.status not in _REDIRECTS or location is None:
                    yield reply
                    return
                target = redirected(site, path, location)
            if target is None:
                raise faults.leads_elsewhere(site, location)
            site, path = target
        raise faults.leads_elsewhere(site, path)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a small document; None where the body is no JSON."""
        with self.request("GET", path) as reply:
            return reply.status, _json(reply.body())

    def post(self, path: str, document: Mapping[str, Any]) -> tuple[int, Any]:
        """As `get`, with something to send."""
        with self.request("POST", path, document) as reply:
            return reply.status, _json(reply.body())

    @contextmanager
    def _once(self, site: Site, method: str, path: str, body: bytes | None) -> Iterator[Reply]:
        self.interrupt.check()
        try:
            proxy = proxy_of(site)
            sock = dial(site, proxy, self.interrupt)
        except OSError as error:
            self.interrupt.check()
            raise faults.unreachable(site, error) from error
        connection = http.client.HTTPConnection(site.host, site.port)
        connection.sock = sock
        response: http.client.HTTPResponse | None = None
        try:
            headers = self._headers(site)
            if body is not None:
                headers["Content-Type"] = "application/json"
            target = path
            if proxy is not None and site.scheme == "http":
                target = f"http://{site.netloc}{path}"
                headers |= proxy_headers(proxy)
            try:
                # A server that refuses a long body need not read it to its end: its answer may be there all the same.
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, target, body, headers)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self.interrupt.check()
                raise faults.no_http(site, error) from error
            self.interrupt.check()
            yield Reply(site, response, self.interrupt)
        finally:
            self.interrupt.watch(None)
            # The response keeps the socket open as long as it is open itself.
            if response is not None:
                response.close()
            connection.close()
            sock.close()

    def _headers(self, site: Site) -> dict[str, str]:
        headers = {
            "Accept": "text/event-stream, application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "Host": site.netloc,
            "User-Agent": "gpt-oss-launcher",
        }
        return headers if self.key is None else headers | {"Authorization": f"Bearer {self.key.text}"}


def error_body(reply: Reply) -> bytes:
    """The beginning of a refusal's body."""
    return reply.body(_MAX_ERROR_BYTES)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
