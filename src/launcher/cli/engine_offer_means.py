"""What the offer of an engine rests on: which one it would be, what getting it takes and brings, and getting it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.builds.compile_types import CompileRequest
from launcher.builds.decision import Decision, Facts, Wish
from launcher.builds.types import Build
from launcher.cli.engine_offer import Effort
from launcher.errors import EngineError, LauncherError
from launcher.paths import folders
from launcher.units import format_bytes

if TYPE_CHECKING:
    from launcher.builds.shelf import Shelf
    from launcher.hardware.types import Hardware, IdleDevice
    from launcher.planner.types import Plan
    from launcher.settings import Settings

_LONG_MINUTES = 60
"""Nobody compiles longer than that because of a key pressed in haste."""


def decide() -> Decision:
    """Which engine this machine should get.

    Raises:
        LauncherError: the launcher's own files are damaged.
    """
    from launcher.builds.facts import read_facts
    from launcher.builds.shelf import read_shelf
    from launcher.builds.source import pinned_version
    from launcher.cli.engine_install_session import packages_for
    from launcher.doctor.sources import Sources
    from launcher.doctor.system import read_platform

    version = pinned_version()
    if version is None:
        raise EngineError("the launcher's own metadata names no version of llama-cpp-python", hint="gpt-oss doctor")
    facts = read_facts(folders().data, packages=packages_for(read_platform(Sources())))
    return ready_made_first(facts, version, read_shelf())


def ready_made_first(facts: Facts, version: str, shelf: Shelf) -> Decision:
    """The engine that `gpt-oss engine install` would get, ready made where there is one.

    Somebody who waits for an answer does not wait for a compiler.
    """
    from launcher.builds.install import propose

    first = propose(facts, Wish(version=version), shelf)
    if first.do != "build" or first.backend is None:
        return first
    ready = propose(facts, Wish(version=version, backend=first.backend, how="prebuilt"), shelf)
    return ready if ready.do == "prebuilt" else first


def effort(decision: Decision) -> Effort:
    """What getting it takes."""
    if decision.do == "prebuilt":
        size = "" if decision.about_bytes is None else f" of about {format_bytes(decision.about_bytes)}"
        wheel = bool(decision.archives) and decision.archives[0].kind == "wheel"
        origin = "a wheel of llama-cpp-python" if wheel else "a release of llama.cpp"
        return Effort(words=f"a download{size} ({origin})", is_long=False)
    from launcher.builds.prepare import prepare

    ready = prepare(_request(decision), cache_dir=folders().cache)
    minutes = max(1, math.ceil(ready.expected_s / 300)) * 5
    about = f"{minutes} minutes" if minutes <= _LONG_MINUTES else f"{math.ceil(minutes / 60)} hours"
    return Effort(words=f"about {about} of compiling", is_long=minutes > _LONG_MINUTES)


def gain(
    hardware: Hardware, now: Plan | None, gpus: Sequence[IdleDevice], decision: Decision, settings: Settings
) -> str | None:
    """What a plan with the GPUs would have over the one of now: empty for nothing to speak of, None where unknown."""
    from launcher.cli.context import request_of, world
    from launcher.flow import plan_with
    from launcher.hardware.match import REGISTRIES
    from launcher.planner.whatif import gain_of, with_idle_used

    registry = REGISTRIES.get(decision.backend) if decision.backend is not None else None
    machine = None if registry is None else with_idle_used(hardware, registry, gpus)
    if machine is None:
        return None
    try:
        then = plan_with(hardware, machine, request_of(settings), world(settings), offline=True)
    except LauncherError:
        return None
    found = gain_of(now, then)
    is_known = then.tg_ts is not None and (now is None or now.tg_ts is not None)
    return found or ("" if is_known else None)


def install(decision: Decision) -> Build:
    """Get it, with its progress shown; it may have failed its self-test.

    Raises:
        LauncherError: it could not be fetched or compiled.
    """
    own = folders()
    if decision.do == "build":
        from launcher.cli.engine_build_session import compile_with_progress

        return compile_with_progress(_request(decision), own.data, own.cache)[0]
    from launcher.cli.engine_install_session import install_found, look_up_for
    from launcher.cli.engine_install_view import print_found

    found = look_up_for(decision)
    print_found(found)
    return install_found(found, own)


def _request(decision: Decision) -> CompileRequest:
    from launcher.builds.source import known_sha256

    if decision.backend is None:
        raise EngineError("there is no engine to compile", hint="gpt-oss engine list")
    return CompileRequest(backend=decision.backend, version=decision.version, sha256=known_sha256(decision.version))
