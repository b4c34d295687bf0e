"""Parse and format amounts of memory, rates and durations. Memory is int bytes everywhere else."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024**2
GIB = 1024**3

# IEC suffixes are powers of 1024, SI ones of 1000; the bare letter follows llama.cpp and `free`: powers of 1024.
_FACTORS = {
    "": 1,
    "b": 1,
    "k": KIB,
    "kib": KIB,
    "kb": 1000,
    "m": MIB,
    "mib": MIB,
    "mb": 1000**2,
    "g": GIB,
    "gib": GIB,
    "gb": 1000**3,
    "t": 1024 * GIB,
    "tib": 1024 * GIB,
    "tb": 1000**4,
}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*\Z")


def parse_bytes(text: str) -> int:
    """Read `"12 GiB"`, `"12G"`, `"12.5gb"` or `"4096"` as bytes. Raises ValueError on anything else."""
    match = _AMOUNT.match(text)
    factor = _FACTORS.get(match.group(2).lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"not an amount of memory: {text!r} (write it like 12GiB, 900MB or 4096)")
    amount = float(match.group(1)) * factor
    if amount == float("inf"):
        raise ValueError(f"not an amount of memory: {text[:20]!r}... is too large")
    return round(amount)


def parse_rate(text: str) -> float:
    """Read `"80 GB/s"` or `"1.8 TB/s"` as bytes per second. Raises ValueError on anything else."""
    amount, slash, per = text.partition("/")
    if not slash or per.strip().lower() not in ("s", "sec"):
        raise ValueError(f"not a rate: {text!r} (write it like 80 GB/s)")
    return float(parse_bytes(amount))


def parse_limit(text: str) -> int:
    """Read `"5M"`, `"500k"` or `"5 MB/s"` as bytes per second, at least one. Raises ValueError on anything else."""
    amount, slash, per = text.partition("/")
    try:
        found = parse_bytes(amount)
    except ValueError:
        found = 0
    if found < 1 or (slash and per.strip().lower() not in ("s", "sec")):
        raise ValueError(f"expected bytes per second such as 5M or 500k, found {text!r}")
    return found


def format_bytes(n_bytes: int | None) -> str:
    """`12.1 GiB`, `96.0 MiB`, `512 B`; `unknown` for None."""
    if n_bytes is None:
        return "unknown"
    size = abs(n_bytes)
    if size >= 0.95 * GIB:
        return f"{n_bytes / GIB:.1f} GiB"
    if size >= 0.95 * MIB:
        return f"{n_bytes / MIB:.0f} MiB" if size >= 10 * MIB else f"{n_bytes / MIB:.1f} MiB"
    if size >= KIB:
        return f"{n_bytes / KIB:.0f} KiB"
    return f"{n_bytes} B"


def format_rate(bytes_per_s: float) -> str:
    """`48.2 MB/s`: decimal, as networks and memory bandwidth are quoted."""
    if bytes_per_s >= 1e9:
        return f"{bytes_per_s / 1e9:.1f} GB/s"
    if bytes_per_s >= 1e6:
        return f"{bytes_per_s / 1e6:.1f} MB/s"
    return f"{bytes_per_s / 1e3:.0f} kB/s"


def format_duration(seconds: float) -> str:
    """`0.8 s`, `42 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
