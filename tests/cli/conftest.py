from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.sandbox import Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """Folders of this test's own; the hub is out of reach."""
    return Sandbox(tmp_path)
