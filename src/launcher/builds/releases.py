"""Ask GitHub what a release holds, and which llama.cpp a version of llama-cpp-python vendors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from launcher.builds.shelf import Where
from launcher.errors import NetworkError, UsageError
from launcher.store.reach import Reach
from launcher.store.refusals import one_line

if TYPE_CHECKING:
    import ssl

    import httpx

TIMEOUT_S = 20.0
"""A listing of a release is some ten kilobytes; the list of all tags some megabytes, which a slow line brings in this
time between two of its packets."""
COMPILE = "gpt-oss engine install --how build"
"""The way that needs neither of GitHub's hosts."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TAG = re.compile(r"b\d+")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """One file of a release."""

    name: str
    size_bytes: int
    sha256: str | None
    """As GitHub computed it when the file was uploaded; None for files from before it did (June 2025)."""
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """What a release holds."""

    tag: str
    assets: tuple[Asset, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of its files."""
        return tuple(asset.name for asset in self.assets)

    def asset(self, name: str) -> Asset:
        """The file of that name, which is one of `names`."""
        return next(asset for asset in self.assets if asset.name == name)


def parse_release(data: Any, *, base: str) -> Release:
    """GitHub's answer as a record; files whose names are none that a folder could hold are left out.

    `base` is the address that files are under. Raises ValueError for anything else.
    """
    try:
        assets = tuple(
            Asset(
                name=each["name"],
                size_bytes=int(each["size"]),
                sha256=found[1] if (found := _SHA256.fullmatch(each.get("digest") or "")) else None,
                url=f"{base}/{quote(each['name'])}",
            )
            for each in data["assets"]
            if _PLAIN.fullmatch(each["name"])
        )
        return Release(tag=str(data["tag_name"]), assets=assets)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no listing of a release: {error!r}") from error


def parse_refs(text: str, commit: str) -> str | None:
    """The release tag of a commit, in what a git server tells of its references: `<length><commit> refs/tags/b11312`.

    Format: Documentation/gitprotocol-http.adoc of git, the answer of `info/refs`.
    """
    for line in text.split("\n"):
        found = re.fullmatch(r"[0-9a-f]{4}([0-9a-f]{40}) refs/tags/(\S+)", line)
        if found and found[1] == commit and _TAG.fullmatch(found[2]):
            return found[2]
    return None


def checked_address(text: str, what: str) -> str:
    """An address to ask or to fetch from, without its last slash.

    Raises:
        UsageError: it is none, or is not encrypted. A server on this machine need not be.
    """
    parts = urlsplit(text)
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not (secure and parts.hostname) or parts.query or parts.fragment:
        raise UsageError(
            f"{what} takes an address that begins with https://, not {text!r}", hint="gpt-oss engine install --help"
        )
    if parts.username or parts.password:
        raise UsageError(
            f"{what}: a password in an address ends up in records; put it in ~/.netrc",
            hint="gpt-oss engine install --help",
        )
    return text.rstrip("/")


class GitHub:
    """What GitHub tells. Nothing is sent but the names of what is asked for."""

    def __init__(self, where: Where, *, mirror: str | None = None, reach: Reach | None = None) -> None:
        """`mirror` takes the place of the host that serves files; what they must be is asked of GitHub all the same."""
        self._where = where
        self._api = checked_address(where.api, "api")
        self._site = checked_address(mirror or where.site, "--mirror")
        self._reach = reach or Reach()

    def release(self, repository: str, tag: str) -> Release | None:
        """What a release holds; None where there is no such release.

        Raises:
            NetworkError: it can't be asked.
        """
        base = f"{self._site}/{repository}/releases/download/{quote(tag, safe='')}"
        data = self._json(f"{self._api}/repos/{repository}/releases/tags/{quote(tag, safe='')}")
        if data is None:
            return None
        try:
            return parse_release(data, base=base)
        except ValueError as error:
            raise self._strange(error) from error

    def vendored(self, version: str) -> str | None:
        """The llama.cpp commit that a version of llama-cpp-python vendors: its submodule's. None for no such version.

        Raises:
            NetworkError: it can't be asked.
        """
        path = "contents/vendor/llama.cpp"
        data = self._json(f"{self._api}/repos/{self._where.bindings}/{path}?ref=v{quote(version, safe='')}")
        found = data.get("sha") if isinstance(data, Mapping) and data.get("type") == "submodule" else None
        return found if isinstance(found, str) and _COMMIT.fullmatch(found) else None

    def tag_of(self, commit: str) -> str | None:
        """The release of llama.cpp that was made of a commit; None where there is none.

        Raises:
            NetworkError: it can't be asked.
        """
        # git's own question: the API has none that goes from a commit to its tags.
        url = f"{self._where.site.rstrip('/')}/{self._where.llama_cpp}.git/info/refs?service=git-upload-pack"
        with self._answer(url, "*/*") as answer:
            return parse_refs(answer.text, commit)

    def _json(self, url: str) -> Any:
        with self._answer(url, "application/vnd.github+json") as answer:
            if answer.status_code == 404:
                return None
            try:
                return answer.json()
            except ValueError as error:
                raise self._strange(error) from error

    @contextmanager
    def _answer(self, url: str, accept: str) -> Iterator[httpx.Response]:
        import httpx

        self._reach_it(url)
        headers = {"User-Agent": "gpt-oss-launcher", "Accept": accept}
        try:
            answer = httpx.get(url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True, verify=certificates())
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NetworkError(
                f"{_host(url)}: {one_line(str(error)) or type(error).__name__}", url=url, hint=COMPILE
            ) from error
        if not (answer.is_success or answer.status_code == 404):
            raise refused(answer.status_code, answer.headers, url)
        yield answer

    def _reach_it(self, url: str) -> None:
        why = self._reach.why_not(url)
        if why is not None:
            raise NetworkError(f"no connection to {_host(url)}: {why}", url=url, hint=COMPILE)

    def _strange(self, error: Exception) -> NetworkError:
        what = "does not answer as GitHub does: a login page of this network may stand before it"
        return NetworkError(f"{_host(self._api)} {what}", url=self._api, hint=COMPILE, details=(one_line(str(error)),))


def refused(
    status: int, headers: Mapping[str, str], url: str, *, now_s: Callable[[], float] | None = None
) -> NetworkError:
    """What an answer other than the wanted one means to a person."""
    host = _host(url)
    if status in {403, 429} and headers.get("x-ratelimit-remaining") == "0":
        when = "within the hour"
        reset = headers.get("x-ratelimit-reset", "")
        if reset.isdigit():
            import time

            minutes = max(1, round((int(reset) - (now_s or time.time)()) / 60))
            when = f"in {minutes} min"
        return NetworkError(
            f"{host} answers no more questions from this address for now (60 an hour): try again {when}",
            url=url,
            status=status,
            hint=COMPILE,
        )
    return NetworkError(f"{host} answered {status}", url=url, status=status, hint=COMPILE)


@cache
def certificates() -> ssl.SSLContext:
    """Whom to trust, as httpx does: read once, which takes longer than a question."""
    import httpx

    return httpx.create_ssl_context()


def _host(url: str) -> str:
    return urlsplit(url).hostname or url
