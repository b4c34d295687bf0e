"""Which llama.cpp a process computes with, over a second build that is the environment's own file by file."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.engines.active import child_environ, load_llama_cpp, register_backends
from launcher.engines.programs import engine_program, find_llama_server
from launcher.errors import EngineError
from launcher.hardware.types import EngineBuild
from tests.builds.copies import copy_build, replace_file

LOADED = """
import sys
from launcher.engines.active import load_llama_cpp
from launcher.errors import EngineError
for site in sys.argv[1:]:
    try:
        found = load_llama_cpp(site or None)
    except EngineError as error:
        print("refused:", error.message, error.hint)
        continue
    print(found.__file__, found.llama_cpp._lib._name, site in sys.path)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the second build is."""
    return str(copy_build(tmp_path_factory.mktemp("store"), "cpu-copy").site)


def run(*sites: str, env: dict[str, str] | None = None) -> list[str]:
    """What a process of its own says of loading them one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *sites], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


def test_the_build_is_loaded_from_its_folder_and_leaves_no_trace_in_the_search_path(site: str) -> None:
    elsewhere = {**os.environ, "LLAMA_CPP_LIB_PATH": "/nowhere"}
    first, again, other = run(site, site, "", env=elsewhere)
    assert first == again == f"{site}/llama_cpp/__init__.py {site}/llama_cpp/lib/libllama.so False"
    assert other.startswith(f"refused: another llama.cpp is loaded in this process already, from {site}/llama_cpp ")


def test_by_default_it_is_the_environments_and_then_no_other(site: str) -> None:
    first, other = run("", site)
    assert "/site-packages/llama_cpp/" in first
    assert other.startswith("refused: another llama.cpp is loaded")


def test_a_child_gets_it_by_its_search_path(site: str) -> None:
    env = child_environ({**os.environ, "PYTHONPATH": "/more", "LLAMA_CPP_LIB_PATH": "/nowhere"}, site)
    assert env["PYTHONPATH"] == os.pathsep.join([site, "/more"])
    (line,) = run("", env=env)
    assert line.startswith(f"{site}/llama_cpp/__init__.py ")


def test_a_child_of_the_environments_build_is_as_before() -> None:
    before = {"PATH": "/bin", "LLAMA_CPP_LIB_PATH": "/own", "LD_LIBRARY_PATH": "/cuda", "HF_TOKEN": "secret"}
    assert child_environ(before, None) == {"PATH": "/bin", "LLAMA_CPP_LIB_PATH": "/own", "LD_LIBRARY_PATH": "/cuda"}
    assert child_environ(before, "/site")["LD_LIBRARY_PATH"] == "/cuda"
    with pytest.raises(EngineError, match="parts folders"):
        child_environ(before, os.pathsep.join(["/a", "b"]))


def test_a_build_that_cannot_be_loaded_is_an_error_and_the_next_one_is_loaded(tmp_path: Path, site: str) -> None:
    broken = copy_build(tmp_path, "cpu-broken")
    replace_file(broken.package / "lib" / "libllama.so", b"no library")
    first, second = run(str(broken.site), site)
    assert first.startswith(f"refused: the llama.cpp in {broken.site} cannot be loaded: ")
    assert first.endswith("gpt-oss engine test cpu-broken")
    assert "libllama.so" in first
    assert second.startswith(f"{site}/llama_cpp/")
    (child,) = run("", env=child_environ(os.environ, str(broken.site)))
    assert child.startswith(f"refused: the llama.cpp in {broken.site} cannot be loaded: "), "a child tells which, too"


class Ggml:
    """A ggml with so many backends compiled in."""

    def __init__(self, count: int) -> None:
        self.loaded: list[bytes] = []
        self.ggml_backend_reg_count = _function(lambda: count)
        self.ggml_backend_load_all_from_path = _function(self.loaded.append)


def _function(answer: Any) -> Any:
    made = SimpleNamespace(restype=None, argtypes=None)
    return type("Function", (), {"__call__": lambda _self, *given: answer(*given), **vars(made)})()


def test_backends_that_are_separate_files_are_loaded_from_the_builds_own_folder() -> None:
    separate, compiled_in = Ggml(0), Ggml(2)
    register_backends(separate, Path("/site/llama_cpp/lib"))
    register_backends(compiled_in, Path("/site/llama_cpp/lib"))
    assert separate.loaded == [b"/site/llama_cpp/lib"]
    assert compiled_in.loaded == []
    assert separate.ggml_backend_load_all_from_path.argtypes == (ctypes.c_char_p,)
    register_backends(SimpleNamespace(), Path("/an/older/ggml"))


def test_the_backends_of_the_installed_engine_are_there() -> None:
    load_llama_cpp()
    from llama_cpp import _ggml

    assert _ggml.libggml.ggml_backend_reg_count() > 0


def test_programs_are_those_of_the_build(site: str) -> None:
    build = EngineBuild(
        version="0.3.36",
        llama_cpp_commit=None,
        backends=("CPU",),
        supports_rpc=None,
        bin_dir=f"{site}/bin",
        name="cpu-copy",
        site=site,
    )
    assert engine_program("llama-bench", build) == Path(site) / "bin" / "llama-bench"
    assert find_llama_server(None, build) == Path(site) / "bin" / "llama-server"
    assert engine_program("ggml-rpc-server", build) is None, "the copy has none, and another build's is not taken"
    own = engine_program("llama-bench")
    assert own is not None
    assert "/site-packages/" in str(own)


def test_a_build_without_llama_server_is_named_where_no_other_is_on_the_path(tmp_path: Path) -> None:
    build = EngineBuild(
        version="0.3.36",
        llama_cpp_commit=None,
        backends=("CPU",),
        supports_rpc=None,
        bin_dir=None,
        name="cpu-wheel",
        site=str(tmp_path),
    )
    with pytest.raises(EngineError, match="the engine cpu-wheel has no llama-server"):
        find_llama_server(None, build, search_path=str(tmp_path))
    program = tmp_path / "llama-server"
    program.write_text("")
    program.chmod(0o755)
    assert find_llama_server(None, build, search_path=str(tmp_path)) == program


def test_backends_tell_their_errors_and_nothing_else() -> None:
    """A chat once began with three lines about the GPUs that a backend had found."""
    lines = """
from launcher.engines import active
llama_cpp = active.load_llama_cpp()
def registered(_ggml, _folder):
    for level, text in ((2, b"found 1 GPU\\n"), (3, b"it is slow\\n"), (4, b"it is broken\\n")):
        told[-1](level, text, None)
told, real = [], llama_cpp.llama_log_set
llama_cpp.llama_log_set = lambda tell, data: (told.append(tell), real(tell, data))
active.register_backends = registered
active.load_llama_cpp()
assert len(told) == 2, "the bindings' own log is back"
"""
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == "it is broken\n"
