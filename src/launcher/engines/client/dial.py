"""Connections that a Ctrl-C can end at any moment: TCP, a proxy where the environment names one, TLS."""

from __future__ import annotations

import base64
import errno
import os
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from launcher.engines.client.site import Site

if TYPE_CHECKING:
    import ssl
    from urllib.parse import SplitResult

CONNECT_TIMEOUT_S = 10.0
"""Of each address: one that has not answered by then is not reachable from here."""
SILENCE_TIMEOUT_S = 600.0
"""Of a server that is connected: a long prompt takes minutes on a CPU, and a person can stop it at any time."""
_SLICE_S = 0.05
"""How often a connection that is being made looks whether it is still wanted."""
_UNDER_WAY = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)})
"""What a connection that is not refused at once says: it is there, or will be."""
_MAX_PROXY_HEAD_BYTES = 16_384


class StoppedError(Exception):
    """`Interrupt.set` was called."""


class ProxyRefusedError(OSError):
    """A proxy that does not let us through."""


class Interrupt:
    """Stops whoever waits for the network. It takes no lock, so that a signal handler may call it at any place."""

    def __init__(self) -> None:
        self._stopped = False
        self._socket: socket.socket | None = None

    @property
    def is_set(self) -> bool:
        """Whether it was called since `clear`."""
        return self._stopped

    def set(self) -> None:
        """Stop; a read that waits comes back at once."""
        self._stopped = True
        waiting = self._socket
        if waiting is not None:
            with suppress(OSError):
                # Not ssl's own shutdown, which takes the TLS state from under a read that is going on.
                socket.socket.shutdown(waiting, socket.SHUT_RDWR)

    def clear(self) -> None:
        """Forget an earlier call."""
        self._stopped = False

    def watch(self, sock: socket.socket | None) -> None:
        """The socket to shut down from now on.

        Raises:
            StoppedError: it is too late already.
        """
        self._socket = sock
        if sock is not None:
            self.check()

    def check(self) -> None:
        """Raises StoppedError after `set`."""
        if self._stopped:
            raise StoppedError

    def pause(self, seconds: float, sleep: Callable[[float], None]) -> None:
        """Sleep, in slices, until it is over or stopped. Raises StoppedError."""
        left = seconds
        while left > 0:
            self.check()
            sleep(min(_SLICE_S, left))
            left -= _SLICE_S
        self.check()


def proxy_of(site: Site) -> SplitResult | None:
    """The proxy that the environment (or the system's settings) names for a site; never one for this machine.

    Raises:
        ProxyRefusedError: it is of a kind that is not supported.
    """
    if site.is_local:
        return None
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    address = proxies.get(site.scheme) or proxies.get("all")
    if not address or proxy_bypass(site.netloc):
        return None
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        usable = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ProxyRefusedError("the proxy that the environment names is none of the kind http://HOST:PORT")
    return parts


def proxy_headers(proxy: SplitResult) -> dict[str, str]:
    """What the proxy itself wants to know: its own user and password."""
    if proxy.username is None:
        return {}
    from urllib.parse import unquote

    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def dial(site: Site, proxy: SplitResult | None, interrupt: Interrupt) -> socket.socket:
    """A connection to the site. The caller closes it.

    Raises:
        OSError: there is none, or its certificate is not to be trusted.
        StoppedError: nobody wants it any more.
    """
    host, port = (site.host, site.port) if proxy is None else (proxy.hostname or "", proxy.port or 80)
    sock = _connect(host, port, interrupt)
    try:
        interrupt.watch(sock)
        sock.settimeout(CONNECT_TIMEOUT_S)
        if site.scheme == "https":
            if proxy is not None:
                _tunnel(sock, site, proxy)
            sock = _tls().wrap_socket(sock, server_hostname=site.host)
            interrupt.watch(sock)
        sock.settimeout(SILENCE_TIMEOUT_S)
    except BaseException:
        interrupt.watch(None)
        sock.close()
        raise
    return sock


def _connect(host: str, port: int, interrupt: Interrupt) -> socket.socket:
    failure: OSError | None = None
    for family, kind, protocol, _, address in _look_up(host, port, interrupt):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(0)  # the selector waits instead, and looks whether it still should
            _finish_connect(sock, sock.connect_ex(address), interrupt)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A server that vanished without a word (a laptop asleep, a pulled cable) is noticed at last.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError as error:
            sock.close()
            failure = failure or error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError(f"no address for {host}")


def _look_up(host: str, port: int, interrupt: Interrupt) -> list[Any]:
    """Addresses of a host, as getaddrinfo gives them. A look-up can't be ended: a thread that nobody waits for has it.

    Raises:
        OSError: there is no such name, or no answer in time.
    """
    found: queue.SimpleQueue[list[Any] | OSError] = queue.SimpleQueue()

    def look() -> None:
        try:
            found.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError) as error:
            found.put(error if isinstance(error, OSError) else OSError(str(error)))

    threading.Thread(target=look, daemon=True).start()
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while time.monotonic() < deadline:
        interrupt.check()
        with suppress(queue.Empty):
            answer = found.get(timeout=_SLICE_S)
            if isinstance(answer, OSError):
                raise answer
            return answer
    raise TimeoutError(f"nobody told the address of {host}")


def _finish_connect(sock: socket.socket, code: int, interrupt: Interrupt) -> None:
    if code not in _UNDER_WAY:
        raise OSError(code, os.strerror(code))
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_WRITE)
        while not selector.select(0 if code == 0 else _SLICE_S):
            interrupt.check()
            if time.monotonic() > deadline:
                raise TimeoutError("no answer")
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _tunnel(sock: socket.socket, site: Site, proxy: SplitResult) -> None:
    host = f"[{site.host}]" if ":" in site.host else site.host
    target = f"{host}:{site.port}"
    headers = {"Host": target, **proxy_headers(proxy)}
    lines = [f"CONNECT {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    # Byte by byte: what follows the head belongs to TLS.
    while not head.endswith(b"\r\n\r\n"):
        piece = sock.recv(1)
        if not piece or len(head) > _MAX_PROXY_HEAD_BYTES:
            raise ProxyRefusedError("the proxy closed the connection")
        head += piece
    status = head.split(b"\r\n", 1)[0].split(b" ")
    if len(status) < 2 or status[1] != b"200":
        said = b" ".join(status[1:]).decode("latin-1")[:80]
        raise ProxyRefusedError(f"the proxy does not connect to {target}: {said}")


def _tls() -> ssl.SSLContext:
    import ssl

    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath:
        return ssl.create_default_context()
    # Python's own build for macOS has no certificates until somebody installs them.
    import certifi

    return ssl.create_default_context(cafile=certifi.where())
