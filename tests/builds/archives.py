"""A release and a wheel made of the environment's own engine, laid out as the real ones are."""

from __future__ import annotations

import io
import platform
import re
import tarfile
import zipfile
from pathlib import Path

from launcher.builds.shelf import Archive, Pinned, Shelf, Where, usual_arch
from launcher.hardware.engine_devices import find_package
from tests.fakes.releases import FakeGitHub

COMMIT = "0c1e57098bba43ac29e6e3b677cdceebdd22334f"
VERSION = "0.3.36"
LLAMA_CPP, BINDINGS = "ggml-org/llama.cpp", "abetlen/llama-cpp-python"
ENGINE, RUNTIME = "llama-b1-bin-test-x64.tar.gz", "cudart-llama-b1-bin-test-x64.tar.gz"
WHEEL = f"llama_cpp_python-{VERSION}-py3-none-any.whl"
_VERSIONED = re.compile(r"(.*\.so)\.\d+\.\d+\.\d+")


def site() -> Path:
    package = find_package()
    assert package is not None
    return package.parent


def release_bytes() -> bytes:
    """Programs and libraries in one folder, libraries with their two shorter names as links."""
    programs = [site() / "bin" / name for name in ("llama-server", "llama-bench")]
    libraries = [path for path in (site() / "lib").glob("lib*.so*") if path.is_file()]
    whole = {match[1]: path for path in libraries if (match := _VERSIONED.fullmatch(path.name))}
    with io.BytesIO() as content:
        with tarfile.open(fileobj=content, mode="w:gz", compresslevel=0) as opened:
            for path in (*programs, *whole.values(), *(each for each in libraries if each.name.endswith("-impl.so"))):
                opened.add(path, f"./llama-b1/{path.name}")
            for short, path in whole.items():
                middle = f"{short}.{path.name.removeprefix(f'{short}.').partition('.')[0]}"
                for name, target in ((short, middle), (middle, path.name)):
                    info = tarfile.TarInfo(f"./llama-b1/{name}")
                    info.type, info.linkname = tarfile.SYMTYPE, target
                    opened.addfile(info)
        return content.getvalue()


def runtime_bytes() -> bytes:
    with io.BytesIO() as content:
        with tarfile.open(fileobj=content, mode="w:gz") as opened:
            info = tarfile.TarInfo("cudart-llama-b1-bin-test-x64/libcudart.so.13")
            info.size = 6
            opened.addfile(info, io.BytesIO(b"cudart"))
        return content.getvalue()


def wheel_bytes() -> bytes:
    with io.BytesIO() as content:
        with zipfile.ZipFile(content, "w") as opened:
            for path in sorted((site() / "llama_cpp").rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    opened.write(path, path.relative_to(site()).as_posix())
            opened.writestr("llama_cpp_python-0.3.36.dist-info/METADATA", "Name: llama-cpp-python\n")
            opened.writestr("other_package/__init__.py", "")
        return content.getvalue()


def shelf(github: FakeGitHub, *archives: Archive, pinned: dict[str, Pinned] | None = None) -> Shelf:
    where = Where(api=github.url, site=github.url, bindings=BINDINGS, llama_cpp=LLAMA_CPP)
    known = {VERSION: Pinned(commit=COMMIT, tag="b1")} if pinned is None else pinned
    return Shelf(where=where, pinned=known, archive=archives or (release(), wheel()))


def release(*, runtime: bool = False) -> Archive:
    """One for this machine, whatever it is."""
    return Archive(
        kind="release",
        backend="cpu",
        system=platform.system(),
        arch="arm64" if usual_arch(platform.machine()) == "arm64" else "x64",
        release="{tag}",
        file="llama-{tag}-bin-test-*.tar.gz",
        runtime="cudart-llama-{tag}-bin-test-*.tar.gz" if runtime else None,
        about=40_000_000,
    )


def wheel() -> Archive:
    return Archive(
        kind="wheel",
        backend="cpu",
        system=platform.system(),
        arch="arm64" if usual_arch(platform.machine()) == "arm64" else "x64",
        release="v{version}-test",
        file="llama_cpp_python-{version}-py3-none-*.whl",
        about=20_000_000,
    )
