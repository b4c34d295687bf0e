from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.history.opening import open_history
from launcher.history.types import History
from tests.history.samples import clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.sqlite3"


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def history(path: Path, told: list[str]) -> Iterator[History]:
    """A new history; nothing may be told while it is used."""
    with open_history(path, tell=told.append, strict=True, now=clock()) as opened:
        yield opened
    assert told == []
