"""This machine by each build of llama.cpp that plans may take: probed once, the builds asked at the same time."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.builds.types import AUTO, ENVIRONMENT
from launcher.errors import EngineError
from launcher.hardware.detect import Machine, detect_each
from launcher.hardware.engine_devices import EngineAt, read_engine
from launcher.hardware.match import may_serve
from launcher.hardware.types import Hardware, OtherEngine
from launcher.paths import folders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from launcher.builds.types import Build
    from launcher.hardware.detect import Detected
    from launcher.hardware.engine_devices import EngineReport

    ReadBuild = Callable[[Build], EngineReport]


def read_build(build: Build) -> EngineReport:
    """Ask a build of the store, in a child process. Never raises."""
    return read_engine(build.package)


def detect_all(
    build: str | None = None,
    *,
    data_dir: Path | None = None,
    machine: Machine | None = None,
    read: ReadBuild = read_build,
) -> tuple[Hardware, ...]:
    """The machine by every build that plans may take; the environment's first, then the newest.

    A build that fails its self-test, crashes or hangs is no part of it: the others name it with the reason.

    Args:
        build: `auto` for all, or the name of the only one; None for what `gpt-oss engine use` chose.
        data_dir: where the store is; the launcher's own folder by default.
        machine: where to look; this one by default.
        read: how a build of the store is asked.

    Raises:
        LauncherError: the build that was named is not there, failed its self-test, or cannot be asked.
    """
    machine, data_dir = machine or Machine(), data_dir or folders().data
    own = EngineAt(name=ENVIRONMENT, site=None, read=machine.engine)
    if build in (None, AUTO, ENVIRONMENT) and not (data_dir / "engines").is_dir():
        found = detect_each((own,), machine)
        return (_only(found[0]) if build == ENVIRONMENT else found[0].hardware,)
    from launcher.builds import store

    wanted = build or store.chosen(data_dir)
    builds, damaged = store.installed(data_dir)
    if build not in (None, AUTO):
        at = own if wanted == ENVIRONMENT else _at(_checked(store.find(data_dir, wanted)), read)
        return (_beside(_only(detect_each((at,), machine)[0]), builds),)
    left_out = {broken.name: f"it is damaged: {broken.why}" for broken in damaged}
    left_out |= {one.name: why for one in builds if (why := _not_usable(one)) is not None}
    asked = (own, *(_at(one, read) for one in sorted(builds, key=_newest_first) if one.usable))
    if wanted != AUTO:
        chosen = [at for at in asked if at.name == wanted]
        found = detect_each(chosen, machine) if chosen else ()
        if found and found[0].problem is None:
            return (_beside(found[0].hardware, builds),)
        problem = found[0].problem if found else left_out.get(wanted, "it is not there")
        left_out[wanted] = f"`gpt-oss engine use` chose it, but {problem}"
        asked = tuple(at for at in asked if at.name != wanted)
    return _usable(detect_each(asked, machine) if asked else detect_each((own,), machine), left_out)


def _checked(build: Build) -> Build:
    why = _not_usable(build)
    if why is not None:
        raise EngineError(f"the engine {build.name} is not used: {why}", hint=_test(build.name))
    return build


def _beside(hardware: Hardware, builds: Sequence[Build]) -> Hardware:
    """The record of the only build that was asked: a GPU that another one is for needs nothing installed."""
    others = {
        one.name: one.record.backend
        for one in builds
        if one.usable and one.record is not None and one.name != hardware.engine.name
    }
    return may_serve(hardware, others)


def _at(build: Build, read: ReadBuild) -> EngineAt:
    return EngineAt(name=build.name, site=str(build.site), read=partial(read, build))


def _newest_first(build: Build) -> tuple[tuple[int, ...], str]:
    version = build.record.version if build.record is not None else ""
    return tuple(-int(part) for part in version.split(".") if part.isdecimal()), build.name


def _not_usable(build: Build) -> str | None:
    """Why plans may not take a build that is whole."""
    if build.usable or build.record is None:
        return None
    tested = build.record.self_test
    if tested is None:
        return "it has not been tested"
    return f"it failed its self-test: {tested.why or 'without a word'}"


def _only(found: Detected) -> Hardware:
    if found.problem is not None:
        name = found.hardware.engine.name
        raise EngineError(
            f"the engine {name} cannot be used: {found.problem}",
            hint="gpt-oss doctor" if name == ENVIRONMENT else _test(name),
        )
    return found.hardware


def _test(name: str) -> str:
    return f"gpt-oss engine test {shlex.quote(name)}"


def _usable(found: Sequence[Detected], left_out: dict[str, str]) -> tuple[Hardware, ...]:
    """The records of builds that answered, each with those that are left out; of none, that of the environment."""
    answered = [one.hardware for one in found if one.problem is None] or [found[0].hardware]
    more = tuple(OtherEngine(name=name, left_out=why) for name, why in left_out.items())
    return tuple(replace(one, other_engines=(*one.other_engines, *more)) for one in answered)
