"""Packages through a real pip and a folder of them, cuBLAS from its package, and programs that are run and ended."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.builds.carry import cublas_definitions, cublas_requirement, finish_site, get_cublas, named_cublas
from launcher.builds.cmake import get_cmake
from launcher.builds.compile_types import CompileRequest, Work
from launcher.builds.pip import Pip
from launcher.builds.recipe import recipe
from launcher.builds.source import get_source, known_sha256, pinned_version, sha256_of, version_of
from launcher.builds.steps import run_step
from launcher.errors import DamagedFileError, LauncherError, NetworkError
from tests.fakes.toolchain import CUDA_13_0, toolchain, write_sdist
from tests.systems import POSIX

PIP = shutil.which("pip3")
needs_pip = pytest.mark.skipif(PIP is None, reason="pip is not here")


def pip_of(root: Path, folder: Path | None, **environ: str) -> Pip:
    """A pip that knows one folder of packages, or none."""
    home = root / "home"
    home.mkdir(exist_ok=True)
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "HOME": str(home), "PATH": os.environ["PATH"]}
    settings |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)} if folder is not None else {}
    return Pip(command=(PIP or "pip",), log=root / "pip.log", environ={**settings, **environ})


def fake_pip(root: Path, script: str) -> Pip:
    """A program in pip's place: Python that has `words` and `option(name)`."""
    path = root / "fake_pip.py"
    prelude = "import pathlib, sys, zipfile\nwords = sys.argv[1:]\noption = lambda name: words[words.index(name) + 1]\n"
    path.write_text(prelude + script)
    return Pip(command=(sys.executable, str(path)), log=root / "pip.log", environ={})


def wheel(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


@needs_pip
def test_the_pinned_source_through_pip(tmp_path: Path) -> None:
    archive = write_sdist(tmp_path / "index")
    work = Work(folder=tmp_path / "work")
    work.folder.mkdir()
    request = CompileRequest(backend="cpu", version="9.9.9", sha256=sha256_of(archive))
    source = get_source(request, work, pip_of(tmp_path, archive.parent))
    assert source.known
    assert (work.source / "llama_cpp" / "__init__.py").read_text() == '__version__ = "9.9.9"\n'
    assert not (work.folder / "download").exists()
    archive.unlink()
    assert get_source(request, work, pip_of(tmp_path, archive.parent)) == source, "it is there already"


def test_another_archive_of_the_same_version_takes_the_place_of_the_first(tmp_path: Path) -> None:
    work = Work(folder=tmp_path / "work")
    half = work.folder / ".source" / "left.c"
    half.parent.mkdir(parents=True)
    half.write_text("of an unpacking that was interrupted")
    for text in ("int old;\n", "int new;\n"):
        archive = write_sdist(tmp_path / "sdist", changes={"one.c": text})
        request = CompileRequest(backend="cpu", version="9.9.9", source=archive)
        source = get_source(request, work, Pip(command=(), log=work.log))
        assert (source.sha256, source.known) == (sha256_of(archive), False)
        assert (work.source / "one.c").read_text() == text
        assert not (work.source / "left.c").exists()
        assert archive.is_file(), "a person's own file stays"


@pytest.mark.parametrize(
    ("printed", "error", "says"),
    [
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package",
            DamagedFileError,
            "another file than the one that is expected",
        ),
        (
            "ERROR: No matching distribution found for llama-cpp-python==9.9.8",
            NetworkError,
            "x==1: No matching distribution found for llama-cpp-python==9.9.8",
        ),
        ("Traceback: nobody knows", NetworkError, "x==1: nobody knows"),
    ],
)
def test_what_pip_says_when_it_fails(tmp_path: Path, printed: str, error: type[LauncherError], says: str) -> None:
    with pytest.raises(error, match=says):
        fake_pip(tmp_path, f"print({printed!r}); sys.exit(1)").download("x==1", tmp_path / "into", sha256="0" * 64)


def test_an_index_that_does_not_answer(tmp_path: Path) -> None:
    pip = fake_pip(
        tmp_path,
        "print('WARNING: Retrying after connection broken by NewConnectionError: refused')\n"
        "print('ERROR: No matching distribution found for x'); sys.exit(1)\n",
    )
    with pytest.raises(NetworkError, match="the package index does not answer") as caught:
        pip.download("x==1", tmp_path / "into")
    assert caught.value.details == (
        "ERROR: No matching distribution found for x",
        f"log: {tmp_path}/pip.log",
    )


def test_a_hash_that_is_known_is_what_pip_has_to_hold_to(tmp_path: Path) -> None:
    script = (
        "told = open(option('--requirement')).read() if '--requirement' in words else words[-1]\n"
        "pathlib.Path(option('--dest'), 'x-1.tar.gz').write_text(told)\n"
    )
    pip = fake_pip(tmp_path, script)
    known = pip.download("x==1", tmp_path / "known", sha256="0" * 64)
    assert known.read_text() == f"x==1 --hash=sha256:{'0' * 64}\n"
    assert pip.download("x==1", tmp_path / "unknown").read_text() == "x==1"


def test_a_pip_that_brings_nothing(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="pip downloaded nothing for x==1"):
        fake_pip(tmp_path, "").download("x==1", tmp_path / "into")


def test_no_pip_at_all(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="there is no pip, and no uv to run one"):
        Pip(command=(), log=tmp_path / "log").download("x==1", tmp_path / "into")


def test_versions_and_hashes() -> None:
    assert version_of(Path("llama_cpp_python-0.3.36.tar.gz")) == "0.3.36"
    assert version_of(Path("llama.tar.gz")) is None
    version = pinned_version()
    assert version is not None
    assert known_sha256(version) is not None
    assert known_sha256("0.0.1") is None


def test_a_config_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "engines.toml").write_text("[source")
    with pytest.raises(DamagedFileError, match=r"engines\.toml"):
        known_sha256("0.3.36", tmp_path)


@pytest.mark.parametrize(
    ("cuda", "requirement"),
    [("13.0", "nvidia-cublas==13.0.*"), ("12.4", "nvidia-cublas-cu12==12.4.*"), ("11.8", "nvidia-cublas-cu11==11.8.*")],
)
def test_the_package_of_cublas(cuda: str, requirement: str) -> None:
    assert cublas_requirement(cuda) == requirement


CUBLAS = (
    *("nvidia/cu13/include/cublas_v2.h", "nvidia/cu13/lib/libcublas.so.13", "nvidia/cu13/lib/libcublasLt.so.13"),
    *("nvidia/cu13/lib/libnvblas.so.13", "nvidia_cublas-13.0.2.dist-info/License.txt"),
)


@POSIX
def test_cublas_is_taken_from_its_package_into_the_engine(tmp_path: Path) -> None:
    packed = wheel(tmp_path / "index/nvidia_cublas-13.0.2-py3-none-any.whl", *CUBLAS)
    pip = fake_pip(
        tmp_path, f"pathlib.Path(option('--dest'), '{packed.name}').write_bytes(open(r'{packed}','rb').read())\n"
    )
    found = get_cublas("13.0", tmp_path / "work/cublas", pip)
    told = cublas_definitions(found, "-lineinfo")
    assert told["CUDA_cublas_LIBRARY"].endswith("lib/libcublas.so.13")
    assert told["CMAKE_CUDA_FLAGS"] == f'-lineinfo -I"{found / "include"}"'
    assert cublas_definitions(found, None)["CMAKE_CUDA_FLAGS"] == f'-I"{found / "include"}"'
    packed.unlink()
    assert get_cublas("13.0", tmp_path / "work/cublas", pip) == found, "it is there already"

    cuda = tmp_path / "cuda"
    (cuda / "lib64").mkdir(parents=True)
    (cuda / "lib64/libcudart.so.13.0.88").write_text("cudart")
    (cuda / "lib64/libcudart.so.13").symlink_to("libcudart.so.13.0.88")
    site, source = tmp_path / "work/site", tmp_path / "source"
    for folder in (site / "lib", site / "llama_cpp/lib", source / "llama_cpp/lib"):
        folder.mkdir(parents=True)
    (site / "lib/libggml-cuda.so").write_text("kept")
    (site / "llama_cpp/lib/libllama.so").write_text("first")
    (site / "lib/libllama.so").write_text("second")
    (source / "llama_cpp/lib/libold.so").write_text("not this")
    tools = toolchain(cuda=CUDA_13_0)
    finish_site(site, source, recipe("cuda", tools, version="1"), replace(CUDA_13_0, root=str(cuda)), found)
    libraries = site / "llama_cpp/lib"
    assert {path.name for path in libraries.iterdir()} == {
        *("libllama.so", "libggml-cuda.so", "libcublas.so.13", "libcublasLt.so.13", "libcudart.so.13")
    }
    assert (libraries / "libllama.so").read_text() == "first"
    assert (libraries / "libcudart.so.13").read_text() == "cudart"
    assert not (libraries / "libcudart.so.13").is_symlink()
    assert not (site / "lib").exists()
    assert any("License" in path.name for path in (tmp_path / "work/licences").iterdir())


def test_a_cublas_that_a_person_names_is_carried_unless_it_is_the_toolkits() -> None:
    tools = toolchain(cuda=replace(CUDA_13_0, cublas=False))
    own = {"CUDA_cublas_LIBRARY": "/opt/cu13/lib/libcublas.so.13"}
    assert named_cublas(recipe("cuda", tools, version="1", definitions=own), tools.cuda) == Path("/opt/cu13")
    theirs = {"CUDA_cublas_LIBRARY": "/usr/local/cuda/lib64/libcublas.so"}
    assert named_cublas(recipe("cuda", tools, version="1", definitions=theirs), tools.cuda) is None
    assert named_cublas(recipe("cuda", tools, version="1"), tools.cuda) is None


def test_a_package_without_cublas(tmp_path: Path) -> None:
    packed = wheel(tmp_path / "index/nvidia_cublas-13.0.2-py3-none-any.whl", "nvidia/cu13/lib/libcublas.so.13")
    pip = fake_pip(
        tmp_path, f"pathlib.Path(option('--dest'), '{packed.name}').write_bytes(open(r'{packed}','rb').read())\n"
    )
    with pytest.raises(DamagedFileError, match="no headers or no library"):
        get_cublas("13.0", tmp_path / "work/cublas", pip)


@POSIX
def test_cmake_from_its_package(tmp_path: Path) -> None:
    pip = fake_pip(
        tmp_path,
        "folder = pathlib.Path(option('--target'))\n"
        "for name in ('cmake/data/bin/cmake', 'bin/cmake', 'bin/ninja'):\n"
        "    path = folder / name; path.parent.mkdir(parents=True, exist_ok=True); path.write_text(' '.join(words))\n",
    )
    found = get_cmake(toolchain(cmake=None, ninja=None, make=None), tmp_path / "tools", pip)
    assert found.cmake == str(tmp_path / "tools/cmake/data/bin/cmake")
    assert found.ninja == str(tmp_path / "tools/bin/ninja")
    assert Path(found.cmake).read_text().endswith("cmake>=3.21,<5 ninja")
    # What is there is not got again, and what the system has is taken first.
    broken = Pip(command=(), log=tmp_path / "log")
    assert get_cmake(toolchain(cmake=None, ninja=None, make=None), tmp_path / "tools", broken) == found
    assert get_cmake(toolchain(), tmp_path / "nothing", broken).cmake == "/usr/bin/cmake"


def test_a_program_is_read_line_by_line_into_its_log(tmp_path: Path) -> None:
    lines: list[str] = []
    script = (
        "import os, sys; print('one'); print('two', file=sys.stderr); print(os.environ.get('HF_TOKEN')); sys.exit(3)"
    )
    outcome = run_step(
        [sys.executable, "-c", script], cwd=tmp_path, log=tmp_path / "log", environ={"HF_TOKEN": "secret"},
        on_line=lines.append,
    )  # fmt: skip
    assert outcome.returncode == 3
    assert sorted(lines) == ["None", "one", "two"]
    assert "secret" not in (tmp_path / "log").read_text()


@POSIX
def test_a_program_that_does_not_listen_is_ended_with_what_it_started(tmp_path: Path) -> None:
    import psutil

    script = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    seen: list[int] = []

    def interrupt(line: str) -> None:
        seen.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_step(
            [sys.executable, "-c", script], cwd=tmp_path, log=tmp_path / "log", on_line=interrupt, stop_s=0.1
        )  # fmt: skip
    assert not psutil.pid_exists(seen[0])
