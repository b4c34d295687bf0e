"""Servers, as the tests of the server start them, and what their clients need."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.clients import WayOut, serve_scripted, shut_way_out
from tests.server.conftest import Served, sandbox, serve

__all__ = ["sandbox", "serve"]


@pytest.fixture
def way_out() -> Iterator[WayOut]:
    """A proxy that refuses everything."""
    with shut_way_out() as opened:
        yield opened


@pytest.fixture
def scripted(serve: Callable[..., Served]) -> Served:
    """A server on the model that plays a script for clients."""
    return serve_scripted(serve)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a client works."""
    made = tmp_path / "work"
    made.mkdir()
    return made
