"""What `gpt-oss engine install` says."""

from __future__ import annotations

import shlex
from urllib.parse import urlsplit

from launcher.builds.decision import Decision
from launcher.builds.prebuilt import Found
from launcher.builds.types import AUTO, Build
from launcher.cli.output import say
from launcher.hardware.engine_devices import read_engine
from launcher.units import format_bytes


def print_decision(decision: Decision) -> None:
    """What is decided, and why; on stderr."""
    if decision.do == "nothing":
        say(decision.why)
        if decision.command is not None:
            say(f"more: {decision.command}")
        return
    say(f"{decision.name}: {decision.why}")
    if decision.do == "build" and decision.other_way is not None:
        say(f"  It is compiled here, which fits it to this machine. Faster to have: {decision.other_way}")
    elif decision.other_way is not None:
        say(f"  Or compiled here: {decision.other_way}")


def print_found(found: Found) -> None:
    """What will be fetched, from where, and how large it is; on stderr."""
    host = urlsplit(found.assets[0].url).hostname
    what = "a release of llama.cpp" if found.archive.kind == "release" else "a wheel of llama-cpp-python"
    say(f"  {what}, {found.pinned.tag or found.pinned.commit[:9]}, from {host}; each file's sha256 is checked")
    width = max(len(asset.name) for asset in found.assets)
    for asset in found.assets:
        say(f"    {asset.name:<{width}}  {format_bytes(asset.size_bytes):>8}")
    say(f"  {format_bytes(found.size_bytes)} to download, about {format_bytes(found.disk_bytes)} on disk")
    if found.archive.kind == "wheel":
        say("  A wheel has no programs: `serve` goes on with those of the engine that came with the launcher.")


def print_installed(build: Build, chosen: str, *, is_other: bool) -> None:
    """What came of it, on stderr."""
    record = build.record
    if record is None or not build.usable:
        return
    say(f"{build.name} is installed, and passed its self-test.")
    report = read_engine(build.package)
    gpus = [device.description for device in report.devices or () if device.type in {"GPU", "IGPU"}]
    name = shlex.quote(build.name)
    if record.backend != "cpu" and not gpus:
        say("It sees no GPU here, so that it computes on the CPU: gpt-oss doctor")
    elif chosen not in {AUTO, build.name}:
        say(f"Plans take {chosen}, which was chosen before: gpt-oss engine use auto")
    else:
        on = f": the next `gpt-oss chat` can run on the {gpus[0]}" if gpus else ""
        say(f"Plans take it where it is the best{on}.")
    back = "gpt-oss engine use environment" if is_other else f"gpt-oss engine remove {name}"
    say(f"Always: gpt-oss engine use {name}; back: {back}")
