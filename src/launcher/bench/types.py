"""What a bench is: tests, what was measured of each, and the records that are kept. Names are llama-bench's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

SCHEMA: Final = 1

EngineName = Literal["embedded", "llama-bench", "server"]
ENGINES: tuple[EngineName, ...] = ("embedded", "llama-bench", "server")

FieldKind = Literal["string", "bool", "int", "float"]

LLAMA_BENCH_FIELDS: dict[str, FieldKind] = {
    "build_commit": "string",
    "build_number": "int",
    "cpu_info": "string",
    "gpu_info": "string",
    "backends": "string",
    "model_filename": "string",
    "model_type": "string",
    "model_size": "int",
    "model_n_params": "int",
    "n_batch": "int",
    "n_ubatch": "int",
    "n_threads": "int",
    "cpu_mask": "string",
    "cpu_strict": "bool",
    "poll": "int",
    "type_k": "string",
    "type_v": "string",
    "n_gpu_layers": "int",
    "n_cpu_moe": "int",
    "split_mode": "string",
    "main_gpu": "int",
    "no_kv_offload": "bool",
    "flash_attn": "int",
    "devices": "string",
    "tensor_split": "string",
    "tensor_buft_overrides": "string",
    "load_mode": "string",
    "lazy_mode": "string",
    "embeddings": "bool",
    "no_op_offload": "int",
    "no_host": "bool",
    "repack": "bool",
    "fit_target": "int",
    "fit_min_ctx": "int",
    "n_prompt": "int",
    "n_gen": "int",
    "n_depth": "int",
    "test_time": "string",
    "avg_ns": "int",
    "stddev_ns": "int",
    "avg_ts": "float",
    "stddev_ts": "float",
}
"""llama-bench's columns in its order, and their types (tools/llama-bench, `get_fields` and `get_field_type`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchTest:
    """One thing to measure: tokens of a prompt, or tokens decoded, after `n_depth` tokens in the context."""

    n_prompt: int = 0
    n_gen: int = 0
    n_depth: int = 0

    @property
    def name(self) -> str:
        """llama-bench's name of it: `pp512`, `tg128 @ d4096`, `pp512+tg128`."""
        if self.n_gen == 0:
            name = f"pp{self.n_prompt}"
        elif self.n_prompt == 0:
            name = f"tg{self.n_gen}"
        else:
            name = f"pp{self.n_prompt}+tg{self.n_gen}"
        return f"{name} @ d{self.n_depth}" if self.n_depth else name

    @property
    def n_tokens(self) -> int:
        """Tokens that a sample's time is divided by."""
        return self.n_prompt + self.n_gen

    @property
    def n_ctx(self) -> int:
        """Cells that the test needs."""
        return self.n_tokens + self.n_depth


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchResult:
    """What was measured of one test on one engine, one sample for each repetition, in the order they were taken."""

    engine: EngineName
    test: BenchTest
    samples_ns: tuple[int, ...]
    samples_ts: tuple[float, ...]
    """Tokens per second of each sample."""
    avg_ns: int
    stddev_ns: int
    avg_ts: float
    """Mean of `samples_ts`, not tokens over mean time."""
    stddev_ts: float

    @classmethod
    def of(cls, engine: EngineName, test: BenchTest, samples_ns: Sequence[int]) -> BenchResult:
        """Mean and deviation as llama-bench takes them (`avg` and `stdev`: over n - 1; whole nanoseconds)."""
        n = len(samples_ns)
        samples_ts = tuple(1e9 * test.n_tokens / ns for ns in samples_ns)
        avg_ns = sum(samples_ns) // n if n else 0
        avg_ts = sum(samples_ts) / n if n else 0.0
        # llama-bench's whole numbers, but without its 64 bits, which run over from samples of four seconds on.
        ns_variance = sum(ns * ns for ns in samples_ns) // (n - 1) - avg_ns * avg_ns * n // (n - 1) if n > 1 else 0
        ts_squares = sum((ts - avg_ts) ** 2 for ts in samples_ts)
        return cls(
            engine=engine,
            test=test,
            samples_ns=tuple(samples_ns),
            samples_ts=samples_ts,
            avg_ns=avg_ns,
            stddev_ns=math.isqrt(ns_variance),
            avg_ts=avg_ts,
            stddev_ts=math.sqrt(ts_squares / (n - 1)) if n > 1 else 0.0,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PeakMemory:
    """The most that an engine held of one device during a run, beside what the plan says. All bytes."""

    device: str
    """ggml's device name, or `CPU` for the host."""
    peak_bytes: int | None
    """Of the host: the engine's process, resident, mapped weights included. None where it is not known."""
    planned_bytes: int
    whole_device: bool = False
    """Whether no process was told apart: then it is by how much the device held more than before the engine came."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """What a reader of a server's stream waits for, in milliseconds, over all streams and repetitions."""

    ttft_ms: float
    """Median time from the request to the first token."""
    itl_p50_ms: float
    """Time between two tokens of one stream: median."""
    itl_p90_ms: float
    itl_p99_ms: float
    output_ts: float
    """Median over the repetitions: tokens that all streams together decoded, per second of the whole repetition, the
    reading of the prompts included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchRecord:
    """One test on one engine, as it is kept and shared: llama-bench's fields, then ours. Flat, one line of JSON."""

    build_commit: str
    build_number: int
    cpu_info: str
    gpu_info: str
    backends: str
    model_filename: str
    model_type: str
    model_size: int
    model_n_params: int
    n_batch: int
    n_ubatch: int
    n_threads: int
    cpu_mask: str
    cpu_strict: bool
    poll: int
    type_k: str
    type_v: str
    n_gpu_layers: int
    n_cpu_moe: int
    split_mode: str
    main_gpu: int
    no_kv_offload: bool
    flash_attn: int
    devices: str
    tensor_split: str
    tensor_buft_overrides: str
    load_mode: str
    lazy_mode: str
    embeddings: bool
    no_op_offload: int
    no_host: bool
    repack: bool
    fit_target: int
    fit_min_ctx: int
    n_prompt: int
    n_gen: int
    n_depth: int
    test_time: str
    """RFC 3339, UTC: when the test began."""
    avg_ns: int
    stddev_ns: int
    avg_ts: float
    stddev_ts: float
    samples_ns: tuple[int, ...]
    samples_ts: tuple[float, ...]
    engine: EngineName
    run_id: str
    """The same for every record of one `gpt-oss bench`."""
    launcher_version: str
    model: str
    """What a person calls the model: `gpt-oss-20b`."""
    plan: Mapping[str, Any] | None = None
    """The plan as `gpt-oss plan --json` prints it, its hardware and the model's files with their hashes in it."""
    predicted_ts: float | None = None
    """The planner's tokens per second for this test; None where it predicts none."""
    predicted_basis: str | None = None
    memory: tuple[PeakMemory, ...] = ()
    n_streams: int = 1
    """Requests at the same time, of the engine `server`; `avg_ts` is all of them together."""
    latency: Latency | None = None
    """Of the engine `server`."""
    energy_j: float | None = None
    """Joules of a sample while its clock ran, idle power included: mean. None where a sample has none."""
    j_per_token: float | None = None
    """The same for each token that `avg_ts` counts."""
    energy_of: tuple[str, ...] = ()
    """What these joules went into: `package-0` and `dram-0` of a CPU's socket, `CUDA0`."""
    schema: Literal[1] = SCHEMA

    @property
    def test(self) -> BenchTest:
        """What was measured."""
        return BenchTest(n_prompt=self.n_prompt, n_gen=self.n_gen, n_depth=self.n_depth)

    @property
    def result(self) -> BenchResult:
        """The measured part alone."""
        return BenchResult(
            engine=self.engine,
            test=self.test,
            samples_ns=self.samples_ns,
            samples_ts=self.samples_ts,
            avg_ns=self.avg_ns,
            stddev_ns=self.stddev_ns,
            avg_ts=self.avg_ts,
            stddev_ts=self.stddev_ts,
        )
