"""From samples to records, and records to the state folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.bench.formats import record_line
from launcher.bench.history import FILE_NAME
from launcher.bench.run import Outcome
from launcher.bench.session import Case, Sample
from launcher.bench.stats import percentile
from launcher.bench.types import BenchRecord, BenchResult, BenchTest, Latency, PeakMemory
from launcher.engines.params import override_patterns
from launcher.hardware.types import Hardware
from launcher.planner.types import HOST, DeviceMemory, LoadParams

HISTORY_FILE = FILE_NAME
_DEFAULT_POLL = 50  # ggml_threadpool_params_default


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What all records of a run share."""

    run_id: str
    launcher_version: str
    model: str
    model_path: Path
    model_type: str
    """Where no engine tells llama.cpp's own description."""
    model_size: int
    model_n_params: int
    load_params: LoadParams
    hardware: Hardware
    plan: Mapping[str, Any]
    """As `gpt-oss plan --json` prints it."""
    predict: Callable[[BenchTest], float | None]
    """The planner's tokens per second for a test of one stream, as it was before the run; None where it has none."""
    basis: str | None
    """What the predictions rest on."""
    memory: tuple[DeviceMemory, ...]


def records_of(outcome: Outcome, header: Header) -> tuple[BenchRecord, ...]:
    """One record for each case that has samples, in the order they were first measured."""
    return tuple(_record(case, samples, outcome, header) for case, samples in outcome.samples.items())


def _record(case: Case, samples: Sequence[Sample], outcome: Outcome, header: Header) -> BenchRecord:
    test = case.test
    n_tokens = BenchTest(n_prompt=test.n_prompt * case.n_streams, n_gen=test.n_gen * case.n_streams)
    result = BenchResult.of(case.engine, n_tokens, [sample.ns for sample in samples])
    predicted = header.predict(test) if case.n_streams == 1 else None
    told: Mapping[str, Any] = {**samples[-1].fields}
    measured = {
        "n_prompt": test.n_prompt,
        "n_gen": test.n_gen,
        "n_depth": test.n_depth,
        "test_time": outcome.began[case],
        **{name: getattr(result, name) for name in ("avg_ns", "stddev_ns", "avg_ts", "stddev_ts")},
        **{name: getattr(result, name) for name in ("samples_ns", "samples_ts")},
    }
    energy = _energy(samples, n_tokens.n_tokens)
    return BenchRecord(
        **{**settings_of(header, test), **told, **measured},
        engine=case.engine,
        run_id=header.run_id,
        launcher_version=header.launcher_version,
        model=header.model,
        plan=header.plan,
        predicted_ts=predicted,
        predicted_basis=None if predicted is None else header.basis,
        memory=tuple(_peak(row, samples) for row in header.memory),
        n_streams=case.n_streams,
        latency=_latency(case, samples),
        **energy,
    )


def _energy(samples: Sequence[Sample], n_tokens: int) -> dict[str, Any]:
    """Mean energy, where every sample has one of the same meters: the long ones alone would not be the test."""
    known = [sample.energy_j for sample in samples if sample.energy_j is not None]
    if len(known) < len(samples) or len({sample.energy_of for sample in samples}) != 1:
        return {}
    mean_j = sum(known) / len(known)
    return {"energy_j": mean_j, "j_per_token": mean_j / n_tokens, "energy_of": samples[0].energy_of}


def _peak(row: DeviceMemory, samples: Sequence[Sample]) -> PeakMemory:
    """The most over all samples; of a device what the process held, where any sample tells that."""
    if row.name == HOST:
        found, whole = [sample.peak_bytes for sample in samples if sample.peak_bytes is not None], False
    else:
        held = [sample.device_memory[row.name] for sample in samples if row.name in sample.device_memory]
        whole = bool(held) and all(memory.whole_device for memory in held)
        found = [memory.n_bytes for memory in held if memory.whole_device == whole]
    return PeakMemory(
        device=row.name, peak_bytes=max(found, default=None), planned_bytes=row.used_bytes, whole_device=whole
    )


def _latency(case: Case, samples: Sequence[Sample]) -> Latency | None:
    ttft = [ms for sample in samples for ms in sample.ttft_ms]
    itl = [ms for sample in samples for ms in sample.itl_ms]
    if not ttft or not itl:
        return None
    return Latency(
        ttft_ms=percentile(ttft, 50),
        itl_p50_ms=percentile(itl, 50),
        itl_p90_ms=percentile(itl, 90),
        itl_p99_ms=percentile(itl, 99),
        output_ts=percentile([case.test.n_gen * case.n_streams / sample.ns * 1e9 for sample in samples], 50),
    )


def settings_of(header: Header, test: BenchTest) -> dict[str, Any]:
    """llama-bench's fields as the plan sets them; an engine that tells better overrides them.

    `build_number` is 0, as llama.cpp calls a build that does not know its own.
    """
    params, hardware = header.load_params, header.hardware
    gpus = [device.description for device in hardware.devices if device.kind != "accel"]
    backends = [name for name in hardware.engine.backends if name not in {HOST, "RPC"}]
    # llama-bench lists what `-ot` says, not what `-ncmoe` does.
    overrides = override_patterns(params)[params.n_cpu_moe :]
    prompt_alone = test.n_prompt > 0 and test.n_gen == 0
    return {
        "build_commit": hardware.engine.llama_cpp_commit or "unknown",
        "build_number": 0,
        "cpu_info": hardware.cpu.name or "",
        "gpu_info": ", ".join(gpus),
        "backends": ",".join(backends) or HOST,
        "model_filename": str(header.model_path),
        "model_type": header.model_type,
        "model_size": header.model_size,
        "model_n_params": header.model_n_params,
        "n_batch": params.n_batch,
        "n_ubatch": params.n_ubatch,
        "n_threads": params.n_threads_batch if prompt_alone else params.n_threads,
        "cpu_mask": "0x0",
        "cpu_strict": False,
        "poll": _DEFAULT_POLL,
        "type_k": params.type_k,
        "type_v": params.type_v,
        "n_gpu_layers": params.n_gpu_layers,
        "n_cpu_moe": params.n_cpu_moe,
        "split_mode": params.split_mode,
        "main_gpu": 0,
        "no_kv_offload": not params.offload_kqv,
        "flash_attn": int(params.flash_attn),
        "devices": "/".join(params.devices) or "none",
        "tensor_split": "/".join(f"{share:.2f}" for share in params.tensor_split) or "0.00",
        "tensor_buft_overrides": ";".join(f"{pattern}=CPU" for pattern in overrides) or "none",
        "load_mode": params.load_mode,
        "lazy_mode": "auto",
        "embeddings": False,
        "no_op_offload": int(not params.op_offload),
        "no_host": False,
        "repack": params.repack,
        "fit_target": 0,
        "fit_min_ctx": 0,
    }


def save_record(state_dir: Path, record: BenchRecord) -> None:
    """Add a record to the history as one line, in one write; only its owner may read the file.

    Raises:
        OSError: the disk is full, or the folder may not be written.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    path = state_dir / HISTORY_FILE
    line = record_line(record).encode()
    # Without O_BINARY Windows would write other line ends than the rest of the world.
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        # What a crash left half of must not swallow this line as well.
        torn = os.lseek(descriptor, 0, os.SEEK_END) > 0
        if torn:
            os.lseek(descriptor, -1, os.SEEK_END)
            torn = os.read(descriptor, 1) != b"\n"
        os.write(descriptor, b"\n" + line if torn else line)
    finally:
        os.close(descriptor)
