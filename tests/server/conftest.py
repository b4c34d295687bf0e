"""A server on the demo model, started and ended by the command itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launcher.demo import demo_model_path
from tests.cli.sandbox import Done, Sandbox, free_port
from tests.server.clients import serving
from tests.server.waiting import gone, wait_for
from tests.systems import KILL


@dataclass(frozen=True)
class Served:
    """A server in the background, and the sandbox that it runs in."""

    sandbox: Sandbox
    port: int
    started: Done

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def record(self) -> dict[str, Any]:
        """As `ps --json` lists it."""
        (found,) = json.loads(self.sandbox.run("ps", "--json").out)["servers"]
        return dict(found)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """Folders of this test's own; the hub is out of reach."""
    return Sandbox(tmp_path)


@pytest.fixture
def serve(sandbox: Sandbox) -> Iterator[Callable[..., Served]]:
    """Starts servers in the background; whatever a test does, none of them is left."""

    def start(*args: object, env: dict[str, str] | None = None) -> Served:
        port = free_port()
        done = sandbox.run("serve", "--model", demo_model_path(), "--port", port, "--detach", *args, env=env)
        assert done.code == 0, done
        return Served(sandbox, port, done)

    yield start
    records = json.loads(sandbox.run("ps", "--json").out)["servers"]
    sandbox.run("stop", "--all")
    for record in records:
        for pid in (record["pid"], record["server_pid"]):
            with suppress(OSError, TypeError):
                os.kill(pid, KILL)
    wait_for(lambda: all(gone(r["pid"]) and gone(r["server_pid"]) for r in records), "servers left behind")


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    """One server with nothing special."""
    return serve()


@pytest.fixture(scope="session")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for everything that only asks, and leaves it as it was."""
    with serving(tmp_path_factory.mktemp("clients")) as url:
        yield url
