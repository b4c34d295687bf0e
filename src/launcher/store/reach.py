"""Is there a way to a host at all? Asked once before the first request, with one deadline for name and connection.

An HTTP client's own time-outs do not bound this: looking a name up where no resolver answers takes 10 to 40 s and can't
be cut, and each of a host's addresses (eight, of the hub) gets the whole time-out of a connection.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from launcher.store.refusals import Asked, unreachable

if TYPE_CHECKING:
    import httpx

REACH_TIMEOUT_S = 8.0
"""A resolver's own second try comes after 5 s, and an answer to it must still count; a connection takes under one."""
QUIET_S = 1.5
"""After so long a person is told what is being waited for."""
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
    ) -> None:
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
        answer: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        def attempt() -> None:
            try:
                self._connect(address, self._timeout_s)
            except (OSError, ValueError, OverflowError) as error:
                answer.put(str(error) or type(error).__name__)
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
        return f"no answer within {self._timeout_s:.0f} s"


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
