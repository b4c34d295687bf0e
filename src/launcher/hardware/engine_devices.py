"""What the installed llama.cpp build can compute on: `engine_probe.py` run in a child, its line read here."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from launcher.store.types import without_hub_login

_PROBE = Path(__file__).with_name("engine_probe.py")
MARK = "engine-probe: "
"""What the child's own line begins with."""

PROBE_DEADLINE_S = 30.0
"""CUDA takes 1 to 3 s per GPU where the driver is not kept loaded, and eight GPUs are the most seen in one machine; a
driver that hangs answers never."""

_GRACE_S = 0.5
"""A process that was killed is gone in milliseconds, or stays for as long as the kernel does not let go of it."""

EngineDeviceType = Literal["CPU", "GPU", "IGPU", "ACCEL", "META"]
_TYPES: tuple[EngineDeviceType, ...] = ("CPU", "GPU", "IGPU", "ACCEL", "META")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineDevice:
    """One entry of ggml's device list, as ggml tells it."""

    name: str
    description: str
    type: EngineDeviceType
    backend: str
    free_bytes: int
    total_bytes: int
    device_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineReport:
    """The installed engine. Where it could not be asked, `devices` is None and `note` says why."""

    version: str | None
    """llama-cpp-python's version."""
    commit: str | None
    bin_dir: str | None
    devices: tuple[EngineDevice, ...] | None
    backends: tuple[str, ...]
    cpu_features: tuple[str, ...]
    """Instruction sets and options that its CPU backend was compiled with, in ggml's names."""
    supports_rpc: bool | None
    note: str | None
    hung: bool = False
    """Whether it did not answer at all in its time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineAt:
    """A build that can be asked."""

    name: str
    site: str | None
    """Folder with its `llama_cpp`; None: the environment's own."""
    read: Callable[[], EngineReport]
    made_at: str | None = None
    """As its record has it; None: the environment's own."""


def find_package() -> Path | None:
    """The folder of the installed llama_cpp package, found without importing it (that would load numpy)."""
    spec = find_spec("llama_cpp")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def read_engine(
    package: Path | None, *, python: str = sys.executable, deadline_s: float = PROBE_DEADLINE_S
) -> EngineReport:
    """Ask the engine in `package` (llama_cpp's folder). Never raises: what fails becomes the report's note."""
    if package is None:
        return _silent(None, None, "llama-cpp-python is not installed")
    version = parse_version(_head(package / "__init__.py"))
    bin_dir = package.parent / "bin"
    tools = str(bin_dir) if any((bin_dir / f"llama-server{suffix}").exists() for suffix in ("", ".exe")) else None
    try:
        output, problem = _run_probe(package / "lib", python, deadline_s)
    except subprocess.TimeoutExpired:
        why = f"the engine did not list its devices within {deadline_s:.0f} s: a GPU driver may hang"
        return _silent(version, tools, why, hung=True)
    found = parse_probe(output)
    if found is None:
        return _silent(version, tools, problem or "the engine probe printed nothing that can be read")
    return report_from_probe(found, version=version, bin_dir=tools)


def read_engines(engines: Sequence[EngineAt]) -> tuple[EngineReport, ...]:
    """Ask all of them at the same time, each in a child process of its own: a driver takes its seconds once."""
    if len(engines) == 1:
        return (engines[0].read(),)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(engines)) as pool:
        return tuple(pool.map(lambda engine: engine.read(), engines))


def _run_probe(folder: Path, python: str, deadline_s: float) -> tuple[str, str | None]:
    """Run the child: what it printed, and in one sentence what went wrong. Raises TimeoutExpired."""
    # -I: neither the user's environment nor the working directory is searched for modules; -S: no site-packages.
    command = [python, "-I", "-S", str(_PROBE), str(folder), MARK]
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=without_hub_login(os.environ)
        )
    except OSError as error:
        return "", f"the engine could not be asked for its devices: {error.strerror or error}"
    try:
        output, complaints = process.communicate(timeout=deadline_s)
    except BaseException:  # Ctrl-C too
        process.kill()
        # A driver that hangs inside the kernel keeps its process from ending: that is not waited for.
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_GRACE_S)
        raise
    return output.decode(errors="replace"), explain_exit(process.returncode, complaints.decode(errors="replace"))


def explain_exit(status: int, stderr: str) -> str | None:
    """Why the child failed, in one sentence; None where it did not."""
    if status == 0:
        return None
    # Windows reports an illegal instruction as the NTSTATUS 0xC000001D.
    if status in (-signal.SIGILL, 0xC000001D, 0xC000001D - 2**32):
        return "the engine was compiled for another CPU: it met an instruction that this one does not have"
    if status < 0:
        return f"the engine crashed while it listed its devices (signal {-status}): it or a GPU driver is broken"
    last = (stderr.strip().splitlines() or [f"exit status {status}"])[-1]
    return f"the engine could not list its devices: {last[:200]}"


def parse_probe(output: str) -> dict[str, Any] | None:
    """The probe's own line among whatever drivers printed. None where it is missing or damaged."""
    for line in output.splitlines():
        if line.startswith(MARK):
            try:
                found = ast.literal_eval(line.removeprefix(MARK))
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return None
            return found if isinstance(found, dict) else None
    return None


def report_from_probe(found: dict[str, Any], *, version: str | None, bin_dir: str | None) -> EngineReport:
    """The record of what the probe printed. Entries that are not as expected are left out."""
    backends = [entry for entry in _dicts(found.get("backends")) if isinstance(entry.get("name"), str)]
    features: dict[Any, Any] = next((entry.get("features") or {} for entry in backends if entry["name"] == "CPU"), {})
    supports_rpc = found.get("supports_rpc")
    devices = (_device(entry) for entry in _dicts(found.get("devices")))
    return EngineReport(
        version=version,
        commit=parse_commit(found.get("ggml_commit")),
        bin_dir=bin_dir,
        devices=tuple(device for device in devices if device is not None),
        backends=tuple(entry["name"] for entry in backends),
        cpu_features=tuple(str(name) for name, value in features.items() if value == "1"),
        supports_rpc=supports_rpc if isinstance(supports_rpc, bool) else None,
        note=None,
    )


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _device(entry: dict[str, Any]) -> EngineDevice | None:
    kind = next((name for name in _TYPES if name == entry.get("type")), None)
    name, free, total = entry.get("name"), entry.get("memory_free"), entry.get("memory_total")
    if kind is None or not isinstance(name, str) or not isinstance(free, int) or not isinstance(total, int):
        return None
    device_id = entry.get("device_id")
    return EngineDevice(
        name=name,
        description=str(entry.get("description") or name),
        type=kind,
        backend=str(entry.get("backend") or name),
        free_bytes=free,
        total_bytes=total,
        device_id=device_id.lower() if isinstance(device_id, str) and device_id else None,
    )


def parse_commit(text: Any) -> str | None:
    """`0c1e570-dirty` is a commit (packaging touches the tree); `unknown` and anything else is not."""
    commit = text.removesuffix("-dirty") if isinstance(text, str) else ""
    return commit if len(commit) >= 7 and set(commit) <= set("0123456789abcdef") else None


def parse_version(source: str) -> str | None:
    """`__version__ = "0.3.36"` in the package's source: importlib.metadata would cost more than the whole probe."""
    for line in source.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() == "__version__":
            return value.strip().strip("\"'") or None
    return None


def _head(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _silent(version: str | None, bin_dir: str | None, note: str, *, hung: bool = False) -> EngineReport:
    return EngineReport(
        version=version,
        commit=None,
        bin_dir=bin_dir,
        devices=None,
        backends=(),
        cpu_features=(),
        supports_rpc=None,
        note=note,
        hung=hung,
    )
