from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.hub import Hub, loopback_hub
from tests.store.build import PATH, REPO, SPLIT, gguf


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub with one single-file model, one in three parts, and a small text file."""
    files: dict[str, bytes] = {PATH: gguf(600_000), "README.md": b"# gpt-oss\n"}
    files |= {path: gguf(100_000 + 7 * no, seed=no) for no, path in enumerate(SPLIT, start=1)}
    with loopback_hub({REPO: files}) as running:
        yield running


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "hub"
