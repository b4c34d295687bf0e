"""Malformed inputs by seed: what a stranger's file, hub, stick, cache or state folder may hold, and what becomes of it.

Each case builds one thing that is wrong in a folder of its own and asks the launcher for what a person would. It must
end within a deadline, with a LauncherError or with that thing left out, and write nowhere but where it may.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import pytest

from launcher.errors import LauncherError
from tests.store import malformed_disk as disk
from tests.store import malformed_files as files
from tests.store import malformed_hub as hub
from tests.store.malformed_input import EVIL

DEADLINE_S = 20.0
"""Of one case. The slowest takes a second on an idle core."""


class TooLongError(Exception):
    """A case did not end within its deadline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a case."""

    family: str
    seed: int
    how: str
    """`refused`, `left out`, or the name of an error that must not be."""
    text: str
    seconds: float

    @property
    def is_fault(self) -> bool:
        """Whether the launcher did what it must not."""
        return self.how not in {"refused", "left out"}


class Family(Protocol):
    """One kind of malformed input."""

    def __call__(self, root: Path, rng: random.Random) -> None:
        """Build one below `root` and ask the launcher for what it is about."""


FAMILIES: dict[str, Family] = {
    "header": files.header,
    "hyperparameters": files.hyperparameters,
    "parts": files.parts,
    "names": files.names,
    "listings": hub.listings,
    "answers": hub.answers,
    "fetched names": hub.fetched_names,
    "cached": disk.cached,
    "folders": disk.folders,
    "kept": disk.kept,
    "servers": disk.servers,
    "journals": disk.journals,
    "carried": disk.carried,
}


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise TooLongError("it did not end")


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End what takes longer by TooLongError."""
    if sys.platform == "win32":
        pytest.skip("Windows has no alarm")
    before = signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def strays(root: Path) -> list[Path]:
    """What was written where nothing may be: in the home folder of the case, beside it, and above."""
    found: list[Path] = []
    for folder in {root, *root.parents, Path("/tmp"), Path.cwd()}:
        with suppress(OSError):
            found += [path for path in folder.iterdir() if EVIL in path.name]
    return found


def run_case(family: str, seed: int, root: Path, *, deadline_s: float = DEADLINE_S) -> Outcome:
    """Run one case in an empty folder that is `root`."""
    rng = random.Random(f"{family} {seed}")
    (root / "home").mkdir(parents=True)
    start = time.monotonic()
    how, text = "left out", ""
    try:
        with deadline(deadline_s):
            FAMILIES[family](root, rng)
    except LauncherError as error:
        how, text = "refused", error.message
        if not error.message.strip() or len(error.message) > 120_000:
            how = "a message of none or many words"
    except Exception as error:  # noqa: BLE001  # what it is about
        import traceback

        place = traceback.extract_tb(error.__traceback__)[-1]
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/launcher/" in frame.filename]
        place = ours[-1] if ours else place
        how, text = type(error).__name__, f"{error!s:.150} at {Path(place.filename).name}:{place.lineno}"
    seconds = time.monotonic() - start
    if written := strays(root):
        how, text = "written outside", str(written[0])
    return Outcome(family=family, seed=seed, how=how, text=text, seconds=seconds)


def peak_mib() -> int:
    """The most memory that this process has had."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such limits")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
