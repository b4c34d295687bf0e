"""What builds for the CPU alone said of themselves: it changes with their files and the machine, so it is kept.

A child that asks costs 20 to 25 ms of CPU time, of the 280 that a plan takes. Builds for a GPU are asked each time: a
driver comes and goes, memory is taken and freed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from launcher.hardware.engine_devices import EngineReport
from launcher.records import from_jsonable, to_jsonable

FOLDER = "engine-answers"
_LIBRARY = re.compile(r"(?:lib)?ggml-([a-z]+)[^/]*\.(?:so|dylib|dll)[.\d]*")
_FOR_THE_CPU = frozenset({"base", "cpu", "blas", "rpc"})
"""ggml's libraries that find the same whenever they look. A backend in a file of its own may be there and not loaded,
for want of a driver."""
_BACKENDS = frozenset({"CPU", "BLAS", "RPC"})
_SHAPING = ("GGML_", "LD_", "DYLD_")
"""Variables that add backends, or other libraries."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """The machine, and when it was started: a folder may be several machines', with other processors."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        import platform

        import psutil

        return f"{platform.node()} {round(psutil.boot_time() / 60)}"  # Windows tells seconds more or less each time


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    """What is in a file."""

    key: tuple[str, ...]
    report: EngineReport
    schema: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """A small file for each build in the state folder. One that cannot be read, or written, is as none."""

    state_dir: Path
    boot: Callable[[], str] = boot_id
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def of(self, name: str, package: Path | None, ask: Callable[[], EngineReport]) -> EngineReport:
        """What the build with its `llama_cpp` in `package` says, or said before."""
        key = None if package is None else self._key(package)
        if key is None:
            return ask()
        path = self.state_dir / FOLDER / f"{name}.json"
        with suppress(OSError, ValueError, RecursionError):  # RecordError is a ValueError
            kept = from_jsonable(_Kept, json.loads(path.read_text(encoding="utf-8")))
            if kept == _Kept(key=key, report=kept.report):
                return kept.report
        report = ask()
        if report.devices is not None and _BACKENDS.issuperset(report.backends):
            from launcher.paths import write_atomic

            with suppress(OSError):
                write_atomic(path, json.dumps(to_jsonable(_Kept(key=key, report=report))))
        return report

    def _key(self, package: Path) -> tuple[str, ...] | None:
        """What the answer rests on; None for a build that has to be asked each time."""
        files = [package / "__init__.py"]
        try:
            for found in sorted((package / "lib").iterdir()):
                library = _LIBRARY.fullmatch(found.name)
                if library is not None and library[1] not in _FOR_THE_CPU:
                    return None
                files.append(found)
            # The programs count: whether there is a llama-server is part of the answer.
            stamps = [_stamp(path) for path in (*files, package.parent / "bin")]
        except OSError:
            return None
        shaping = [f"{name}={value}" for name, value in sorted(self.environ.items()) if name.startswith(_SHAPING)]
        return str(package), self.boot(), *stamps, *shaping


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except FileNotFoundError:
        return f"{path.name} -"
    return f"{path.name} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
