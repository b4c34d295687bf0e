"""One llama-server on the malformed model for all tests of the shield, and a shield before it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from launcher.server.shield.run import RunningShield, start_shield
from launcher.server.shield.types import ShieldConfig
from tests.server.malformed import Running, new_client, running_server


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    with running_server(free_port(), "--alias", "gpt-oss-20b", "--metrics") as running:
        yield running


@pytest.fixture(scope="session")
def shield(server: Running) -> Iterator[RunningShield]:
    with start_shield(ShieldConfig(port=0, upstream_url=server.url)) as running:
        yield running


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with new_client() as each:
        yield each
