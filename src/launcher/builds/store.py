"""The builds in the data folder: `engines/NAME/` with `engine.json`, `site/` and the log of how it was made.

A build is made in a folder that begins with a dot and gets its name when it is complete, so that what has a name is
whole. A lock file for each name keeps two installers apart, and tells a folder that is being filled from one that was
left behind by a process that is gone.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from launcher.builds.disk import flush, locked, size_bytes, told
from launcher.builds.record import SITE, NewerError, read_build, write_record
from launcher.builds.types import AUTO, ENVIRONMENT, Build, BuildRecord, DamagedBuild, SelfTest
from launcher.builds.users import User, users_of
from launcher.errors import DamagedFileError, EngineError, LauncherError, UsageError
from launcher.paths import write_atomic

_CHOICE = "use.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]*")
_FILLING, _REPLACED, _REMOVED = ".filling", ".replaced", ".removed"
"""Ends of the names of folders that are no builds: one in the making, one that a newer one takes the place of, and one
that goes."""


FindUsers = Callable[[Path], tuple[User, ...]]


def engines_dir(data_dir: Path) -> Path:
    """Where builds are kept."""
    return data_dir / "engines"


def environment_build() -> Build | None:
    """The build that the launcher's own environment has; None where llama-cpp-python is not installed."""
    spec = find_spec("llama_cpp")
    if spec is None or not spec.origin:
        return None
    return Build(name=ENVIRONMENT, site=Path(spec.origin).parents[1], record=None)


def installed(data_dir: Path) -> tuple[tuple[Build, ...], tuple[DamagedBuild, ...]]:
    """Builds of the store by name, and folders there that are none. Half-made ones begin with a dot: left out."""
    builds, damaged = [], []
    folder = engines_dir(data_dir)
    for child in sorted(folder.iterdir()) if folder.is_dir() else ():
        if child.name.startswith(".") or not child.is_dir():
            continue
        try:
            builds.append(read_build(child))
        except NewerError as error:
            damaged.append(DamagedBuild(name=child.name, folder=child, why=str(error), newer=True))
        except (OSError, ValueError) as error:  # RecordError and JSON's are ValueErrors
            damaged.append(DamagedBuild(name=child.name, folder=child, why=str(error)))
    return tuple(builds), tuple(damaged)


def find(data_dir: Path, name: str) -> Build:
    """A build by its name, `environment` too.

    Raises:
        UsageError: none is called so.
        DamagedFileError: its folder is no build.
        EngineError: only a newer launcher can read it, or the environment has none.
    """
    if name == ENVIRONMENT:
        own = environment_build()
        if own is None:
            raise EngineError("llama-cpp-python is not installed with the launcher", hint="gpt-oss doctor")
        return own
    builds, damaged = installed(data_dir)
    for build in builds:
        if build.name == name:
            return build
    for broken in damaged:
        if broken.name == name and broken.newer:
            raise EngineError(f"{name} cannot be used: {broken.why}", hint="gpt-oss engine list")
        if broken.name == name:
            raise DamagedFileError(
                f"{name} is damaged: {broken.why}",
                path=str(broken.folder),
                hint=f"gpt-oss engine remove {shlex.quote(name)}",
            )
    known = [ENVIRONMENT, *(build.name for build in builds), *(broken.name for broken in damaged)]
    begin = [each for each in known if name and each.startswith(name)]  # `cuda` for `cuda-0.3.36`
    near = begin or get_close_matches(name, known, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"no engine is called {name}{meant}", hint="gpt-oss engine list")


def chosen(data_dir: Path) -> str:
    """What `gpt-oss engine use` chose: a name, or `auto`, which is the default. A damaged file counts as none."""
    try:
        name = json.loads((engines_dir(data_dir) / _CHOICE).read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return AUTO
    return name if isinstance(name, str) and name else AUTO


def choose(data_dir: Path, name: str) -> None:
    """Let every plan take this build, or the best of all (`auto`). The name is not checked here."""
    path = engines_dir(data_dir) / _CHOICE
    with told(engines_dir(data_dir)):
        if name != AUTO:
            write_atomic(path, json.dumps({"schema": 1, "name": name}) + "\n")
        elif path.exists():  # nothing is written, so that it goes on a full disk too
            path.unlink()


@contextmanager
def staged(data_dir: Path, name: str, *, users: FindUsers = users_of) -> Iterator[Path]:
    """A folder to fill with a build of that name. It is gone at the end of the block, unless `add` took it.

    Raises:
        UsageError: no build can be called so, one that is called so is in use or of another kind of machine, or
            another process is making or removing it.
        LauncherError: the folder cannot be made.
    """
    if not _NAME.fullmatch(name) or name in {ENVIRONMENT, AUTO} or name.endswith(".json"):
        raise UsageError(f"no engine can be called {name!r}", hint="gpt-oss engine list")
    folder = engines_dir(data_dir)
    clean(data_dir)
    with locked(folder, name):
        _refuse_if_elsewhere(data_dir, name)
        refuse_if_used(data_dir, name, "replaced", users=users)  # before work is put into it
        with told(folder):
            filling = Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}.", suffix=_FILLING))
        try:
            yield filling
        finally:
            shutil.rmtree(filling, ignore_errors=True)


def check(data_dir: Path, name: str) -> None:
    """Raise as `staged` does where a build of that name could not be kept now: before gigabytes or hours are spent."""
    with staged(data_dir, name):
        pass


def add(staging: Path, record: BuildRecord, *, users: FindUsers = users_of) -> Build:
    """Give a filled folder its name, inside the block of `staged`. A build that has the name already is replaced.

    Raises:
        UsageError: the build that would be replaced is in use.
        LauncherError: there is no llama_cpp in the folder, or the disk is full.
        ValueError: the folder was made for another name, whose lock is held.
    """
    if _left_from(staging.name) != record.name:
        raise ValueError(f"{staging} is not for {record.name}")
    folder, final = staging.parent, staging.parent / record.name
    if not (staging / SITE / "llama_cpp" / "__init__.py").is_file():
        raise LauncherError(f"{record.name}: no llama_cpp in {staging / SITE}", hint="gpt-oss engine list")
    with told(folder):
        write_record(staging, record)
        flush(staging)
        if final.exists():
            refuse_if_used(folder.parent, record.name, "replaced", users=users)
            # Not removed before the new one has its name: `clean` puts it back where a kill comes in between.
            old = folder / f".{record.name}{_REPLACED}"
            _discard(old)
            final.rename(old)
            staging.rename(final)
            _discard(old)
        else:
            staging.rename(final)
    return read_build(final)


def keep_test(build: Build, result: SelfTest) -> Build:
    """The build with a new self-test, which its record keeps. The environment's has no record: nothing is written.

    Raises:
        UsageError: it is being replaced or removed, or is gone.
        LauncherError: it cannot be written.
    """
    if build.record is None:
        return build
    folder = build.site.parent
    record = replace(build.record, self_test=result)
    with locked(folder.parent, build.name):
        if not folder.is_dir():
            raise UsageError(f"{build.name} was removed meanwhile", hint="gpt-oss engine list")
        with told(folder):
            write_record(folder, record)
    return replace(build, record=record)


def remove(data_dir: Path, name: str, *, users: FindUsers = users_of) -> int:
    """Remove a build, or a folder that is none, and the choice of it; the bytes that this frees.

    Raises:
        UsageError: none is called so, it is the environment's, in use, or being made.
        LauncherError: it cannot be removed.
    """
    if name == ENVIRONMENT:
        raise UsageError(
            "the environment's engine belongs to the launcher: it is removed with it", hint="gpt-oss engine list"
        )
    if not any(one.name == name for group in installed(data_dir) for one in group):
        find(data_dir, name)
    folder = engines_dir(data_dir)
    with locked(folder, name):
        doomed = folder / name
        freed_bytes = size_bytes(doomed)
        refuse_if_used(data_dir, name, "removed", users=users)
        with told(folder):
            gone = folder / f".{name}{_REMOVED}"
            _discard(gone)
            # Renamed first: a removal that is killed half way leaves no half of a build under its name.
            doomed.rename(gone)
            if chosen(data_dir) == name:
                choose(data_dir, AUTO)
            if gone.is_symlink():
                gone.unlink()
            else:
                shutil.rmtree(gone)
    clean(data_dir)
    return freed_bytes


def clean(data_dir: Path) -> int:
    """Remove what processes that are gone left behind; the bytes that this frees. What is in the making stays."""
    folder = engines_dir(data_dir)
    freed_bytes = 0
    for child in sorted(folder.glob(".*")) if folder.is_dir() else ():
        name = _left_from(child.name)
        if name is None:
            continue
        with suppress(LauncherError, OSError), locked(folder, name) as alone:
            if not alone:  # nothing tells what was left behind from what is being filled
                continue
            if child.name.endswith(_REPLACED) and not (folder / name).exists():
                child.rename(folder / name)
                continue
            freed_bytes += size_bytes(child)
            _discard(child)
    return freed_bytes


def _discard(path: Path) -> None:
    """Remove a folder, or a link to one and not what it leads to, as far as that goes."""
    with suppress(OSError):
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def _left_from(name: str) -> str | None:
    """The build that a folder with a dot was made for; None for one that is not of the store."""
    for end in (_REPLACED, _REMOVED):
        if name.endswith(end):
            return name.removeprefix(".").removesuffix(end)
    return name.removeprefix(".").removesuffix(_FILLING).rpartition(".")[0] if name.endswith(_FILLING) else None


def _refuse_if_elsewhere(data_dir: Path, name: str) -> None:
    """Raise UsageError where a build of that name is for another kind of machine, which shares this home folder."""
    for build in installed(data_dir)[0]:
        if build.name == name and build.elsewhere is not None:
            raise UsageError(
                f"{name} is here for {build.elsewhere}, and would be replaced",
                details=(
                    "Machines that share a home folder and are of different kinds need a data folder each.",
                    f"Where that engine is not needed any more: gpt-oss engine remove {shlex.quote(name)}",
                ),
                hint=f"GPT_OSS_DATA_DIR=/folder/for/this/machine gpt-oss engine install {name.partition('-')[0]}",
            )


def refuse_if_used(data_dir: Path, name: str, done: str, *, users: FindUsers = users_of) -> None:
    """Raise UsageError where a process runs from a build, or has it in memory. `done`: what cannot be done to it."""
    folder = engines_dir(data_dir) / name
    found = users(folder) if folder.is_dir() else ()
    if found:
        who = ", ".join(f"{user.name or 'a process'} (pid {user.pid})" for user in found[:3])
        pids = [str(user.pid) for user in found[:3]]
        raise UsageError(f"{name} is in use by {who}: it cannot be {done} now", hint=show_processes(pids))


def show_processes(pids: Sequence[str], *, system: str = sys.platform) -> str:
    """The command that tells what processes are. `gpt-oss ps` knows servers alone."""
    return f'tasklist /fi "pid eq {pids[0]}"' if system == "win32" else f"ps -fp {','.join(pids)}"
