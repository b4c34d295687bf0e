"""Which engine this machine should get, and how. Pure: facts and a wish in, one decision out.

Compiling comes first where everything for it is here: the result has this CPU's instructions and this GPU's code. Of
what is ready made, releases of llama.cpp come before wheels: they bring the programs that `serve` and `bench` run, the
GPU maker's libraries, and a CPU backend for each generation of processors, where a wheel of llama-cpp-python has
neither and a CPU backend without AVX2 (its CI compiles with GGML_AVX2=off).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from launcher.builds.decision import TITLES, Decision, Do, Facts, How, Wish, is_integrated
from launcher.builds.shelf import Archive, Shelf, as_version, fitting, gap
from launcher.builds.types import Backend
from launcher.hardware.seen import SeenGpu, Vendor


def propose(facts: Facts, wish: Wish, shelf: Shelf) -> Decision:
    """Decide. Never raises: what cannot be done is a decision too."""
    gpu = facts.best_gpu()
    if wish.backend is None:
        settled = _nothing_to_choose(facts, wish, gpu)
        if settled is not None:
            return settled
    backend = wish.backend or _backend(facts, gpu)
    here = next((each for each in facts.builds if each.name == f"{backend}-{wish.version}"), None)
    if here is not None and here.usable:
        why = f"{here.name} is installed, and passed its self-test"
        return _settled("nothing", wish, backend, gpu, why, command="gpt-oss engine list")
    if wish.backend is None and wish.version == facts.own_version and _serves(facts, gpu, backend):
        of = "uses all instructions of this CPU" if gpu is None else f"is made for the {gpu.description}, too"
        why = f"nothing better is to be had: the engine that came with the launcher {of}"
        return _settled("nothing", wish, backend, gpu, why, command="gpt-oss doctor")
    return _how(facts, wish, shelf, backend, gpu)


def _settled(
    do: Do,
    wish: Wish,
    backend: Backend | None,
    gpu: SeenGpu | None,
    why: str,
    *,
    command: str | None = None,
    missing: tuple[str, ...] = (),
) -> Decision:
    return Decision(
        do=do,
        backend=backend,
        version=wish.version,
        gpu=None if gpu is None else gpu.description,
        why=why,
        missing=missing,
        command=command,
    )


def _nothing_to_choose(facts: Facts, wish: Wish, gpu: SeenGpu | None) -> Decision | None:
    """Where no backend would help; None where one may."""
    content = "cpu" in facts.own and not facts.missing_isa and wish.version == facts.own_version
    if gpu is None and content:
        small = "no GPU that is large enough" if facts.gpus else "no GPU"
        why = f"nothing better is to be had: {small} is seen here, and the engine that came with the launcher uses all "
        return _settled("nothing", wish, None, None, f"{why}instructions of this CPU", command="gpt-oss doctor")
    if gpu is not None and gpu.vendor == "NVIDIA" and gpu.probe == "sysfs":
        # The doctor tells a missing driver from a container's, one that was updated, and a GPU that is lent to a guest.
        why = f"{gpu.description}: NVIDIA's driver is not in use, and every engine needs it"
        return _settled("packages", wish, "cuda", gpu, why, command="gpt-oss doctor", missing=("NVIDIA's driver",))
    if gpu is not None and is_integrated(gpu) and content:
        why = f"{gpu.description} reads the same RAM as the CPU, so that an engine for it gains little"
        return _settled("nothing", wish, None, gpu, why, command="gpt-oss engine install vulkan")
    return None


_BY_VENDOR: Mapping[Vendor, tuple[Backend, ...]] = {
    "NVIDIA": ("cuda", "vulkan"),
    "AMD": ("rocm", "vulkan"),
    "Intel": ("sycl", "vulkan"),
    "Apple": ("metal",),
}
"""Fastest first. Vulkan needs nothing but the driver that draws the screen."""


def _backend(facts: Facts, gpu: SeenGpu | None) -> Backend:
    if facts.target.system == "Darwin":
        return "metal"
    if gpu is None or is_integrated(gpu):
        return "cpu"
    first = _BY_VENDOR[gpu.vendor][0]
    verdict = facts.verdicts.get(first)
    # CUDA is to be had ready made. AMD's and Intel's own only where all of their tools are here.
    return first if first == "cuda" or (verdict is not None and verdict.possible) else "vulkan"


def _serves(facts: Facts, gpu: SeenGpu | None, backend: Backend) -> bool:
    """Whether the environment's engine computes on the GPU at least as well as such an engine would."""
    if backend == "cpu":
        return "cpu" in facts.own and not facts.missing_isa
    order = _BY_VENDOR[gpu.vendor] if gpu is not None else (backend,)
    better = order[: order.index(backend) + 1] if backend in order else (backend,)
    return any(each in facts.own for each in better)


def _how(facts: Facts, wish: Wish, shelf: Shelf, backend: Backend, gpu: SeenGpu | None) -> Decision:
    verdict = facts.verdicts.get(backend)
    can_build = verdict is not None and verdict.possible
    archives = () if facts.tegra and backend == "cuda" else _archives(facts, shelf, backend)
    if backend == "vulkan" and facts.vulkan_driver is False:
        why = "a driver for Vulkan is not here, and an engine for Vulkan needs it"
        command = facts.packages.get("vulkan driver") or "gpt-oss doctor"
        return _settled("packages", wish, backend, gpu, why, command=command, missing=("a driver for Vulkan",))
    for how, possible in (("build", can_build), ("prebuilt", bool(archives))):
        if possible and wish.how in {None, how}:
            return _take(facts, wish, backend, gpu, archives, how="build" if how == "build" else "prebuilt")
    return _in_the_way(facts, wish, shelf, backend, gpu=gpu, has_archives=bool(archives))


def _archives(facts: Facts, shelf: Shelf, backend: Backend) -> tuple[Archive, ...]:
    capabilities = tuple(
        as_version(gpu.compute_capability) if gpu.compute_capability else None
        for gpu in facts.gpus
        if gpu.vendor == "NVIDIA" and gpu.probe == "nvml"
    )
    found = fitting(shelf, backend, facts.target, capabilities=capabilities, driver_cuda=facts.driver_cuda)
    whole = [archive for archive in found if archive.brings]
    needs_more = [archive for archive in found if not archive.brings and backend == "rocm" and _has_rocm(facts)]
    return (*whole, *needs_more)


def _has_rocm(facts: Facts) -> bool:
    """ROCm's libraries are here wherever its compiler would work, or only lacks the headers."""
    verdict = facts.verdicts.get("rocm")
    return verdict is not None and all("not here" not in trouble.what for trouble in verdict.troubles)


def _take(
    facts: Facts, wish: Wish, backend: Backend, gpu: SeenGpu | None, archives: Sequence[Archive], *, how: How
) -> Decision:
    verdict = facts.verdicts.get(backend)
    command = f"gpt-oss engine install {backend} --how"
    other: str | None = None
    if wish.how is None and how == "build" and archives:
        other = f"{command} prebuilt"
    elif wish.how is not None and how == "prebuilt" and verdict is not None and verdict.possible:
        other = f"{command} build"
    return Decision(
        do=how,
        backend=backend,
        version=wish.version,
        gpu=None if gpu is None else gpu.description,
        why=_reason(facts, backend, gpu),
        archives=tuple(archives) if how == "prebuilt" else (),
        about_bytes=archives[0].about if how == "prebuilt" else None,
        other_way=other,
        notes=verdict.notes if verdict is not None and how == "build" else (),
    )


def _reason(facts: Facts, backend: Backend, gpu: SeenGpu | None) -> str:
    if backend == "cpu":
        if facts.missing_isa:
            unused = ", ".join(facts.missing_isa)
            return f"this CPU has {unused}, which the engine that came with the launcher leaves unused"
        cannot = "" if "cpu" in facts.own else ": the one that came with the launcher does not run here"
        return f"an engine for this CPU{cannot}"
    if gpu is None:
        return f"an engine for {TITLES[backend]}; no GPU is seen here"
    return f"an engine that computes on the {gpu.description} through {TITLES[backend]}"


def _in_the_way(
    facts: Facts, wish: Wish, shelf: Shelf, backend: Backend, *, gpu: SeenGpu | None, has_archives: bool
) -> Decision:
    """Nothing is possible as things are: what is missing, and the command that brings it."""
    verdict = facts.verdicts.get(backend)
    missing: list[str] = []
    commands: list[str | None] = []
    if wish.how != "prebuilt" and verdict is not None:
        for trouble in verdict.troubles:
            missing.append(trouble.what)
            commands.append(trouble.remedy or (facts.packages.get(trouble.need) if trouble.need else None))
    if wish.how != "build" and not has_archives:
        missing.append(
            "ready-made engines are for CUDA's own driver, which a Jetson does not have"
            if facts.tegra and backend == "cuda"
            else gap(shelf, backend, facts.target, driver_cuda=facts.driver_cuda)
        )
        if verdict is not None and verdict.possible:
            commands.append(f"gpt-oss engine install {backend} --how build")
    if wish.how == "build" and has_archives:
        commands.append(f"gpt-oss engine install {backend} --how prebuilt")
    why = f"an engine for {TITLES[backend]} cannot be had as things are"
    # Slower than the GPU maker's own, and the same archive for all: it needs nothing but the driver.
    slower = backend in {"cuda", "rocm", "sycl"} and facts.vulkan_driver and _archives(facts, shelf, "vulkan")
    typed = tuple(dict.fromkeys(each for each in commands if each))
    ours = next((each for each in typed if each.startswith("gpt-oss ")), None)
    # All packages at once, or the way that needs none.
    command = ours or ("; " if facts.target.system == "Windows" else " && ").join(typed) or "gpt-oss doctor"
    settled = _settled("packages", wish, backend, gpu, why, command=command, missing=tuple(missing))
    return replace(settled, other_way="gpt-oss engine install vulkan" if slower else None)
