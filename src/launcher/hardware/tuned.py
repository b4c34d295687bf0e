"""Settings that won measured runs, kept for each machine with its engine, model file and purpose."""

from __future__ import annotations

import json
import shlex
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import LauncherError
from launcher.hardware.identity import machine_record, same_machine
from launcher.planner.types import Purpose, Tuned
from launcher.records import RecordError, from_jsonable, to_jsonable
from launcher.system.locks import BusyError, held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from launcher.hardware.types import Hardware

SCHEMA = 1
_FILE = "tuned.json"
_KEPT = 64  # of all machines together, the newest: each is half a kilobyte, and every plan reads them
_LOCK_S = 5.0  # whoever has the lock writes one small file; a lock that stays was left by a process that was killed


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptTuned:
    """One winner, with what it holds for."""

    machine: dict[str, Any]
    """A `machine_record`."""
    parts: tuple[FilePart, ...]
    """Of the model file, with bare names: where it lies says nothing."""
    tuned: Tuned

    def holds_for(self, hardware: Hardware, parts: Sequence[FilePart], purpose: Purpose) -> bool:
        """Whether it was measured on this machine and engine, with this file, for this purpose."""
        return self.tuned.purpose == purpose and _same_parts(self.parts, parts) and same_machine(self.machine, hardware)


def load_tuned(hardware: Hardware, file: ModelFile, *, purpose: Purpose, state_dir: Path) -> Tuned | None:
    """What won here with this file for this purpose; None where nothing is kept, or the file's size is not known."""
    parts = _parts(file)
    if parts is None:
        return None
    found = (kept for kept in reversed(all_tuned(state_dir)) if kept.holds_for(hardware, parts, purpose))
    return next((kept.tuned for kept in found), None)


def save_tuned(hardware: Hardware, file: ModelFile, tuned: Tuned, *, state_dir: Path) -> None:
    """Keep a winner in the place of an earlier one; winners of other machines, engines and files stay beside it.

    Raises:
        LauncherError: the file of the model, or the folder, is not one that anything could be kept for.
    """
    parts = _parts(file)
    if parts is None:
        raise LauncherError(
            f"what was tuned for {file.name} cannot be kept: the size of its file is not known",
            hint="gpt-oss plan --refresh",
        )
    new = KeptTuned(machine=machine_record(hardware), parts=parts, tuned=tuned)

    def with_new(kept: Sequence[KeptTuned]) -> list[KeptTuned]:
        others = [one for one in kept if not one.holds_for(hardware, parts, tuned.purpose)]
        return [*others, new][-_KEPT:]

    _change(state_dir, with_new)


def forget_tuned(hardware: Hardware, file: ModelFile, *, purpose: Purpose, state_dir: Path) -> bool:
    """Forget what won here with this file for this purpose. Whether there was anything.

    Raises:
        LauncherError: the folder cannot be written.
    """
    parts = _parts(file)
    if parts is None or load_tuned(hardware, file, purpose=purpose, state_dir=state_dir) is None:
        return False
    _change(state_dir, lambda kept: [one for one in kept if not one.holds_for(hardware, parts, purpose)])
    return True


def all_tuned(state_dir: Path) -> tuple[KeptTuned, ...]:
    """Every winner that is kept, of other machines as well, the newest last. A damaged file holds none."""
    try:
        content = json.loads((state_dir / _FILE).read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            return ()
        rows = list(content["kept"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()
    found = []
    for row in rows:
        with suppress(RecordError):
            found.append(from_jsonable(KeptTuned, row))
    return tuple(one for one in found if one.tuned.pp_ratio > 0 and one.tuned.tg_ratio > 0)


def _parts(file: ModelFile) -> tuple[FilePart, ...] | None:
    """What tells a model file from others: name and size of each part, its hash where known."""
    sizes = [part.size_bytes for part in file.parts]
    if sizes == [None] and file.local_path is not None:
        with suppress(OSError):
            sizes = [file.local_path.stat().st_size]
    if not sizes or None in sizes:
        return None
    return tuple(
        replace(part, path=PurePosixPath(part.path).name, size_bytes=size)
        for part, size in zip(file.parts, sizes, strict=True)
    )


def _same_parts(some: Sequence[FilePart], others: Sequence[FilePart]) -> bool:
    """A hash that only one of them knows, as a file given by its path has none, decides nothing."""
    return len(some) == len(others) and all(
        a.path == b.path
        and a.size_bytes == b.size_bytes
        and (a.sha256 is None or b.sha256 is None or a.sha256 == b.sha256)
        for a, b in zip(some, others, strict=True)
    )


def _change(state_dir: Path, change: Callable[[Sequence[KeptTuned]], Sequence[KeptTuned]]) -> None:
    from launcher.paths import write_atomic

    path = state_dir / _FILE
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f"{_FILE}.lock")):
            rows = to_jsonable(list(change(all_tuned(state_dir))))
            write_atomic(path, json.dumps({"schema": SCHEMA, "kept": rows}))
    except OSError as error:
        raise LauncherError(
            f"tuned settings cannot be kept in {path}: {error.strerror or error}",
            hint=f"ls -ld {shlex.quote(str(state_dir))}",
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time, as far as the file system can: without the lock the last writer wins."""
    with ExitStack() as stack:
        with suppress(BusyError):
            stack.enter_context(held(path, wait_s=_LOCK_S, plain=True))
        yield
