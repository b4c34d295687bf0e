"""What `gpt-oss engine list`, `use` and `remove` do."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from launcher.builds import store
from launcher.builds.crashed import last_crash
from launcher.builds.detect import read_build
from launcher.builds.disk import size_bytes
from launcher.builds.types import AUTO, ENVIRONMENT, Build
from launcher.builds.unfinished import begun, clear, unfinished, work_folder
from launcher.cli.ask import agreed, can_be_asked
from launcher.cli.engine_view import Engine, engine_of, print_engines
from launcher.cli.output import print_json, say
from launcher.errors import EngineError, UsageError
from launcher.paths import folders
from launcher.units import format_bytes


def list_engines(*, devices: bool, as_json: bool) -> None:
    """`gpt-oss engine list`."""
    data = folders().data
    store.clean(data)
    builds, damaged = store.installed(data)
    own = store.environment_build()
    here = [*([own] if own is not None else []), *builds]
    engines = [_unless_crashed(engine_of(build), build) for build in here]
    if devices:
        engines = _with_devices(here, engines)
    choice = store.chosen(data)
    left = unfinished(folders().cache)
    if as_json:
        print_json({"chosen": choice, "engines": engines, "damaged": damaged, "unfinished": left})
    else:
        print_engines(engines, damaged, choice, left)


def _unless_crashed(engine: Engine, build: Build) -> Engine:
    crash = last_crash(build, folders().state)
    return engine if crash is None else replace(engine, usable=False, why_not=crash.what)


def _with_devices(builds: list[Build], engines: list[Engine]) -> list[Engine]:
    """What each can compute on, as it tells in a child process of its own: side by side, since drivers take seconds."""
    with ThreadPoolExecutor(max_workers=len(builds) or 1) as pool:
        reports = list(pool.map(read_build, builds))
    return [
        replace(
            engine,
            commit=report.commit or engine.commit,
            devices=None if report.devices is None else tuple(each for each in report.devices if each.type != "CPU"),
            note=report.note,
        )
        for engine, report in zip(engines, reports, strict=True)
    ]


def use_engine(name: str, *, as_json: bool) -> None:
    """`gpt-oss engine use`.

    Raises:
        UsageError: none is called so.
        DamagedFileError: its folder is no build.
        EngineError: it did not pass its self-test, or crashed since.
    """
    data = folders().data
    before = store.chosen(data)
    if name != AUTO:
        refuse_unusable(store.find(data, name))
        crash = last_crash(store.find(data, name), folders().state)
        if crash is not None:
            raise EngineError(f"{name} is not used: {crash.what}", hint=f"gpt-oss engine test {shlex.quote(name)}")
    store.choose(data, name)
    if as_json:
        print_json({"chosen": name, "before": before})
        return
    what = "the engine whose plan is best" if name == AUTO else name
    say(f"plans take {what} from now on" if name != before else f"plans took {what} already")
    if name != before:
        say(f"it was {before}; back: gpt-oss engine use {shlex.quote(before)}")


def refuse_unusable(build: Build) -> None:
    """Raise EngineError for a build of another kind of machine, or that did not show that it computes rightly."""
    if build.why_not is None:
        return
    hint = "gpt-oss engine list" if build.elsewhere is not None else f"gpt-oss engine test {shlex.quote(build.name)}"
    raise EngineError(f"{build.name} is not used: {build.why_not}", hint=hint)


def remove_engine(name: str, *, yes: bool, as_json: bool) -> None:
    """`gpt-oss engine remove`: an engine, and what was compiled of one that never came to be.

    Raises:
        UsageError: declined, none is called so, it is the environment's or in use.
    """
    own = folders()
    kept = store.engines_dir(own.data) / name
    was_chosen = store.chosen(own.data) == name
    was_begun = name in begun(own.cache)
    if name != ENVIRONMENT:
        _ask(name, [kept, *([work_folder(own.cache, name)] if was_begun else [])], yes=yes)
    # What is not in the store and was not begun is refused there.
    freed_bytes = store.remove(own.data, name) if kept.is_dir() or not was_begun else 0
    freed_bytes += clear(own.cache, name) if was_begun else 0
    if as_json:
        print_json({"removed": name, "freed_bytes": freed_bytes, "chosen": store.chosen(own.data)})
        return
    say(f"removed {name}: {format_bytes(freed_bytes)} freed")
    if was_chosen:
        say("it was the chosen engine: plans take the best of the others now (auto)")


def _ask(name: str, doomed: list[Path], *, yes: bool) -> None:
    if yes or not any(folder.is_dir() for folder in doomed):
        return
    if not can_be_asked():
        again = shlex.join(["gpt-oss", "engine", "remove", name, "--yes"])
        raise UsageError("this removes files, and nobody can be asked", hint=again)
    size = format_bytes(sum(map(size_bytes, doomed)))
    if not agreed(f"Remove {name} for good ({size})?", default=False):
        raise UsageError("nothing removed", hint="gpt-oss engine list")
