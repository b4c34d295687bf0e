"""Builds in a store that are the environment's own, file by file, and ways to break them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from launcher.builds import store
from launcher.builds.record import SITE
from launcher.builds.types import Build, BuildRecord, SelfTest, Source
from launcher.hardware.engine_devices import EngineReport, find_package, read_engine

PASSED = SelfTest(passed=True, date="2026-01-02T03:04:05+00:00", why=None)
FAILED = SelfTest(passed=False, date="2026-01-02T03:04:05+00:00", why="it computes wrongly on the CPU")

needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="libraries are made by gcc, for Linux"
)


@cache
def _engine() -> EngineReport:
    return read_engine(find_package())


def record(name: str, *, self_test: SelfTest | None = PASSED) -> BuildRecord:
    """`engine.json` of a build that is the environment's own."""
    engine = _engine()
    return BuildRecord(
        name=name,
        backend="cpu",
        version=str(engine.version),
        commit=engine.commit,
        source=Source(kind="source", what=f"llama-cpp-python {engine.version}", sha256=None),
        options=(),
        system=platform.system(),
        arch=platform.machine(),
        made_at="2026-01-02T03:04:05+00:00",
        self_test=self_test,
    )


def copy_build(data_dir: Path, name: str, *, self_test: SelfTest | None = PASSED) -> Build:
    """The environment's engine under another name: the same files, so that it costs neither time nor room."""
    package = find_package()
    assert package is not None
    with store.staged(data_dir, name) as staging:
        shutil.copytree(package, staging / SITE / "llama_cpp", copy_function=_link)
        for files in ("bin/llama-*", "lib/lib*"):  # the programs, and what they load
            for path in sorted(package.parent.glob(files)):
                folder = staging / SITE / path.parent.name
                folder.mkdir(exist_ok=True)
                _link(str(path), str(folder / path.name))
        return store.add(staging, record(name, self_test=self_test))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        Path(target).symlink_to(source)


def replace_file(path: Path, content: bytes) -> None:
    """Put other content in a file, and not into the environment's, which it is a link to."""
    path.unlink()
    path.write_bytes(content)


def compile_library(path: Path, source: str, *flags: str) -> None:
    """A shared library of a few lines in place of a file."""
    path.unlink(missing_ok=True)
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(path), *flags], input=source.encode(), check=True
    )
