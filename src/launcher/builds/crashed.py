"""Builds that crashed in use since they were made and tested."""

from __future__ import annotations

from pathlib import Path

from launcher.builds.types import Build
from launcher.hardware.crashes import Crash, crash_of


def last_crash(build: Build, state_dir: Path) -> Crash | None:
    """The crash for which plans leave a build alone: its last one, unless memory ran out or it passed a test since."""
    if build.record is None or not build.usable:
        return None
    tested = build.record.self_test
    return crash_of(state_dir, build.name, sound_since=(build.record.made_at, None if tested is None else tested.date))
