"""The stage files: full-size models of random blocks, made at the same time, each where there is room."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_stages.kept import Kept
from gpu_stages.lab import SHARED_MEMORY, LabError
from gpu_stages.records import FileRow
from launcher.demo import demo_model_path
from launcher.units import GIB, format_bytes

DEMO = "demo"
_SPARE_BYTES = GIB
"""Left free of a disk."""
_RAM_BYTES = 24 * GIB
"""Left free of RAM where a file lies in it: an engine, its pinned buffers and the system."""
_STEP_S = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A file to make."""

    file: str
    model: str
    recipe: str
    size_bytes: int
    n_layer: int | None = None

    @property
    def name(self) -> str:
        """Of the file."""
        return f"gpt-oss-{self.file}-{self.recipe}.gguf"


FULL = (
    Wanted(file="20b", model="20b", recipe="MXFP4", size_bytes=12_109_566_560),
    Wanted(file="120b", model="120b", recipe="MXFP4", size_bytes=63_387_346_464),
)
"""As long as the native releases."""
REHEARSAL = (Wanted(file="1-layer", model="20b", recipe="MXFP4", size_bytes=1_700_000_000, n_layer=1),)


def places(
    wanted: Sequence[Wanted], *, disk: Path, disk_bytes: int, shm_bytes: int, ram_bytes: int
) -> Mapping[str, Path]:
    """The folder of each file, the largest first: in RAM where it has room, else on the disk, which takes minutes.

    Args:
        wanted: the files.
        disk: the folder on the disk.
        disk_bytes: free there.
        shm_bytes: free of what RAM may hold as files.
        ram_bytes: available.

    Raises:
        LabError: one has room in neither.
    """
    found = {}
    disk_left = disk_bytes - _SPARE_BYTES
    ram_left = min(shm_bytes, ram_bytes - _RAM_BYTES)
    for one in sorted(wanted, key=lambda one: -one.size_bytes):
        if one.size_bytes <= ram_left:
            found[one.file] = SHARED_MEMORY
            ram_left -= one.size_bytes
        elif one.size_bytes <= disk_left:
            found[one.file] = disk
            disk_left -= one.size_bytes
        else:
            raise LabError(
                f"no room for {one.name} of {format_bytes(one.size_bytes)}: {format_bytes(max(0, disk_left))} on the "
                f"disk, {format_bytes(max(0, ram_left))} in RAM"
            )
    return found


def available_bytes() -> int:
    """RAM that a new process can take."""
    import psutil

    return int(psutil.virtual_memory().available)


def is_made(one: Wanted, kept: Kept) -> bool:
    """Whether a file was made and is still there."""
    row = kept.get("files", one.file, FileRow)
    return row is not None and Path(row.path).is_file()


def note_demo(kept: Kept) -> None:
    """For a rehearsal: the demo model is one of the files."""
    path = demo_model_path()
    row = FileRow(
        file=DEMO, model=DEMO, recipe="MXFP4", n_layer=None, path=str(path), size_bytes=path.stat().st_size,
        took_s=0.0,
    )  # fmt: skip
    kept.add("files", row.file, row)


def make(wanted: Sequence[Wanted], where: Mapping[str, Path], kept: Kept, *, script: Path) -> int:
    """Make all of them at the same time. Raises LabError where one cannot be made."""
    began = time.monotonic()
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for one in wanted:
            path = where[one.file] / one.name
            path.parent.mkdir(parents=True, exist_ok=True)
            options = ["--model", one.model, "--recipe", one.recipe, "--fill", "random"]
            options += [] if one.n_layer is None else ["--n-layer", str(one.n_layer)]
            running[one.file] = subprocess.Popen(
                [sys.executable, str(script), str(path.with_suffix(".part")), *options], stdout=subprocess.DEVNULL
            )
        todo = {one.file: one for one in wanted if one.file in running}
        while todo:
            for file in [file for file in todo if running[file].poll() is not None]:
                one = todo.pop(file)
                _finish(one, where[file] / one.name, running[file].returncode, kept, time.monotonic() - began)
            time.sleep(_STEP_S)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return 0


def _finish(one: Wanted, path: Path, status: int, kept: Kept, took_s: float) -> None:
    part = path.with_suffix(".part")
    if status != 0:
        part.unlink(missing_ok=True)
        raise LabError(f"{one.name} could not be made (status {status})")
    part.replace(path)
    row = FileRow(
        file=one.file, model=f"gpt-oss-{one.model}", recipe=one.recipe, n_layer=one.n_layer, path=str(path),
        size_bytes=path.stat().st_size, took_s=took_s,
    )  # fmt: skip
    kept.add("files", one.file, row)
