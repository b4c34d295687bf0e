"""The CUDA engine from the pinned source, where nvcc is: it loads, tells of no device, and computes on the CPU.

Slow: most of an hour on two cores, a few minutes where ccache knows the files; run by scripts/test-slow. It downloads
the source, and cuBLAS where the toolkit has none, through pip; GPT_OSS_TEST_CUBLAS names a folder with `include` and
`lib` that is taken in place of the latter (400 MB).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from launcher.builds.compile import compile_build
from launcher.builds.compile_types import CompileRequest
from launcher.builds.source import known_sha256, pinned_version
from launcher.builds.toolchain import probe_toolchain
from launcher.builds.types import Build
from launcher.hardware.engine_devices import read_engine
from tests.cli.sandbox import Sandbox

TOOLS = probe_toolchain()
GPU_IS_HERE = bool(TOOLS.gpu_architectures)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(TOOLS.cuda is None, reason="nvcc is not here")]


def cublas_that_is_here() -> tuple[tuple[str, str], ...]:
    """Definitions for the folder that the variable names."""
    named = os.environ.get("GPT_OSS_TEST_CUBLAS")
    if not named:
        return ()
    folder = Path(named)
    library, light = sorted((folder / "lib").glob("libcublas*.so.*"))[:2]
    return (
        ("CUDA_cublas_LIBRARY", str(library)),
        ("CUDA_cublasLt_LIBRARY", str(light)),
        ("CMAKE_CUDA_FLAGS", f"-I{folder / 'include'}"),
    )


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return Sandbox(tmp_path_factory.mktemp("person"))


@pytest.fixture(scope="module")
def build(sandbox: Sandbox) -> Build:
    version = pinned_version()
    assert version is not None
    architecture = str(TOOLS.gpu_architectures[0]) if GPU_IS_HERE else "90"
    request = CompileRequest(
        backend="cuda",
        version=version,
        sha256=known_sha256(version),
        architectures=(architecture,),
        definitions=cublas_that_is_here(),
    )
    return compile_build(request, data_dir=sandbox.root / "data", cache_dir=sandbox.root / "cache")


def test_it_passes_its_self_test(build: Build) -> None:
    assert build.record is not None
    assert build.record.self_test is not None
    assert build.record.self_test.passed, build.record.self_test.why
    assert bool(build.record.self_test.devices) == GPU_IS_HERE
    assert build.record.source.sha256 is not None
    assert "GGML_CUDA=ON" in build.record.options


def test_it_loads_and_tells_its_devices(build: Build) -> None:
    report = read_engine(build.package)
    assert report.note is None
    assert "CUDA" in report.backends
    assert report.bin_dir == str(build.site / "bin")
    assert bool([device for device in report.devices or () if device.type == "GPU"]) == GPU_IS_HERE


def test_it_stands_alone(build: Build) -> None:
    libraries = build.package / "lib"
    assert (libraries / "libggml-cuda.so").is_file()
    linked = subprocess.run(
        ["ldd", libraries / "libggml-cuda.so"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "not found" not in linked
    for name in ("libcudart", *(() if TOOLS.cuda is None or TOOLS.cuda.cublas else ("libcublas.", "libcublasLt."))):
        (line,) = [line for line in linked.splitlines() if line.strip().startswith(name)]
        assert str(build.site) in line, line


def test_it_answers(build: Build, sandbox: Sandbox) -> None:
    assert sandbox.run("engine", "use", build.name).code == 0
    words = ("chat", "--demo", "--temp", "0", "What is the capital of France?")
    own = sandbox.run(*words)
    assert own.code == 0, own.err
    assert sandbox.run("engine", "use", "environment").code == 0
    assert sandbox.run(*words).out == own.out
