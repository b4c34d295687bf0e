"""The self-test on the environment's engine, and on real builds that are broken in one way each."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from launcher.builds import store
from launcher.builds.selftest import DEADLINE_S, read_reference, self_test
from launcher.builds.types import Build, SelfTest
from launcher.catalogue.gguf import read_header
from launcher.demo import demo_model_path
from tests.builds.copies import compile_library, copy_build, needs_compiler, replace_file
from tests.store.build import wait_until
from tests.systems import LINUX

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CRASH = "#include <signal.h>\n__attribute__((constructor)) static void start(void) {{ raise({}); }}"
HANG = "#include <unistd.h>\n__attribute__((constructor)) static void start(void) { for (;;) pause(); }"
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
float * llama_get_logits(void * context) {{
    float * (*real)(void *) = dlsym(dlopen("libllama.so.0", RTLD_LAZY | RTLD_NOLOAD), "llama_get_logits");
    float * row = real(context);
    for (int i = 0; i < 1280; i++) row[i] = {};
    return row;
}}
"""
"""A libllama that is the real one but for what it tells of the first position of a batch."""

COLD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
typedef struct {
    int32_t n_tokens, *token; float *embd; int32_t *pos, *n_seq_id, **seq_id; int8_t *logits;
} Batch;
static int warm;
int32_t llama_decode(void * context, Batch batch) {
    int32_t (*real)(void *, Batch) = dlsym(dlopen("libllama.so.0", RTLD_LAZY | RTLD_NOLOAD), "llama_decode");
    if (batch.n_tokens == 1 && batch.pos[0] > 100 && !warm) raise(SIGSEGV);
    warm = warm || batch.n_tokens == 1;
    return real(context, batch);
}
"""
"""A libllama that crashes where the first token that it computes alone is one after a long prompt."""
AROUND = ("-Wl,--no-as-needed", "-l:libllama.so.0", "-Wl,-rpath,$ORIGIN", "-ldl")
"""What a libllama is linked with that passes calls on to the real one."""


def outcome(build: Build, deadline_s: float = DEADLINE_S) -> SelfTest:
    return self_test(build, driver=lambda: None, now=lambda: NOW, deadline_s=deadline_s)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return copy_build(tmp_path / "data", "cpu-copy")


def lib(build: Build) -> Path:
    return build.package / "lib"


def why(build: Build, deadline_s: float = DEADLINE_S) -> str:
    result = outcome(build, deadline_s)
    assert not result.passed
    assert result.why is not None
    assert "\n" not in result.why
    return result.why


def test_a_sound_build_passes(build: Build, tmp_path: Path) -> None:
    """It is the one that is tested: no folder of libraries that a variable names, no other package on the path.

    Also by another way to its folder: a data folder such as ../data was once taken for another one's.
    """
    (tmp_path / "below").mkdir()
    build = replace(build, site=tmp_path / "below" / ".." / build.site.relative_to(tmp_path))
    other = tmp_path / "other"
    (other / "llama_cpp").mkdir(parents=True)
    (other / "llama_cpp" / "__init__.py").write_text("raise SystemExit(9)")
    environ = {**os.environ, "LLAMA_CPP_LIB_PATH": str(other), "PYTHONPATH": str(other)}
    result = self_test(build, environ=environ, driver=lambda: "NVIDIA 550.54.14", now=lambda: NOW)
    assert result.passed, result.why
    assert result.why is None
    assert result.date == "2026-01-02T03:04:05+00:00"
    assert result.n_positions == sum(len(prompt.scored) for prompt in read_reference().prompts) == 64
    assert result.n_same_top is not None
    assert result.n_same_top >= 60
    assert result.mean_kl is not None
    assert result.mean_kl < 0.001
    assert result.same_text
    assert result.driver == "NVIDIA 550.54.14"
    assert build.record is not None
    assert read_reference().version == build.record.version, "scripts/make_selftest_reference.py makes it anew"


@LINUX
def test_a_library_is_missing(build: Build) -> None:
    for path in lib(build).glob("libggml-cpu*"):
        path.unlink()
    assert why(build) == "a library that it needs is missing: libggml-cpu.so.0"


@LINUX
def test_a_library_is_cut_off(build: Build) -> None:
    path = lib(build) / "libggml-base.so.0"
    replace_file(path, path.read_bytes()[:100])
    assert why(build).startswith("a library of it cannot be loaded: libggml-base.so.0 (")


@needs_compiler
def test_a_library_crashes_as_it_is_loaded(build: Build) -> None:
    compile_library(lib(build) / "libllama.so", CRASH.format("SIGABRT"))
    assert why(build) == "it crashed while loading its libraries (SIGABRT)"


@needs_compiler
def test_instructions_of_another_cpu(build: Build) -> None:
    compile_library(lib(build) / "libllama.so", CRASH.format("SIGILL"))
    assert why(build) == (
        "it was compiled for another CPU: it met an instruction that this one does not have while loading its libraries"
    )


@needs_compiler
def test_a_library_hangs(build: Build) -> None:
    compile_library(lib(build) / "libllama.so", HANG)
    found = why(build, deadline_s=1.0)
    assert found.startswith("it hung while ")
    assert found.endswith(": no answer within 1 s")


TESTS = """
import sys
from pathlib import Path
from launcher.builds import store
from launcher.builds.selftest import self_test
self_test(store.find(Path(sys.argv[1]), "cpu-copy"), driver=lambda: None)
"""


@LINUX
@needs_compiler
def test_a_child_that_hangs_ends_with_a_launcher_that_is_killed(build: Build, tmp_path: Path) -> None:
    told = "#include <stdio.h>\n" + HANG.replace("for", f'fclose(fopen("{tmp_path}/hangs", "w")); for')
    compile_library(lib(build) / "libllama.so", told)
    data = build.site.parents[2]
    with subprocess.Popen([sys.executable, "-c", TESTS, str(data)]) as parent:
        wait_until((tmp_path / "hangs").exists)
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
    try:
        child.wait(10)
    finally:
        with suppress(psutil.NoSuchProcess):
            child.kill()


@needs_compiler
def test_a_library_of_another_version(build: Build) -> None:
    compile_library(lib(build) / "libllama.so", "int llama_other(void) { return 1; }")
    assert why(build).startswith("its library lacks llama_")


@needs_compiler
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("row[i] * 0.5f", "it computes wrongly on the CPU (token by token): predictions are "),
        pytest.param(
            "NAN",
            "it computes values that are no numbers on the CPU (",
            marks=pytest.mark.slow,  # test_selftest_judge.py shows what becomes of them
        ),
    ],
)
def test_wrong_predictions(build: Build, value: str, told: str) -> None:
    compile_library(lib(build) / "libllama.so", SHIM.format(value), f"-L{lib(build)}", *AROUND)
    assert why(build).startswith(told)


@needs_compiler
def test_a_crash_that_only_a_chat_would_meet(build: Build) -> None:
    """Mesa's llvmpipe crashed so, after a self-test whose other cases had compiled all programs before."""
    compile_library(lib(build) / "libllama.so", COLD, f"-L{lib(build)}", *AROUND)
    assert why(build) == "it crashed while continuing a text on the CPU (SIGSEGV)"


def test_a_bias_that_is_missing_everywhere(build: Build, tmp_path: Path) -> None:
    """It diverges hardly, and to one side at all positions: nothing but the drift shows it."""
    model = tmp_path / "no-up-bias.gguf"
    content = bytearray(demo_model_path().read_bytes())
    header = read_header(io.BytesIO(content), size_bytes=len(content))
    for tensor in header.tensors:
        if tensor.name.endswith("ffn_up_exps.bias"):
            start = header.data_offset + tensor.offset
            content[start : start + tensor.n_bytes] = bytes(tensor.n_bytes)
    model.write_bytes(content)
    result = self_test(build, model=model, driver=lambda: None, now=lambda: NOW)
    assert result.why is not None
    assert result.why.endswith(" nats off to one side, over 0.03")
    assert result.mean_kl is not None
    assert result.mean_kl < 0.002


def test_bindings_that_are_laid_out_otherwise(build: Build) -> None:
    bindings = build.package / "llama_cpp.py"
    text = bindings.read_text(encoding="utf-8")
    swapped = text.replace('("n_batch", ctypes.c_uint32)', '("x", ctypes.c_uint32)', 1)
    swapped = swapped.replace('("n_ubatch", ctypes.c_uint32)', '("n_batch", ctypes.c_uint32)', 1)
    swapped = swapped.replace('("x", ctypes.c_uint32)', '("n_ubatch", ctypes.c_uint32)', 1)
    assert swapped != text
    replace_file(bindings, swapped.encode())
    assert why(build) == (
        "its bindings and its library are not of one version: they disagree on llama_context_params (at n_batch)"
    )


@pytest.mark.slow  # the verdict is shown by test_selftest_judge.py
def test_another_version_than_recorded(build: Build) -> None:
    init = build.package / "__init__.py"
    assert build.record is not None
    text = init.read_text(encoding="utf-8").replace(build.record.version, "0.0.1")
    replace_file(init, text.encode())
    assert why(build) == f"it is llama-cpp-python 0.0.1; its record says {build.record.version}"


@LINUX
def test_a_server_that_does_not_start(build: Build) -> None:
    program = build.site / "bin" / "llama-server"
    if not program.exists():
        pytest.skip("the environment's engine was built without its programs")
    (build.site / "lib" / "libllama-server-impl.so").unlink()
    assert why(build) == (
        "its llama-server does not start: a library that it needs is missing: libllama-server-impl.so"
    )


def test_no_python_to_run_it(build: Build, tmp_path: Path) -> None:
    result = self_test(build, python=str(tmp_path / "none"), driver=lambda: None)
    assert result.why is not None
    assert result.why.endswith("No such file or directory")


def test_a_result_is_kept_in_the_record(build: Build, tmp_path: Path) -> None:
    store.keep_test(build, SelfTest(passed=False, date="2026-02-03T00:00:00+00:00", why="it hung"))
    (found,), _ = store.installed(tmp_path / "data")
    assert found.record is not None
    assert found.record.self_test is not None
    assert found.record.self_test.why == "it hung"
    assert not found.usable
