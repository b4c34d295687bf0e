"""Requests to the hub's `resolve` route, on httpx: where a file is, and its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from launcher.errors import NetworkError
from launcher.store.cache import is_blob_name, is_commit, is_sha256
from launcher.store.config import HubConfig
from launcher.store.reach import Reach
from launcher.store.refusals import Asked, one_line, refusal, retry_after_s, unreachable

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT_S = 10.0
"""A hub that has not answered a connection by then is not reachable from here; names resolve in far less."""
READ_TIMEOUT_S = 30.0
"""Silence in the middle of a transfer; slow links still bring a packet in this time, a dead one is noticed."""
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
"""Waits double between tries up to this, so that the tries below bridge two minutes: a router that dials in anew."""
TRIES_WITHOUT_BYTES = 9
"""Tries in a row that brought nothing before giving up; one that brought bytes starts the count anew."""
LOOK_UP_TRIES = 3
"""Of the small first question: nothing is lost yet, so a person hears of trouble within seconds."""
LONGEST_RETRY_AFTER_S = 120.0
"""What the hub may ask a transfer to wait, which tells a person meanwhile."""
LOOK_UP_RETRY_AFTER_S = 5.0
"""What the hub may ask a small question to wait, in silence."""
_MAX_REDIRECTS = 8
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


def may_pass(error: NetworkError) -> bool:
    """Whether it is the network's or the hub's trouble, which a mirror need not have, and no refusal."""
    return error.status is None or error.status in _TRANSIENT_STATUS


class TransientError(Exception):
    """Trouble that may pass: a cut connection, an overloaded hub. `error` is what a person is told if it does not."""

    def __init__(self, error: NetworkError, *, wait_s: float | None = None, connected: bool = True) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait_s = wait_s
        self.connected = connected


class Patience:
    """Decides how long to wait between tries, and ends when enough of them brought nothing."""

    def __init__(self, tries: int, longest_asked_s: float) -> None:
        """`longest_asked_s`: what the hub may ask us to wait; for more, a person decides."""
        self._tries = tries
        self._longest_asked_s = longest_asked_s
        self.failed = 0
        """Tries since something came."""

    def reset(self) -> None:
        """Something came: start counting anew."""
        self.failed = 0

    def wait_s(self, trouble: TransientError) -> float:
        """Seconds to wait before the next try. Raises the trouble's NetworkError when there is to be none."""
        self.failed += 1
        asked_s = trouble.wait_s
        if self.failed >= self._tries or (asked_s is not None and asked_s > self._longest_asked_s):
            raise trouble.error from trouble
        return min(FIRST_WAIT_S * 2 ** (self.failed - 1), LONGEST_WAIT_S) if asked_s is None else asked_s


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file at one commit, as the hub's answer to HEAD describes it."""

    asked: Asked
    url: str
    """Pinned to the commit. Every transfer starts here: the address that it redirects to is signed and expires."""
    commit: str
    etag: str
    size_bytes: int
    sha256: str | None
    ref: str | None
    """Branch that this commit is the head of, where that is known."""


def default_client(reach: Reach | None = None) -> httpx.Client:
    """The client that downloads use. It follows redirects; httpx drops the token at the first that leaves the host.

    A host that can't be reached is told within `REACH_TIMEOUT_S`, name and all addresses together; `reach` may know it
    already from an earlier question.

    Raises NetworkError where the environment names a proxy of a kind that it can't use.
    """
    import httpx

    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    hooks = {"request": [(reach or Reach()).hook]}
    try:
        return httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=_MAX_REDIRECTS, event_hooks=hooks)
    except (ImportError, ValueError, httpx.InvalidURL):
        # Without the reason's own text: it holds the address, and that may hold a password.
        raise NetworkError(
            "the environment names a proxy that downloads can't use: it has to be an http:// or https:// one",
            hint="env -u ALL_PROXY -u all_proxy gpt-oss pull",
        ) from None


class Connection:
    """The hub, through one HTTP client that the caller opens and closes."""

    def __init__(self, config: HubConfig, client: httpx.Client, sleep: Callable[[float], None]) -> None:
        self._config = config
        self._client = client
        self.sleep = sleep

    def look_up(self, asked: Asked) -> RemoteFile:
        """Ask for the commit, size and hash of one file; the mirrors, in order, where the hub can't be asked now.

        Raises NetworkError: the hub's refusal, or its trouble where no mirror could help.
        """
        try:
            return self._look_up(asked)
        except NetworkError as error:
            if not may_pass(error):
                raise
            for mirror in self._config.mirrors:
                try:
                    return self._look_up(replace(asked, endpoint=mirror))
                except NetworkError as other:
                    error.details += (f"The mirror {mirror} did not help: {other.message}",)
            raise

    def same_elsewhere(self, remote: RemoteFile) -> RemoteFile | None:
        """The very same file on the next mirror after the one that `remote` is on; None where no other has it."""
        endpoints = (self._config.endpoint, *self._config.mirrors)
        here = endpoints.index(remote.asked.endpoint) if remote.asked.endpoint in endpoints else 0
        for mirror in endpoints[here + 1 :]:
            try:
                found = self._head(
                    replace(remote.asked, endpoint=mirror, revision=remote.commit), remote.commit, ref=remote.ref
                )
            except NetworkError:
                continue
            if (found.etag, found.size_bytes) == (remote.etag, remote.size_bytes):
                return found
        return None

    def _look_up(self, asked: Asked) -> RemoteFile:
        # `main` first where a commit is wanted: one answer then tells the file, and whether the commit is main's.
        if not is_commit(asked.revision):
            return self._head(asked, asked.revision or "main", ref=asked.revision or "main")
        try:
            newest = self._head(asked, "main", ref="main")
        except NetworkError as error:
            if error.status != 404:
                raise
        else:
            if newest.commit == asked.revision:
                return newest
        return self._head(asked, str(asked.revision), ref=None)

    def _head(self, asked: Asked, revision: str, *, ref: str | None) -> RemoteFile:
        patience = Patience(LOOK_UP_TRIES, LOOK_UP_RETRY_AFTER_S)
        while True:
            try:
                headers, is_redirect = self._head_once(asked, revision)
                break
            except TransientError as trouble:
                if not trouble.connected:
                    raise trouble.error from trouble
                self.sleep(patience.wait_s(trouble))
        commit = headers.get("x-repo-commit")
        etag = (headers.get("x-linked-etag") or headers.get("etag") or "").removeprefix("W/").strip('"')
        size = headers.get("x-linked-size") or (None if is_redirect else headers.get("content-length"))
        if not is_commit(commit) or not is_blob_name(etag) or size is None or not size.isdigit():
            raise NetworkError(
                f"{asked.endpoint} does not answer as a hub does for {asked.path}: no commit, etag or size",
                url=asked.endpoint,
                hint="env -u HF_ENDPOINT gpt-oss plan",
            )
        linked = is_sha256(etag) and "x-linked-etag" in headers
        return RemoteFile(
            asked=asked,
            url=self._url(asked, str(commit)),
            commit=str(commit),
            etag=etag,
            size_bytes=int(size),
            sha256=etag if linked else None,
            ref=ref,
        )

    def _head_once(self, asked: Asked, revision: str) -> tuple[Mapping[str, str], bool]:
        """Follow redirects within the hub, where a renamed repository points; stop where one leaves for storage.

        The answer that leaves carries the file's metadata. What an earlier answer said stands where a later is silent.
        """
        url = self._url(asked, revision)
        known: dict[str, str] = {}
        for _ in range(_MAX_REDIRECTS):
            with self.request("HEAD", url, asked, follow_redirects=False) as response:
                known |= {name.lower(): value for name, value in response.headers.items()}
                target = urljoin(url, response.headers["location"]) if response.has_redirect_location else None
            if target is None or origin(target) != origin(url):
                return known, target is not None
            url = target
        raise NetworkError(f"{asked.endpoint} redirects in a circle for {asked.path}", url=url, hint=asked.retry)

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        asked: Asked,
        *,
        headers: Mapping[str, str] | None = None,
        follow_redirects: bool = True,
        accept: frozenset[int] = frozenset(),
    ) -> Iterator[httpx.Response]:
        """Open a request and yield its answer, body unread. Errors while the body is read pass through here as well.

        Raises TransientError for trouble that may pass, NetworkError for a refusal; statuses in `accept` are yielded.
        """
        import httpx

        # identity: a compressed answer has another length, and its ranges are not the file's.
        sent = {"Accept-Encoding": "identity", "User-Agent": "gpt-oss-launcher", **(headers or {})}
        if self._config.token is not None and origin(url) == origin(self._config.endpoint):
            sent["Authorization"] = f"Bearer {self._config.token}"
        try:
            with self._client.stream(method, url, headers=sent, follow_redirects=follow_redirects) as response:
                self._check(response, asked, accept)
                yield response
        except httpx.ConnectError as error:
            raise TransientError(unreachable(str(error), asked), connected=False) from error
        except httpx.TransportError as error:
            # Of an answer that ended early the library tells no more than how many bytes came.
            ended = str(error).startswith(("peer closed", "Server disconnected"))
            reason = "" if ended else f": {one_line(str(error)) or type(error).__name__}"
            message = f"the connection to {urlsplit(url).hostname} broke off{reason}"
            raise TransientError(NetworkError(message, url=bare(url), hint=asked.retry)) from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise unreachable(str(error), asked) from error

    def _check(self, response: httpx.Response, asked: Asked, accept: frozenset[int]) -> None:
        status = response.status_code
        if status in accept or response.is_success or response.has_redirect_location:
            return
        error = refusal(status, response.headers, asked)
        # Storage answers 403 to an address whose signature ran out; asking the hub again gives a fresh one.
        expired = status == 403 and bool(response.history)
        if status in _TRANSIENT_STATUS or expired:
            raise TransientError(error, wait_s=retry_after_s(response.headers))
        raise error

    @staticmethod
    def _url(asked: Asked, revision: str) -> str:
        path = quote(asked.path or "")
        return f"{asked.endpoint}/{asked.repo}/resolve/{quote(revision, safe='')}/{path}"


def bare(url: str) -> str:
    """An address without what follows the `?`: a signature there is a key to the file, which belongs in no message."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: what a token belongs to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
