"""Builds that did not answer: each costs whoever asks it half a minute, so for a day plans leave it alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from launcher.builds.types import Build
from launcher.records import from_jsonable, to_jsonable

FOLDER = "silent-engines"
KEPT_S = 24 * 3600.0
"""A driver that hangs mostly does so until the machine starts anew; a day is for what heals by itself."""


def _boot_time() -> float:
    import psutil

    return float(psutil.boot_time())


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """Seconds since 1970. The defaults are the real ones; tests give their own."""

    now: Callable[[], float] = time.time
    booted: Callable[[], float] = _boot_time
    """When the machine was started."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Silence:
    """What is kept of one build."""

    at_s: float
    made_at: str | None
    tested: str | None
    """Date of its self-test: one that passed since then shows that it answers."""
    schema: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SilentBuilds:
    """A small file for each in the state folder. What cannot be read says nothing."""

    state_dir: Path
    clock: Clock = field(default_factory=Clock)

    def since(self, build: Build) -> str | None:
        """When a build did not answer, `2026-11-25 18:20 UTC`; None where it is to be asked."""
        try:
            kept = from_jsonable(_Silence, json.loads(self._file(build).read_text(encoding="utf-8")))
            then = datetime.fromtimestamp(kept.at_s, UTC)
        except (OSError, ValueError, OverflowError, RecursionError):  # RecordError is a ValueError
            return None
        # A clock that was put back says nothing of how long ago it was.
        fresh = 0 <= self.clock.now() - kept.at_s < KEPT_S and kept.at_s >= self.clock.booted()
        return then.strftime("%Y-%m-%d %H:%M UTC") if fresh and kept == _silence_of(build, kept.at_s) else None

    def keep(self, build: Build, *, silent: bool) -> None:
        """Note that a build did not answer, or that it did."""
        path = self._file(build)
        with suppress(OSError):
            if silent:
                from launcher.paths import write_atomic

                write_atomic(path, json.dumps(to_jsonable(_silence_of(build, self.clock.now()))))
            else:
                path.unlink(missing_ok=True)

    def _file(self, build: Build) -> Path:
        return self.state_dir / FOLDER / f"{build.name}.json"


def _silence_of(build: Build, at_s: float) -> _Silence:
    record = build.record
    tested = None if record is None or record.self_test is None else record.self_test.date
    return _Silence(at_s=at_s, made_at=None if record is None else record.made_at, tested=tested)
