"""The stage build: the engine for this GPU, compiled by `gpt-oss engine build`; or the one that is there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gpu_stages.kept import Kept
from gpu_stages.lab import LabError
from gpu_stages.records import BuildRow
from launcher.builds import store
from launcher.builds.disk import size_bytes
from launcher.builds.types import Build

_COMMAND = "from launcher.cli.app import main; main()"
_END_S = 20.0
"""For a compiler's processes to end."""


def compile_here(
    kept: Kept, *, data_dir: Path, source: Path | None, arch: str | None, log: Path, tell: Callable[[str], None]
) -> int:
    """`gpt-oss engine build cuda`, unless that was done. Raises LabError where it fails."""
    known = kept.rows("build", BuildRow)
    if known and known[-1].site is not None and Path(known[-1].site).is_dir():
        tell(f"  {known[-1].name} is there")
        return 0
    command = [sys.executable, "-c", _COMMAND, "engine", "build", "cuda", "--yes"]
    command += [] if source is None else ["--source", str(source)]
    command += [] if arch is None else ["--arch", arch]
    tell(f"  {' '.join(command[3:])}; its output: {log}")
    began = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(os.environ)
        )
        try:
            status = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_END_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
    if status != 0:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise LabError(f"gpt-oss engine build ended with status {status}: {' / '.join(last)}")
    builds, _ = store.installed(data_dir)
    made = [build for build in builds if build.record is not None and build.record.backend == "cuda"]
    if not made:
        raise LabError(f"gpt-oss engine build left no engine in {data_dir}")
    newest = max(made, key=lambda build: build.record.made_at if build.record is not None else "")
    kept.add("build", newest.name, build_row(newest, took_s=time.monotonic() - began))
    return 0


def name_of(kept: Kept) -> str | None:
    """The engine that was built; None where none was."""
    known = kept.rows("build", BuildRow)
    return known[-1].name if known else None


def note_environment(kept: Kept) -> int:
    """For a rehearsal: the launcher's own engine."""
    own = store.environment_build()
    if own is None:
        raise LabError("llama-cpp-python is not installed")
    kept.add("build", own.name, build_row(own, took_s=0.0))
    return 0


def build_row(build: Build, *, took_s: float) -> BuildRow:
    """A build, as rows tell of it."""
    record = build.record
    test = None if record is None else record.self_test
    passed = None if test is None else "passed" if test.passed else test.why or "failed"
    return BuildRow(
        name=build.name,
        version=None if record is None else record.version,
        commit=None if record is None else record.commit,
        options=() if record is None else record.options,
        n_bytes=size_bytes(build.package if record is None else build.site),
        took_s=took_s,
        site=None if record is None else str(build.site),
        self_test=passed,
    )
