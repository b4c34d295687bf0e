"""Judgements on the host: processor, memory, swap, engine. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from launcher.doctor import remedies
from launcher.doctor.remedies import Means
from launcher.doctor.types import Check, EngineFiles, Platform, Ram, Status
from launcher.hardware.types import Cpu
from launcher.units import GIB, MIB, format_bytes

if TYPE_CHECKING:
    from launcher.hardware.engine_devices import EngineReport

SMALLEST_BYTES = 12_109_566_560
"""gpt-oss-20b in MXFP4, as ggml-org/gpt-oss-20b-GGUF has it: the smallest whole model there is."""
HOST_HEADROOM_BYTES = 512 * MIB
"""What a plan leaves free of the RAM at least."""
CONTEXT_BYTES = 350 * MIB
"""Context of 4096 tokens, compute buffers and the rest, as the planner counts them on a CPU, rounded up."""
FEW_CORES = 2
SWAP_USED = 0.5
"""Share of the swap in use from which the RAM is plainly too small for what runs."""

_WIDE = ("AVX2", "AVX512", "AVX512_VNNI", "AVX512_BF16", "AMX_INT8", "DOTPROD", "MATMUL_INT8", "SVE")
"""What decoding gains from, in ggml's names."""
_KINDS = frozenset({"cuda", "rocm", "vulkan", "sycl", "mtl"})
_OPTIONS = frozenset({"LLAMAFILE", "OPENMP", "REPACK", "ACCELERATE", "KLEIDIAI", "CPU_HBM"})


def check_cpu(cpu: Cpu, engine: EngineReport | None, means: Means) -> tuple[Check, ...]:
    """The processor's instructions against those that the engine was compiled for, and limits on its time."""
    platform = means.platform
    features = engine.cpu_features if engine is not None else ()
    used = tuple(name for name in features if name not in _OPTIONS)
    unused = tuple(name for name in _WIDE if used and name in cpu.isa and name not in used)
    data: dict[str, Any] = {"name": cpu.name, "arch": cpu.arch, "isa": cpu.isa, "engine_isa": used, "unused": unused}
    data |= {"n_physical": cpu.n_physical, "n_logical": cpu.n_logical, "quota_cores": cpu.quota_cores}
    name = f"{cpu.name or cpu.arch}, {cpu.n_physical or cpu.n_logical} cores"
    if platform.translated:
        return (
            Check(
                name="cpu",
                status="fail",
                what="this Python is made for Intel and runs translated (Rosetta) on an Apple processor",
                why="the GPU and half of the speed are out of reach; install the launcher with a Python for arm64",
                remedy="arch -arm64 uv venv --clear --python cpython-3.12-macos-aarch64 && uv sync",
                data=data,
            ),
        )
    found = []
    if unused:
        found.append(
            Check(
                name="cpu",
                status="warn",
                what=f"{name}: the engine was compiled without {', '.join(unused)}, which this processor has",
                why="it would read prompts faster with them",
                remedy=remedies.get_engine("cpu", means),
                data=data,
            )
        )
    elif cpu.arch in {"x86_64", "AMD64"} and cpu.isa and "AVX2" not in cpu.isa:
        hidden = platform.virtual is True
        why = (
            "give the virtual machine its host's processor (`-cpu host`)"
            if hidden
            else "models run, several times slower"
        )
        what = f"{name} without AVX2" + (", which its host most likely has" if hidden else "")
        found.append(Check(name="cpu", status="warn", what=what, why=why, data=data))
    if cpu.quota_cores is not None and cpu.quota_cores < min(FEW_CORES, cpu.n_physical or FEW_CORES):
        what = f"{name}, of which this control group may use the time of {cpu.quota_cores:g}"
        remedy = f"docker update --cpus 4 {_container(platform)}" if platform.container == "docker" else None
        found.append(Check(name="cpu", status="warn", what=what, why="decoding will crawl", remedy=remedy, data=data))
    limit = f", limited to the time of {cpu.quota_cores:g}" if cpu.quota_cores is not None else ""
    compiled = "; the engine uses all that matters of it" if used and cpu.isa else ""
    return tuple(found) or (Check(name="cpu", status="ok", what=f"{name}{limit}{compiled}", data=data),)


def check_memory(ram: Ram, engine: EngineReport | None, platform: Platform) -> tuple[Check, ...]:
    """RAM beside what the smallest model takes, and who limits it."""
    host = ram.host
    devices = (engine.devices or ()) if engine is not None else ()
    gpu_bytes = sum(device.free_bytes for device in devices if device.type == "GPU" and device.backend != "MTL")
    needed = SMALLEST_BYTES + CONTEXT_BYTES + HOST_HEADROOM_BYTES
    limit = "" if host.limit_bytes is None else f", limited to {format_bytes(host.limit_bytes)} by {host.limit_source}"
    what = f"{format_bytes(host.available_bytes)} available of {format_bytes(host.total_bytes)}{limit}"
    data = {
        "total_bytes": host.total_bytes,
        "available_bytes": host.available_bytes,
        "limit_bytes": host.limit_bytes,
        "needed_bytes": needed,
        "gpu_free_bytes": gpu_bytes,
    }
    if host.available_bytes + gpu_bytes >= needed:
        return (Check(name="memory", status="ok", what=what, data=data),)
    status: Status
    short = f"{format_bytes(needed)} hold gpt-oss-20b, the smallest model, with a short context"
    if host.limit_bytes is not None and host.limit_bytes < needed <= host.total_bytes:
        status, why, remedy = "fail", f"{short}: the limit, not the machine, is too small", _raise_limit(platform)
    elif platform.wsl and host.total_bytes < needed:
        why = f"{short}; WSL gets half of the machine's RAM unless .wslconfig says `memory=`"
        status, remedy = "fail", r"cmd.exe /c 'notepad %UserProfile%\.wslconfig'"
    elif host.total_bytes + gpu_bytes >= needed:
        status, why, remedy = "warn", f"{short}: other programs have the rest", _show_users(platform)
    else:
        status, why, remedy = "fail", f"{short}; the demo runs anywhere: gpt-oss chat --demo", "gpt-oss plan --what-if"
    return (Check(name="memory", status=status, what=what, why=why, remedy=remedy, data=data),)


def _raise_limit(platform: Platform) -> str | None:
    if platform.container == "docker":
        return f"docker update --memory 16g --memory-swap 16g {_container(platform)}"
    if platform.container == "podman":
        return f"podman update --memory 16g {_container(platform)}"
    if platform.container is None:
        return "systemd-run --user --scope -p MemoryMax=infinity gpt-oss chat"
    return None


def _container(platform: Platform) -> str:
    return platform.container_id or "CONTAINER"


def _show_users(platform: Platform) -> str:
    if platform.system == "Windows":
        return "Get-Process | Sort-Object WorkingSet64 -Descending | Select-Object -First 10 Name, Id, WorkingSet64"
    return (
        "ps -A -o rss,pid,comm | sort -rn | head"
        if platform.system == "Darwin"
        else "ps -eo rss,pid,comm --sort=-rss | head"
    )


def check_swap(ram: Ram, platform: Platform) -> tuple[Check, ...]:
    """Swap: how much there is, and whether it is in use."""
    total, used = ram.host.swap_total_bytes, ram.swap_used_bytes
    data = {"total_bytes": total, "used_bytes": used}
    if total == 0:
        note = "none: a process that takes too much is ended instead of slowed down"
        return (Check(name="swap", status="ok", what=note, data=data),)
    if used is None:
        return (Check(name="swap", status="ok", what=format_bytes(total), data=data),)
    what = f"{format_bytes(used)} in use of {format_bytes(total)}"
    if used >= SWAP_USED * total and used >= GIB and ram.host.available_bytes < SMALLEST_BYTES:
        why = "the RAM is too small for what runs: a model would be swapped in for every token"
        return (Check(name="swap", status="warn", what=what, why=why, remedy=_show_users(platform), data=data),)
    return (Check(name="swap", status="ok", what=what, data=data),)


def check_engine(
    engine: EngineReport, files: EngineFiles, means: Means, others: Sequence[str] = ()
) -> tuple[Check, ...]:
    """The environment's engine: installed, of the right version, able to start, with its tools.

    `others` are engines of the store that plans may take.
    """
    platform, toolkit = means.platform, means.toolkit
    data = {
        "version": engine.version,
        "wanted": files.wanted,
        "commit": engine.commit,
        "backends": engine.backends,
        "llama_server": files.llama_server,
    }
    install = remedies.reinstall(version=files.wanted, platform=platform)
    if toolkit is not None and not toolkit.compiler:
        # The engine is compiled here, whichever version it is.
        install = remedies.then(remedies.install("compiler", platform), install, platform) or install
    worst: Status = "warn" if others else "fail"
    named = f"llama-cpp-python {engine.version}, llama.cpp {engine.commit or 'of an unknown commit'}"
    if engine.version is None and engine.devices is None:
        what = engine.note or "llama-cpp-python is not installed"
        why = _instead(others) or "nothing runs without it"
        return (Check(name="engine", status=worst, what=what, why=why, remedy=install, data=data),)
    if engine.devices is None:
        crashed = "another CPU" in (engine.note or "")
        remedy = remedies.get_engine("cpu", means) if crashed else install
        why = ". ".join(part for part in (engine.note, _instead(others)) if part)
        what = f"{named} does not start"
        return (Check(name="engine", status=worst, what=what, why=why or None, remedy=remedy, data=data),)
    found = []
    if files.wanted is not None and engine.version is not None and engine.version != files.wanted:
        what = f"llama-cpp-python {engine.version} is installed; this launcher is made for {files.wanted}"
        why = "its bindings and llama.cpp move together: another version may crash"
        found.append(Check(name="engine", status="fail", what=what, why=why, remedy=install, data=data))
    if not files.llama_server and not others:
        what = f"{named}, without llama-server"
        why = "chat runs, serve does not"
        remedy = f"{install} --no-cache"
        if platform.install == "package":  # which does not read the options of pyproject.toml
            remedy = _another(engine, means) or install
        found.append(Check(name="engine", status="warn", what=what, why=why, remedy=remedy, data=data))
    what = f"{named}, backends {', '.join(engine.backends) or 'none'}"
    return tuple(found) or (Check(name="engine", status="ok", what=what, data=data),)


def _instead(others: Sequence[str]) -> str | None:
    """What runs where the environment's engine does not."""
    return f"models run with {', '.join(others)} instead" if others else None


def _another(engine: EngineReport, means: Means) -> str | None:
    """The command that gets an engine of the same kind with all its programs, and takes it from then on."""
    backend = next((name.lower() for name in engine.backends if name.lower() in _KINDS), "cpu")
    backend = {"mtl": "metal"}.get(backend, backend)
    use = f"gpt-oss engine use {backend}-{engine.version}" if engine.version else None
    return remedies.then(remedies.get_engine(backend, means), use, means.platform)
