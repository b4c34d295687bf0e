"""This machine by each build of llama.cpp that plans may take: probed once, the builds asked at the same time."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from launcher.builds.answers import Answers
from launcher.builds.commit import same_commit
from launcher.builds.crashed import last_crash
from launcher.builds.silent import SilentBuilds
from launcher.builds.types import AUTO, ENVIRONMENT, Build
from launcher.errors import EngineError
from launcher.hardware.crashes import Crash
from launcher.hardware.detect import Machine, detect_each
from launcher.hardware.engine_devices import PROBE_DEADLINE_S, EngineAt, EngineReport, find_package, read_engine
from launcher.hardware.match import may_serve
from launcher.hardware.types import Hardware, OtherEngine
from launcher.paths import folders

if TYPE_CHECKING:
    from launcher.hardware.detect import Detected

ReadBuild = Callable[[Build], EngineReport]

PATIENCE_S = 3.0
"""A GPU's first program takes that long; after it a person is told what is waited for."""


def read_build(build: Build) -> EngineReport:
    """Ask a build of the store, in a child process. Never raises."""
    return as_recorded(read_engine(build.package), build)


def as_recorded(report: EngineReport, build: Build) -> EngineReport:
    """What a build said, unless it is another one than was tested: then only that."""
    record = build.record
    if record is None or report.devices is None:
        return report
    version, commit = report.version, report.commit
    if version is not None and version != record.version:
        return _changed(report, f"it is llama-cpp-python {version}, and was tested as {record.version}")
    if commit is not None and record.commit is not None and not same_commit(commit, record.commit):
        return _changed(report, f"it is llama.cpp {commit}, and was tested as {record.commit}")
    return report


def _changed(report: EngineReport, why: str) -> EngineReport:
    return replace(report, devices=None, note=why)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asking:
    """How builds are asked."""

    read: ReadBuild
    silent: SilentBuilds | None
    answers: Answers | None
    tell: Callable[[str], None]
    patience_s: float

    def own(self, read: Callable[[], EngineReport]) -> EngineAt:
        """The environment's build."""
        return EngineAt(name=ENVIRONMENT, site=None, read=lambda: self._told(ENVIRONMENT, find_package, read))

    def at(self, build: Build) -> EngineAt:
        """A build of the store."""
        made_at = None if build.record is None else build.record.made_at
        return EngineAt(name=build.name, site=str(build.site), read=lambda: self._asked(build), made_at=made_at)

    def _asked(self, build: Build) -> EngineReport:
        report = self._told(build.name, lambda: build.package, lambda: self.read(build))
        if self.silent is not None:
            self.silent.keep(build, silent=report.hung)
        return report

    def _told(self, name: str, package: Callable[[], Path | None], read: Callable[[], EngineReport]) -> EngineReport:
        waiting = Timer(self.patience_s, self.tell, [f"waiting for the engine {name} to list its devices"])
        waiting.daemon = True
        waiting.start()
        try:
            return read() if self.answers is None else self.answers.of(name, package(), read)
        finally:
            waiting.cancel()

    def trouble(self, build: Build) -> str | None:
        """Why a build is not asked: it crashed in use, or did not answer the last time."""
        crash = self._crash(build)
        if crash is not None:
            return crash.why
        since = None if self.silent is None else self.silent.since(build)
        if since is None:
            return None
        again = f"a day, a restart of the machine or `{_test(build.name)}`"
        return (
            f"it did not list its devices within {PROBE_DEADLINE_S:.0f} s on {since}; it is asked again after {again}"
        )

    def _crash(self, build: Build) -> Crash | None:
        return None if self.silent is None else last_crash(build, self.silent.state_dir)

    def pinned(self, build: Build) -> EngineAt:
        """A build that was asked for by name, and is taken whatever happened to it."""
        crash = self._crash(_checked(build))
        if crash is not None:
            self.tell(f"{build.name} is taken since it was named, though {crash.what}")
        return self.at(build)


def detect_all(
    build: str | None = None,
    *,
    data_dir: Path | None = None,
    machine: Machine | None = None,
    read: ReadBuild = read_build,
    silent: SilentBuilds | None = None,
    answers: Answers | None = None,
    tell: Callable[[str], None] = lambda _: None,
    patience_s: float = PATIENCE_S,
) -> tuple[Hardware, ...]:
    """The machine by every build that plans may take; the environment's first, then the newest.

    A build that fails its self-test, crashes or hangs is no part of it: the others name it with the reason.

    Args:
        build: `auto` for all, or the name of the only one; None for what `gpt-oss engine use` chose.
        data_dir: where the store is; the launcher's own folder by default.
        machine: where to look; this one by default.
        read: how a build of the store is asked.
        silent: where builds that hang or crash are remembered; by default beside the launcher's own store.
        answers: where what a build for the CPU alone says is kept, likewise.
        tell: told which build is waited for.
        patience_s: for how long nothing is told.

    Raises:
        LauncherError: the build that was named is not there, failed its self-test, or cannot be asked.
    """
    if data_dir is None:
        data_dir, state_dir = folders().data, folders().state
        silent = silent or SilentBuilds(state_dir=state_dir)
        answers = answers or (Answers(state_dir=state_dir) if machine is None else None)
    data_dir = data_dir.absolute()  # programs are started from other folders
    machine = machine or Machine()
    asking = _Asking(read=read, silent=silent, answers=answers, tell=tell, patience_s=patience_s)
    own = asking.own(machine.engine)
    if build in (None, AUTO, ENVIRONMENT) and not (data_dir / "engines").is_dir():
        found = detect_each((own,), machine)
        return (_only(found[0]) if build == ENVIRONMENT else found[0].hardware,)
    from launcher.builds import store

    wanted = store.chosen(data_dir) if build is None else build
    builds, damaged = store.installed(data_dir)
    if build not in (None, AUTO):
        at = own if wanted == ENVIRONMENT else asking.pinned(store.find(data_dir, wanted))
        return (_beside(_only(detect_each((at,), machine)[0]), builds),)
    left_out = {broken.name: broken.what for broken in damaged if not broken.newer}
    troubles = {one.name: why for one in builds if one.usable and (why := asking.trouble(one)) is not None}
    left_out |= {one.name: one.why_not for one in builds if one.why_not is not None} | troubles
    asked = (own, *(asking.at(one) for one in sorted(builds, key=_newest_first) if one.name not in left_out))
    for one in builds:
        if one.elsewhere is not None and one.name != wanted:  # a home folder that machines share: nothing is amiss
            del left_out[one.name]
    if wanted != AUTO:
        chosen = [at for at in asked if at.name == wanted]
        found = detect_each(chosen, machine) if chosen else ()
        if found and found[0].problem is None:
            return (_beside(found[0].hardware, builds),)
        newer = next((broken.what for broken in damaged if broken.newer and broken.name == wanted), None)
        problem = found[0].problem if found else left_out.get(wanted, newer or "it is not there")
        left_out[wanted] = f"`gpt-oss engine use` chose it, but {problem}"
        asked = tuple(at for at in asked if at.name != wanted)
    found = detect_each(asked, machine) if asked else detect_each((own,), machine)
    # What crashed or hung is here all the same: a GPU needs none installed, but this one to be sound.
    resting = {one.name: one.record.backend for one in builds if one.name in troubles and one.record is not None}
    return tuple(may_serve(one, resting, left_alone=True) for one in _usable(found, left_out, wanted))


def _checked(build: Build) -> Build:
    if build.why_not is not None:
        hint = _test(build.name) if build.elsewhere is None else "gpt-oss engine list"
        raise EngineError(f"the engine {build.name} is not used: {build.why_not}", hint=hint)
    return build


def _beside(hardware: Hardware, builds: Sequence[Build]) -> Hardware:
    """The record of the only build that was asked: a GPU that another one is for needs nothing installed."""
    others = {
        one.name: one.record.backend
        for one in builds
        if one.usable and one.record is not None and one.name != hardware.engine.name
    }
    return may_serve(hardware, others)


def _newest_first(build: Build) -> tuple[tuple[int, ...], str]:
    version = build.record.version if build.record is not None else ""
    return tuple(-int(part) for part in version.split(".") if part.isdecimal()), build.name


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


def _usable(found: Sequence[Detected], left_out: dict[str, str], wanted: str) -> tuple[Hardware, ...]:
    """The records of builds that answered, each with those that are left out; of none, that of the environment.

    The build that was wanted comes first of those: it is what a person asks about.
    """
    answered = [one.hardware for one in found if one.problem is None] or [found[0].hardware]
    more = tuple(OtherEngine(name=name, left_out=why) for name, why in left_out.items())
    return tuple(
        replace(one, other_engines=tuple(sorted((*one.other_engines, *more), key=lambda other: other.name != wanted)))
        for one in answered
    )
