"""How fast this machine's RAM is read: measured in a second, kept afterwards."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Any

from launcher.planner.types import Estimate
from launcher.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from launcher.hardware.types import Hardware

SCHEMA = 1
_PROBE_S = 0.7  # with filling the buffers about a second
_BUFFER_BYTES = 64 * MIB  # of each thread: with all of them beyond the last-level cache of a desktop
_BUFFERS_AT_MOST_BYTES = 512 * MIB
_ROUND = 8 * MIB  # read at once, so that the clock is looked at often
_NEEDS_BYTES = 2 * GIB  # available; with less the probe itself would disturb the machine


def measured_ram(
    hardware: Hardware,
    *,
    state_dir: Path,
    probe: Callable[[int], float] | None = None,
    today: Callable[[], date] = date.today,
) -> Estimate | None:
    """Bytes/s that all planned threads together read from this machine's RAM; None where it could not be measured.

    Args:
        hardware: this machine.
        state_dir: where the figure is kept for the next time.
        probe: measures with a number of threads; the real one by default.
        today: for the basis.
    """
    path = state_dir / "ram-bandwidth.json"
    n_threads = hardware.cpu.n_threads
    key = [hardware.cpu.name, hardware.cpu.arch, n_threads, hardware.memory.total_bytes]
    kept = _read(path)
    if kept.get("schema") == SCHEMA and kept.get("key") == key and isinstance(kept.get("bytes_per_s"), float):
        return Estimate(value=kept["bytes_per_s"], basis=str(kept.get("basis")))
    if hardware.memory.available_bytes < _NEEDS_BYTES:
        return None
    try:
        bytes_per_s = (probe or read_bytes_per_s)(n_threads)
    except (ImportError, MemoryError, OSError, RuntimeError):
        return None
    basis = f"measured here on {today().isoformat()}: {bytes_per_s / 1e9:.1f} GB/s with {n_threads} threads"
    _write(path, {"schema": SCHEMA, "key": key, "bytes_per_s": bytes_per_s, "basis": basis})
    return Estimate(value=bytes_per_s, basis=basis)


def read_bytes_per_s(n_threads: int) -> float:
    """Read memory with several threads for `_PROBE_S` seconds; the bytes of all over the time of the slowest.

    numpy's reductions run without the interpreter's lock; the least of many bytes is the one that reads fastest, and
    came closest to what llama.cpp draws while it decodes (35 against 37 GB/s with two threads).
    """
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    n_bytes = min(_BUFFER_BYTES, _BUFFERS_AT_MOST_BYTES // n_threads)

    def sweep(_: int) -> tuple[int, float]:
        data = np.ones(n_bytes, dtype=np.uint8)
        parts = [data[i : i + _ROUND] for i in range(0, n_bytes, _ROUND)]
        done, begin = 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < _PROBE_S:
            for part in parts:
                part.min()
            done += n_bytes
        return done, spent

    with ThreadPoolExecutor(n_threads) as pool:
        found = list(pool.map(sweep, range(n_threads)))
    return sum(done for done, _ in found) / max(spent for _, spent in found)


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _write(path: Path, record: dict[str, Any]) -> None:
    """Keep the figure. A folder that cannot be written costs a second the next time."""
    from launcher.paths import write_atomic

    with suppress(OSError):
        write_atomic(path, json.dumps(record))
