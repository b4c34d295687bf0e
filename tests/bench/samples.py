"""Records and rows as a bench leaves them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.bench.rows import Row, row_of
from launcher.bench.types import BenchRecord, BenchTest
from launcher.records import from_jsonable, to_jsonable

LLAMA_BENCH_FILE = Path(__file__).parent / "data" / "llama_bench.json"
"""Real output of `llama-bench -p 64 -n 8 -d 0,64 -r 5 -o json`."""
ENERGY: dict[str, Any] = {"energy_j": 192.0, "j_per_token": 1.5, "energy_of": ("package-0", "CUDA0")}
"""Fields of a record whose machine tells its energy."""
STEADY = (100.0, 101.0, 99.0, 100.5, 99.5)


def record(samples_ts: Sequence[float] = STEADY, *, n_gen: int = 128, n_prompt: int = 0, **fields: Any) -> BenchRecord:
    """A record of samples; every other field is llama-bench's own of a real run, or given."""
    real = json.loads(LLAMA_BENCH_FILE.read_text())[0]
    ours = {"engine": "embedded", "run_id": "run-a", "launcher_version": "0.1.0", "model": "tiny-gpt-oss"}
    base = from_jsonable(BenchRecord, {**real, **ours})
    test = BenchTest(n_prompt=n_prompt, n_gen=n_gen, n_depth=fields.get("n_depth", 0))
    samples_ns = tuple(round(1e9 * test.n_tokens / ts) for ts in samples_ts)
    measured = {"samples_ts": tuple(samples_ts), "samples_ns": samples_ns, "avg_ts": sum(samples_ts) / len(samples_ts)}
    return replace(base, n_prompt=n_prompt, n_gen=n_gen, **{**measured, **fields})


def row(samples_ts: Sequence[float] = STEADY, **fields: Any) -> Row:
    """The same as a row."""
    return row_of(to_jsonable(record(samples_ts, **fields)))


def scaled(factor: float, samples_ts: Sequence[float] = STEADY) -> tuple[float, ...]:
    """Samples of a machine that is so many times as fast."""
    return tuple(factor * ts for ts in samples_ts)
