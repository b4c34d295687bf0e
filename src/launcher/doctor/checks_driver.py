"""Judgements on engines of the store, NVIDIA's driver, toolkits, and on who holds GPU memory. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from launcher.builds.types import AUTO, ENVIRONMENT
from launcher.doctor import remedies
from launcher.doctor.remedies import version
from launcher.doctor.scene import Scene, Store
from launcher.doctor.types import Check, DrmMemory, Holder, Nvidia, Platform, Status, Toolkit
from launcher.units import GIB, format_bytes

if TYPE_CHECKING:
    from launcher.builds.types import Build, SelfTest
    from launcher.hardware.engine_devices import EngineReport

MUCH_BYTES = GIB
"""What other programs hold of a GPU before it is a warning: a desktop with a browser stays below."""
_SCREEN = frozenset(
    {
        *("Xorg", "Xwayland", "gnome-shell", "mutter", "kwin_wayland", "kwin_x11", "plasmashell", "cosmic-comp"),
        *("sway", "Hyprland", "weston", "niri", "labwc", "dwm.exe", "explorer.exe"),
    }
)
"""Programs that draw the screen: to end one is to log out."""


def check_store(store: Store, driver: str | None, wanted: str | None) -> tuple[Check, ...]:
    """Engines of the store that plans can't take, or that should be tested again.

    Args:
        store: what is in it.
        driver: version of NVIDIA's driver, where it tells one.
        wanted: version of llama-cpp-python that the launcher is made for.
    """
    data = {
        "chosen": store.chosen,
        "engines": [
            {"name": build.name, "usable": build.usable and build.name not in {each.name for each in store.crashed}}
            for build in store.builds
        ],
        "damaged": [broken.name for broken in store.damaged],
    }
    reports = {each.name: each.report for each in store.engines}
    crashed = {
        crash.name: (f"{crash.name}: {crash.what}", "no plan takes it that does not name it", _test(crash.name))
        for crash in store.crashed
    }
    found = [
        Check(
            name="engines",
            status="warn",
            what=f"{broken.name} is damaged: {broken.why}",
            why="no plan takes it",
            remedy=f"gpt-oss engine remove {shlex.quote(broken.name)}",
            data=data,
            shared=f"{broken.name} is damaged",
        )
        for broken in store.damaged
        if not broken.newer
    ]
    for build in store.builds:
        trouble = crashed.get(build.name) or _trouble(build, reports.get(build.name), driver, wanted)
        if trouble is not None:
            what, why, remedy = trouble
            found.append(Check(name="engines", status="warn", what=what, why=why, remedy=remedy, data=data))
    here = {AUTO, ENVIRONMENT, *(build.name for build in store.builds), *(each.name for each in store.damaged)}
    if store.chosen not in here:
        what = f"{store.chosen}, which `gpt-oss engine use` chose, is not there"
        why = "plans take the best of the others"
        found.append(
            Check(name="engines", status="warn", what=what, why=why, remedy="gpt-oss engine use auto", data=data)
        )
    names = ", ".join(build.name for build in store.builds if build.elsewhere is None)
    if found or not names:
        return tuple(found)
    takes = "plans take the best" if store.chosen == AUTO else f"plans take {store.chosen}"
    return (Check(name="engines", status="ok", what=f"{names} passed the self-test; {takes}", data=data),)


def _test(name: str) -> str:
    return f"gpt-oss engine test {shlex.quote(name)}"


def _trouble(
    build: Build, report: EngineReport | None, driver: str | None, wanted: str | None
) -> tuple[str, str, str] | None:
    """What keeps a build from being taken or trusted, what that means, and the command."""
    if build.elsewhere is not None:  # nothing is to be mended: the home folder is shared
        return None
    test = _test(build.name)
    result = build.record.self_test if build.record is not None else None
    if build.record is None or result is None:
        return f"{build.name} has not been tested", "no plan takes it", test
    if not result.passed:
        return f"{build.name} failed its self-test: {result.why}", "no plan takes it", test
    if wanted is not None and build.record.version != wanted:
        what = f"{build.name} is of llama-cpp-python {build.record.version}; this launcher is made for {wanted}"
        return what, "another version may lack what it asks for", f"gpt-oss engine build {build.record.backend}"
    return _stale(build.name, result, report, driver)


def _stale(name: str, result: SelfTest, report: EngineReport | None, driver: str | None) -> tuple[str, str, str] | None:
    """What is otherwise than when a build passed its self-test."""
    test = _test(name)
    if report is not None and report.devices is None:
        return f"{name} passed its self-test and does not start now", report.note or "it gave no reason", test
    seen = {each.name for each in report.devices or () if each.type in {"GPU", "IGPU"}} if report is not None else set()
    if not seen <= set(result.devices):
        untested = ", ".join(sorted(seen - set(result.devices)))
        return f"{name} was tested without {untested}", "whether it computes rightly there is not known", test
    now = f"NVIDIA {driver}" if driver is not None else None
    if result.devices and result.driver is not None and now is not None and now != result.driver:
        what = f"{name} was tested with {result.driver}; the driver is {now} now"
        return what, "another driver may compute otherwise, or not at all", test
    return None


def check_driver(scene: Scene, nvidia: Nvidia, oldest: Mapping[str, str]) -> tuple[Check, ...]:
    """NVIDIA's driver against what the toolkit here compiles for it. `oldest`: driver by a toolkit's major version."""
    toolkit, platform, engine = scene.toolkit, scene.platform, scene.engine
    others = sorted({gpu.driver for gpu in scene.seen if gpu.driver and gpu.vendor != "NVIDIA"})
    if nvidia.driver is None:
        return (Check(name="driver", status="ok", what=", ".join(others), data={"drivers": others}),) if others else ()
    runs = f", runs CUDA up to {nvidia.cuda}" if nvidia.cuda else ""
    what = f"NVIDIA {nvidia.driver}{runs}"
    data = {"nvidia": nvidia.driver, "cuda": nvidia.cuda, "drivers": others}
    # A Jetson's driver is part of its system, and counts by itself.
    nvcc = toolkit.nvcc if toolkit is not None and not platform.jetson else None
    needed = oldest.get((nvcc or "").partition(".")[0])
    if needed is None or version(nvidia.driver) >= version(needed):
        return (Check(name="driver", status="ok", what=what, data=data),)
    devices = (engine.devices or ()) if engine is not None else ()
    works = any(device.backend == "CUDA" for device in devices)
    status: Status = "fail" if engine is not None and "CUDA" in engine.backends and not works else "warn"
    why = f"what CUDA {nvcc} compiles needs a driver from {needed} on"
    remedy = "wsl.exe --update" if platform.wsl else remedies.install("nvidia driver", platform)
    return (Check(name="driver", status=status, what=what, why=why, remedy=remedy, data=data),)


def check_toolkit(toolkit: Toolkit, ready_made: Collection[str] = ()) -> tuple[Check, ...]:
    """What an engine could be compiled with. `ready_made`: backends that pre-built engines for this machine have."""
    parts = [f"CUDA {toolkit.nvcc}" if toolkit.nvcc else "", f"ROCm {toolkit.rocm}" if toolkit.rocm else ""]
    parts.append("Vulkan" if toolkit.glslc and toolkit.vulkan_headers else "")
    parts.append("C++" if toolkit.compiler else "")
    instead = ", only had pre-built" if ready_made else ""
    what = ", ".join(part for part in parts if part) or f"none: an engine can't be compiled here{instead}"
    data = {
        "nvcc": toolkit.nvcc,
        "rocm": toolkit.rocm,
        "glslc": toolkit.glslc,
        "vulkan_headers": toolkit.vulkan_headers,
        "compiler": toolkit.compiler,
        "ready_made": sorted(ready_made),
    }
    return (Check(name="toolkits", status="ok", what=what, data=data),)


def check_holders(nvidia: Nvidia | None, drm: DrmMemory | None, platform: Platform) -> tuple[Check, ...]:
    """Who else holds memory of the GPUs."""
    if not (nvidia is not None and nvidia.gpus) and not (drm is not None and drm.n_gpus):
        return ()
    told = (*(nvidia.holders if nvidia is not None else ()), *(drm.holders if drm is not None else ()))
    holders = sorted(told, key=lambda each: -each.used_bytes)
    data = {
        "holders": [
            {"gpu": each.gpu, "pid": each.pid, "used_bytes": each.used_bytes, "own": each.port is not None}
            for each in holders
        ]
    }
    ours = [each for each in holders if each.port is not None]
    strangers = [each for each in holders if each.port is None and each.name not in _SCREEN]
    held = sum(each.used_bytes for each in strangers)
    why = "what others hold is not there for a model"
    if held >= MUCH_BYTES:
        most = strangers[0]
        what = ", ".join(_holder(each) for each in strangers[:3])
        remedy = _stop(most, platform)
        shared = f"{len(strangers)} other programs hold {format_bytes(held)}"
        return (Check(name="gpu memory", status="warn", what=what, why=why, remedy=remedy, data=data, shared=shared),)
    unseen = _unseen_bytes(drm)
    if unseen >= MUCH_BYTES:
        what = f"{format_bytes(unseen)} held by programs of other people, which only root may look into"
        remedy = remedies.as_root("fuser -v /dev/dri/renderD*", platform)
        return (Check(name="gpu memory", status="warn", what=what, why=why, remedy=remedy, data=data),)
    if ours:
        what = ", ".join(f"{_holder(each)}: your server on port {each.port}" for each in ours)
        return (Check(name="gpu memory", status="ok", what=what, data=data),)
    seen = sum(each.used_bytes for each in holders)
    nobody = "nobody else holds any, as far as the driver tells"
    if drm is not None and not drm.complete:
        nobody = "nobody else was found to hold any, but not all programs were looked at in time"
    what = f"{format_bytes(seen)} held by other programs" if seen else nobody
    return (Check(name="gpu memory", status="ok", what=what, data=data),)


def _stop(holder: Holder, platform: Platform) -> str:
    if holder.name is None:
        return "nvidia-smi"
    return f"Stop-Process -Id {holder.pid}" if platform.system == "Windows" else f"kill {holder.pid}"


def _unseen_bytes(drm: DrmMemory | None) -> int:
    """What cards tell of as used and no program was found for, where some could not be looked into.

    Of a card's memory its driver has some itself, which nobody holds.
    """
    if drm is None or drm.used_bytes is None or not drm.n_closed:
        return 0
    return drm.used_bytes - sum(holder.used_bytes for holder in drm.holders)


def _holder(holder: Holder) -> str:
    return f"{holder.name or 'a program'} (pid {holder.pid}) holds {format_bytes(holder.used_bytes)} of {holder.gpu}"
