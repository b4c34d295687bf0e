"""The planner's memory against llama.cpp's own statement, over the whole grid of settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.planner.oracle_grid import FILES, N_DEVICES, N_LAYER, Errors, cpu_cases, on_devices, on_the_cpu, write_header

README = Path(__file__).parents[2] / "src/launcher/planner/README.md"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="llama.cpp's breakdown is read on Linux")


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Path]]:
    folder = tmp_path_factory.mktemp("headers")
    found = {file: write_header(folder, *file) for file in FILES}
    yield found
    for path in found.values():
        path.unlink()


def held(found: Errors) -> None:
    """Weights and cache to the byte, and the README's row as it is now."""
    assert (found.model_bytes, found.context_bytes) == (0, 0)
    assert found.row in README.read_text(encoding="utf-8"), "run: uv run python scripts/planner_errors.py"


def test_the_grid_is_as_large_as_it_says() -> None:
    assert len(cpu_cases()) * len(FILES) >= 2000


@pytest.mark.parametrize("file", FILES, ids=["-".join(file) for file in FILES])
def test_every_setting_of_the_cpu(headers: dict[tuple[str, str], Path], file: tuple[str, str]) -> None:
    found = on_the_cpu(headers[file], file)
    assert found.compute_bytes == 0
    held(found)


@pytest.mark.parametrize("n_devices", N_DEVICES)
@pytest.mark.parametrize("model", N_LAYER)
def test_devices_that_loopback_servers_stand_for(
    headers: dict[tuple[str, str], Path], model: str, n_devices: int
) -> None:
    file = (model, "MXFP4")
    found = on_devices(headers[file], file, n_devices)
    assert found.n_settings >= 20
    held(found)
