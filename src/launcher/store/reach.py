"""Is there a way to a host at all? Asked once before the first request, with one deadline for name and connection.

An HTTP client's own time-outs do not bound this: looking a name up where no resolver answers takes 10 to 40 s and can't
be cut, and each of a host's addresses (eight, of the hub) gets the whole time-out of a connection.
"""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from launcher.store.refusals import Asked, unreachable
from launcher.store.small import read_small, write_json

if TYPE_CHECKING:
    import httpx

REACH_TIMEOUT_S = 8.0
"""A resolver's own second try comes after 5 s, and an answer to it must still count; a connection takes under one."""
QUIET_S = 1.5
"""After so long a person is told what is being waited for."""
KEPT_FOR_S = 60.0
"""Who types another command within a minute has not mended the network; for longer nobody should hear of the past."""
_KEPT_BYTES = 1000
_PORTS = {"https": 443, "http": 80, "socks5": 1080, "socks5h": 1080}

Address = tuple[str, int]


def _connect(address: Address, timeout_s: float) -> None:
    socket.create_connection(address, timeout=timeout_s).close()


class Reach:
    """What could be reached by this command, and what could not: neither is asked for twice."""

    def __init__(
        self,
        *,
        timeout_s: float = REACH_TIMEOUT_S,
        connect: Callable[[Address, float], None] = _connect,
        tell: Callable[[str], None] = lambda _: None,
        kept: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`kept`: a file in which a host that does not answer is noted, so that the next command need not wait too."""
        self._kept = kept
        self._now = now
        self._timeout_s = timeout_s
        self._tell = tell
        self._connect = connect
        self._found: dict[Address, str | None] = {}

    def check(self, url: str) -> None:
        """Raise NetworkError, within the deadline, where no connection to the host of `url` (or its proxy) is had."""
        why = self.why_not(url)
        if why is not None:
            raise unreachable(why, Asked(endpoint=url, repo=""))

    def hook(self, request: httpx.Request) -> None:
        """The same for an httpx client, as its event hook of requests, with httpx's own error.

        Failures are not remembered: a download tries again, and a network comes back.
        """
        import httpx

        why = self.why_not(str(request.url))
        if why is not None:
            self._found = {address: found for address, found in self._found.items() if found is None}
            raise httpx.ConnectError(why, request=request)

    def why_not(self, url: str) -> str | None:
        """Why the first hop to `url` can't be reached, in words; None where it can."""
        try:
            address = first_hop(url)
        except ValueError:
            address = None
        if address is None:
            return None  # nothing that a connection could go to: the request itself says so
        if address not in self._found:
            self._found[address] = self._try(address)
        return self._found[address]

    def _try(self, address: Address) -> str | None:
        if (ago_s := self._unanswered_ago_s(address)) is not None:
            return f"no answer within {self._timeout_s:.0f} s, {ago_s:.0f} s ago (it is asked again after a minute)"
        answer: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        def attempt() -> None:
            try:
                self._connect(address, self._timeout_s)
            except (OSError, ValueError, OverflowError) as error:
                answer.put(getattr(error, "strerror", None) or str(error) or type(error).__name__)
            else:
                answer.put(None)

        # A daemon: nothing can end a look-up that hangs, and the process must not wait for it.
        threading.Thread(target=attempt, daemon=True).start()
        quiet_s = min(QUIET_S, self._timeout_s)
        with suppress(queue.Empty):
            return answer.get(timeout=quiet_s)
        self._tell(f"waiting for {address[0]}, {self._timeout_s:.0f} s at most; --offline asks nothing of the network")
        with suppress(queue.Empty):
            return answer.get(timeout=self._timeout_s - quiet_s)
        if self._kept is not None:
            with suppress(OSError):  # then the next command waits as well
                write_json(self._kept, [*address, self._now()])
        return f"no answer within {self._timeout_s:.0f} s"

    def _unanswered_ago_s(self, address: Address) -> float | None:
        """Seconds since an earlier command waited for this host in vain; None where none did, or not lately."""
        if self._kept is None:
            return None
        try:
            host, port, at_s = json.loads(read_small(self._kept, limit_bytes=_KEPT_BYTES))
            ago_s = self._now() - float(at_s)
        except (OSError, ValueError, TypeError, OverflowError, RecursionError):
            return None
        return ago_s if (host, port) == address and 0 <= ago_s < KEPT_FOR_S else None


def first_hop(url: str) -> Address | None:
    """Where a request to `url` connects to: its host, or the proxy that the system's settings name for it.

    None where that can't be told; ValueError for an address that is none.
    """
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and parts.hostname and not proxy_bypass(parts.hostname):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = parts.port or _PORTS.get(parts.scheme)
    return None if port is None or not parts.hostname else (parts.hostname, port)
