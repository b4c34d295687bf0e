"""Fetch the archives of a release: resumed where they broke off, and kept only where their sha256 is the right one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from launcher.builds.disk import told
from launcher.builds.releases import COMPILE, Asset, certificates, refused
from launcher.errors import DamagedFileError, DoesNotFitError, NetworkError
from launcher.store.disk import free_bytes, is_full, locked
from launcher.store.refusals import one_line
from launcher.store.types import NullProgress, ProgressSink
from launcher.units import format_bytes

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT_S = 10.0
"""A host that has not answered a connection by then is not reachable from here."""
READ_TIMEOUT_S = 30.0
"""Silence in the middle of a transfer; slow links still bring a packet in this time."""
TRIES_WITHOUT_BYTES = 5
"""In a row. Waits double from a second, so that they bridge a quarter of a minute."""
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class _BrokenOffError(Exception):
    """The transfer ended before the file did, or never began; `error` is what a person is told."""

    def __init__(self, error: NetworkError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetcher:
    """Where files go, and what tests give in place of the system's own."""

    folder: Path
    """Of the cache: what has come stays here until it is used."""
    retry: str
    """The command that goes on."""
    progress: ProgressSink = field(default_factory=NullProgress)
    wait: Callable[[float], None] = time.sleep
    free_bytes: Callable[[Path], int] = free_bytes

    def fetch(self, assets: tuple[Asset, ...]) -> tuple[Path, ...]:
        """All files, verified, in this order.

        Raises:
            DamagedFileError: a file has no sha256 to be verified with, or arrived damaged twice.
            NetworkError: the host can't be reached, refuses, or breaks off again and again. What came is kept.
            DoesNotFitError: the disk has no room for them.
        """
        import httpx

        for asset in assets:
            if asset.sha256 is None:
                raise DamagedFileError(
                    f"{asset.name} has no sha256 to be verified with: it is not fetched", path=asset.name, hint=COMPILE
                )
        with told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        here = sum(self._here_bytes(asset) for asset in assets)
        total = sum(asset.size_bytes for asset in assets)
        self._check_room(assets, total - here)
        self.progress.start(total, here, f"downloading {assets[0].name}" if assets else "")
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        try:
            with httpx.Client(timeout=timeout, follow_redirects=True, verify=certificates()) as client:
                return tuple(self._one(client, asset) for asset in assets)
        finally:
            self.progress.finish()

    def forget(self, assets: tuple[Asset, ...]) -> None:
        """Remove files that are not needed any more."""
        for asset in assets:
            for path in (self._final(asset), self._part(asset)):
                path.unlink(missing_ok=True)

    def _final(self, asset: Asset) -> Path:
        return self.folder / f"{str(asset.sha256)[:16]}-{asset.name}"

    def _part(self, asset: Asset) -> Path:
        # By its hash: a release that was made anew never continues an older one's file.
        return self.folder / f"{str(asset.sha256)[:16]}-{asset.name}.part"

    def _here_bytes(self, asset: Asset) -> int:
        found = (path.stat().st_size for path in (self._final(asset), self._part(asset)) if path.is_file())
        return min(next(found, 0), asset.size_bytes)

    def _check_room(self, assets: tuple[Asset, ...], missing: int) -> None:
        free = self.free_bytes(self.folder)
        if missing > free:
            name, needs, has = assets[0].name, format_bytes(missing), format_bytes(free)
            raise DoesNotFitError(
                f"{name} needs {needs} more on disk; {self.folder} has {has} free",
                needs_bytes=missing,
                has_bytes=free,
                hint=self._on_another_disk(),
            )

    def _on_another_disk(self) -> str:
        return f"GPT_OSS_CACHE_DIR=/folder/on/a/larger/disk {self.retry}"

    def _one(self, client: httpx.Client, asset: Asset) -> Path:
        final, part = self._final(asset), self._part(asset)
        self.progress.phase(f"downloading {asset.name}")
        waiting = lambda: self.progress.phase(f"another process is downloading {asset.name}: waiting for it")  # noqa: E731
        with told(self.folder), locked(self.folder / f"{final.name}.lock", waiting):
            if final.is_file():
                if _hash_of(final).hexdigest() == asset.sha256:
                    return final
                self._drop(final, asset)
            for again in (True, False):
                digest = self._bring(client, asset, part)
                if digest == asset.sha256:
                    part.replace(final)
                    return final
                self._drop(part, asset)
                if again:
                    self.progress.phase(f"{asset.name} arrived damaged: it is fetched again")
        raise DamagedFileError(
            f"{asset.name} arrived damaged twice and was deleted: its sha256 is {digest[:12]}…, "
            f"the release's {str(asset.sha256)[:12]}…",
            path=str(part),
            hint=self.retry,
        )

    def _drop(self, path: Path, asset: Asset) -> None:
        self.progress.advance(-min(path.stat().st_size, asset.size_bytes))
        path.unlink()

    def _bring(self, client: httpx.Client, asset: Asset, part: Path) -> str:
        """Fetch what is missing of a file; the sha256 of all of it."""
        digest = _hash_of(part) if part.is_file() else hashlib.sha256()
        done = part.stat().st_size if part.is_file() else 0
        if done > asset.size_bytes:
            part.unlink()
            digest, done = hashlib.sha256(), 0
        failed = 0
        while done < asset.size_bytes:
            before = done
            try:
                with closing(_Transfer(client, asset, done)) as transfer, part.open("r+b" if done else "wb") as file:
                    if transfer.begins_at == 0 and done:
                        # The host does not know ranges: from the start.
                        file.truncate(0)
                        self.progress.advance(-done)
                        digest, done = hashlib.sha256(), 0
                    file.seek(done)
                    for chunk in transfer.chunks():
                        wanted = chunk[: asset.size_bytes - done]
                        file.write(wanted)
                        digest.update(wanted)
                        done += len(wanted)
                        self.progress.advance(len(wanted))
                        if done >= asset.size_bytes:
                            break
            except _BrokenOffError as trouble:
                failed = 0 if done > before else failed + 1
                if failed >= TRIES_WITHOUT_BYTES:
                    raise self._with_kept(trouble.error, done, asset) from trouble
                self.wait(2.0 ** max(0, failed - 1))
            except OSError as error:
                if not is_full(error):
                    raise
                raise DoesNotFitError(
                    f"{asset.name} needs {format_bytes(asset.size_bytes - done)} more on disk, which is full",
                    needs_bytes=asset.size_bytes - done,
                    has_bytes=self.free_bytes(self.folder),
                    hint=self._on_another_disk(),
                ) from error
        return digest.hexdigest()

    def _with_kept(self, error: NetworkError, done: int, asset: Asset) -> NetworkError:
        kept = f"; {format_bytes(done)} of {format_bytes(asset.size_bytes)} are kept, and the same command goes on"
        return NetworkError(
            f"{error.message}{kept if done else ''}",
            url=error.url,
            status=error.status,
            hint=self.retry if done else error.hint,
        )


def _hash_of(path: Path) -> hashlib._Hash:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


class _Transfer:
    """One answer of the host, from a position on."""

    def __init__(self, client: httpx.Client, asset: Asset, start: int) -> None:
        import httpx

        self._url = asset.url
        headers = {"User-Agent": "gpt-oss-launcher", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            # An address that leads elsewhere, even to one without encryption, can't harm: the sha256 is GitHub's.
            self._answer = client.send(client.build_request("GET", asset.url, headers=headers), stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._broken(error) from error
        try:
            self.begins_at = self._begin(start)
        except BaseException:
            self.close()
            raise

    def _begin(self, start: int) -> int:
        answer = self._answer
        if answer.status_code == 206 and start:
            told_range = answer.headers.get("content-range", "")
            if told_range.startswith(f"bytes {start}-"):
                return start
        elif answer.status_code == 200:
            return 0
        error = refused(answer.status_code, answer.headers, self._url)
        if answer.status_code in _TRANSIENT:
            raise _BrokenOffError(error)
        raise error

    def chunks(self) -> Iterator[bytes]:
        """Bytes as they come. Raises _BrokenOffError where they end too early."""
        import httpx

        try:
            # As they come: with a size, what of it has come is lost where the transfer breaks off.
            yield from self._answer.iter_raw()
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise self._broken(error) from error
        # The length is compared by who asks; an answer that ends without an error may still be short.
        raise _BrokenOffError(NetworkError(f"{self._host} ended the transfer early", url=self._url, hint=COMPILE))

    def close(self) -> None:
        """Let go of the connection."""
        self._answer.close()

    @property
    def _host(self) -> str:
        return urlsplit(self._url).hostname or self._url

    def _broken(self, error: Exception) -> _BrokenOffError:
        import httpx

        if isinstance(error, httpx.ReadTimeout):
            what = f"{self._host} sends nothing any more"
        elif isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            what = f"no connection to {self._host}: {one_line(str(error)) or 'no answer'}"
        elif isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
            what = f"{self._host} broke the transfer off"
        else:
            what = f"{self._host}: {one_line(str(error)) or type(error).__name__}"
        return _BrokenOffError(NetworkError(what, url=self._url, hint=COMPILE))
