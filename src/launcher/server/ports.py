"""Ports: whether one is free, who holds it, which is the next."""

from __future__ import annotations

import errno
import socket
import sys

import psutil

from launcher.errors import LauncherError, UsageError

_TRIES = 64


def prepare(server: socket.socket, *, system: str = sys.platform) -> None:
    """Connections of a server that has just ended shall not hold its port, as llama-server and asyncio do it.

    On Windows they do not, and the same option would let two servers listen on one port; another forbids it.
    """
    if system == "win32":
        # Python has no name for it on other systems; winsock2.h: the complement of SO_REUSEADDR, which is 4.
        server.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", ~4), 1)
    else:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def is_free(host: str, port: int, *, system: str = sys.platform) -> bool:
    """Whether a server could listen there now.

    Raises:
        UsageError: the host is no address of this machine.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise UsageError(f"--host {host}: {error.strerror}", hint="gpt-oss serve --host 127.0.0.1") from error
    with socket.socket(family, kind, proto) as server:
        prepare(server, system=system)
        try:
            server.bind(address)
        except PermissionError as error:
            if system == "win32":  # somebody has the port for himself, or Windows keeps it for its own
                return False
            raise UsageError(
                f"--port {port}: this person may not listen there", hint="gpt-oss serve --port 8080"
            ) from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise UsageError(
                    f"--host {host} is no address of this machine", hint="gpt-oss serve --host 127.0.0.1"
                ) from error
            return False
    return True


def next_free(host: str, port: int) -> int:
    """The first free port after this one.

    Raises:
        LauncherError: none of the next ones is.
    """
    for candidate in range(port + 1, min(port + 1 + _TRIES, 65_536)):
        if is_free(host, candidate):
            return candidate
    raise LauncherError(f"no port is free after {port}", hint="gpt-oss serve --port 18080")


def loopback_port() -> int:
    """A free port of the loopback interface, which the system chooses."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def holder(port: int) -> str | None:
    """Who listens on a port: `llama-server (pid 4242)`; None where the system does not tell."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    for found in connections:
        if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid:
            try:
                return f"{psutil.Process(found.pid).name()} (pid {found.pid})"
            except psutil.Error:
                return f"pid {found.pid}"
    return None
