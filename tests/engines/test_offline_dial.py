"""A server's name that nobody tells, and a network that is not there."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from launcher.engines.client import dial
from launcher.engines.client.dial import Interrupt, StoppedError


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A resolver that never answers, until the test is over."""
    over, asked = threading.Event(), threading.Event()

    def look_up(*_: Any, **__: Any) -> list[Any]:
        asked.set()
        over.wait(20)
        raise OSError("over")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield asked
    over.set()


def test_a_name_that_nobody_tells_is_waited_for_no_longer_than_a_connection(
    silence: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "CONNECT_TIMEOUT_S", 0.1)
    with pytest.raises(TimeoutError, match="nobody told the address of box"):
        dial._connect("box", 8080, Interrupt())
    assert silence.is_set()


def test_a_look_up_can_be_stopped(silence: threading.Event) -> None:
    interrupt = Interrupt()

    def stop() -> None:
        silence.wait(20)
        interrupt.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(StoppedError):
        dial._connect("box", 8080, interrupt)
    stopper.join()


def test_a_name_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(OSError, match="Name or service not known"):
        dial._connect("box", 8080, Interrupt())


def test_a_network_that_refuses_at_once_is_told_by_its_name() -> None:
    """Keeps out: `Transport endpoint is not connected`, of the first word sent over a connection that never was."""
    with socket.socket() as sock, pytest.raises(OSError, match="unreachable"):
        dial._finish_connect(sock, errno.ENETUNREACH, Interrupt())
