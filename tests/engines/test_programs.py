"""Programs of llama.cpp that an engine was built without: the way to an engine that has them is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.bench.llama_bench import find_llama_bench
from launcher.engines.programs import find_llama_server
from launcher.engines.stand_ins import server_program
from launcher.errors import EngineError
from launcher.hardware.types import EngineBuild


@pytest.mark.parametrize(
    ("find", "hint"),
    [
        (lambda build: find_llama_server(None, build, search_path=""), "gpt-oss engine build vulkan"),
        (find_llama_bench, "gpt-oss engine build cpu"),
        (server_program, "gpt-oss engine build cpu"),
    ],
    ids=["llama-server", "llama-bench", "ggml-rpc-server"],
)
def test_an_engine_with_programs_is_compiled(find: Callable[[EngineBuild], Path], hint: str, tmp_path: Path) -> None:
    build = EngineBuild(
        version="0.3.36",
        llama_cpp_commit=None,
        backends=("Vulkan", "CPU"),
        supports_rpc=None,
        bin_dir=None,
        name="vulkan-0.3.36",
        site=str(tmp_path),
    )
    with pytest.raises(EngineError) as caught:
        find(build)
    assert caught.value.hint == hint
