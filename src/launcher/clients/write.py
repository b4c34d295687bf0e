"""Merge into the settings files that a person has: found, backed up, changed whole or not at all."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from launcher.clients.merge import CannotMergeError, UnreadableError, merge
from launcher.clients.types import ConfigFile, Patch
from launcher.errors import DamagedFileError, LauncherError, UsageError
from launcher.paths import write_atomic

_NEW_MODE = 0o600


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What became of a settings file."""

    path: Path
    changed: bool
    """False where it said so already."""
    backup: Path | None
    """What it said before; None where there was no file, or nothing to change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Change:
    path: Path
    before: bytes | None
    after: bytes
    mode: int


def locate(file: ConfigFile, *, home: Path, environ: Mapping[str, str], system: str) -> Path:
    """Where a settings file is, or would be. `system` is `sys.platform`.

    XDG_CONFIG_HOME and a client's own variable for its folder are honoured.
    """
    below = {"darwin": file.macos_path, "win32": file.windows_path}.get(system) or file.path
    path = home / below
    own, xdg = environ.get(file.folder_env or ""), environ.get("XDG_CONFIG_HOME")
    if own:
        path = Path(own).expanduser() / path.name
    elif xdg and below.startswith(".config/"):
        path = Path(xdg) / below.removeprefix(".config/")
    others = (path.with_name(name) for name in file.other_names)
    return path if path.exists() else next((other for other in others if other.exists()), path)


def write_patches(
    patches: Sequence[tuple[Path, Patch]], *, name: str, now: Callable[[], datetime] = datetime.now
) -> tuple[Written, ...]:
    """Merge into settings files. All are read and merged before the first is written.

    What a file says already is never lost: it stays in the file, and the whole of it in a copy beside it. Links are
    followed, permissions kept. `name` is the client's, for what to run next.

    Raises:
        DamagedFileError: a file cannot be read, or is not what its name says.
        UsageError: a file cannot be changed without loss.
        LauncherError: a file cannot be written.
    """
    changes = [_prepare(path, patch, name) for path, patch in patches]
    return tuple(_write(change, now) for change in changes)


def _prepare(path: Path, patch: Patch, name: str) -> _Change:
    hint = f"gpt-oss connect {name}"
    try:
        real = path.resolve()
        before = real.read_bytes() if real.exists() else None
        mode = _NEW_MODE if before is None else stat.S_IMODE(real.stat().st_mode)
        text = "" if before is None else before.decode()
    except UnicodeDecodeError as error:
        raise DamagedFileError("it is not UTF-8 text", path=str(path), hint=hint) from error
    except (OSError, RuntimeError) as error:  # a circle of links is one or the other
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DamagedFileError(f"cannot read {path}: {why}", path=str(path), hint=hint) from error
    if before is not None and not os.access(real, os.W_OK):
        # A new file could take its place all the same, but somebody meant it to stay.
        raise LauncherError(f"cannot write {real}: it is read-only", hint=f"ls -l {real}")
    hidden = None if patch.file.hides is None or before is not None else real.with_name(patch.file.hides)
    if hidden is not None and hidden.exists():
        raise UsageError(f"{path} would hide {hidden.name}, which is in use: move its settings first", hint=hint)
    try:
        after = merge(text, patch)
    except UnreadableError as error:
        raise DamagedFileError(
            f"{path} is damaged, and is left as it is: {error}", path=str(path), hint=hint
        ) from error
    except CannotMergeError as error:
        raise UsageError(f"{path} is left as it is: {error}", hint=hint) from error
    return _Change(path=real, before=before, after=after.encode(), mode=mode)


def _write(change: _Change, now: Callable[[], datetime]) -> Written:
    if change.before == change.after:
        return Written(path=change.path, changed=False, backup=None)
    try:
        backup = None
        if change.before is not None:
            backup = _free(change.path, now().strftime("%Y%m%d-%H%M%S"))
            write_atomic(backup, change.before, mode=change.mode)
        write_atomic(change.path, change.after, mode=change.mode)
    except OSError as error:
        why = error.strerror or str(error)
        raise LauncherError(
            f"cannot write {change.path}: {why}", hint=f"ls -ld {shlex.quote(str(change.path.parent))}"
        ) from error
    return Written(path=change.path, changed=True, backup=backup)


def _free(path: Path, stamp: str) -> Path:
    """A name for a copy that no earlier copy has: two within one second must not be one."""
    first = path.with_name(f"{path.name}.bak-{stamp}")
    number, name = 1, first
    while name.exists():
        number += 1
        name = first.with_name(f"{first.name}-{number}")
    return name
