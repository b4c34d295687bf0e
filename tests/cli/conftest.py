from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.demo import demo_model_path
from tests.cli.sandbox import Sandbox
from tests.fakes.hub import Hub, loopback_hub

SERVED = {
    "ggml-org/gpt-oss-20b-GGUF": "gpt-oss-20b-MXFP4.gguf",
    "unsloth/gpt-oss-20b-GGUF": "gpt-oss-20b-F16.gguf",
}
"""Of the other repositories of the catalogue the hub says that it does not know them, as a mirror does."""


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """Folders of this test's own; the hub is out of reach."""
    return Sandbox(tmp_path)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub whose repositories are called like those of the catalogue and hold the demo model under real names."""
    demo = demo_model_path().read_bytes()
    contents = (demo, demo + b"\0")  # headers are kept by hash: equal files would share one
    repos = {
        repo: {path: content, "README.md": b"# gpt-oss\n"}
        for (repo, path), content in zip(SERVED.items(), contents, strict=True)
    }
    with loopback_hub(repos) as running:
        yield running


@pytest.fixture
def online(tmp_path: Path, hub: Hub) -> Sandbox:
    """Folders of this test's own, and the loopback hub."""
    return Sandbox(tmp_path, hub.url)
