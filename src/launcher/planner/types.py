"""The request, the plan and the records inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from launcher.catalogue.types import ModelFile, ModelSpec

KvType = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
LoadMode = Literal["none", "mmap", "mlock", "mmap+mlock", "dio"]
Preference = Literal["quality", "speed", "context"]
Tier = Literal["gpu", "gpu+cpu-experts", "partial", "cpu", "streamed"]
"""Fastest to slowest: all on the GPU; experts of some layers on the CPU; whole layers on the CPU; all on the CPU;
weights streamed from disk for every token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRequest:
    """What the user asked for. None means: the planner decides."""

    model: str = "auto"
    """`auto`, `20b`, `120b`, `owner/name[:QUANT]` or a path to a GGUF."""
    quant: str | None = None
    prefer: Preference = "quality"
    n_ctx: int | None = None
    min_ctx: int | None = None
    n_gpu_layers: int | None = None
    n_cpu_moe: int | None = None
    type_k: KvType | None = None
    type_v: KvType | None = None
    n_ubatch: int | None = None
    n_threads: int | None = None
    n_parallel: int = 1
    load_mode: LoadMode | None = None
    repack: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadParams:
    """Everything an engine needs to load a model, in llama.cpp's words. `params.py` spells it as kwargs or argv."""

    n_gpu_layers: int
    n_cpu_moe: int
    n_ctx: int
    n_batch: int
    n_ubatch: int
    n_parallel: int
    n_threads: int
    n_threads_batch: int
    type_k: KvType
    type_v: KvType
    flash_attn: bool
    offload_kqv: bool
    swa_full: bool
    kv_unified: bool
    n_outputs_max: int
    load_mode: LoadMode
    repack: bool
    devices: tuple[str, ...]
    """ggml names of the devices to use, in order; empty for the CPU alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceMemory:
    """One row of the memory table, in llama.cpp's breakdown. All bytes."""

    name: str
    """ggml's device name, or `Host`."""
    model_bytes: int
    context_bytes: int
    compute_bytes: int
    overhead_bytes: int
    """What the engine or its runtime takes besides (CUDA context, interpreter, vocabulary)."""
    mapped_bytes: int
    """Of `model_bytes`, what is file-backed (mmap): page cache that the kernel may drop. 0 on devices."""
    free_bytes: int
    """What was free or available before loading."""
    headroom_bytes: int
    """What the plan leaves untouched."""

    @property
    def used_bytes(self) -> int:
        """Everything that the plan takes here."""
        return self.model_bytes + self.context_bytes + self.compute_bytes + self.overhead_bytes

    @property
    def anonymous_bytes(self) -> int:
        """Of `used_bytes`, what is allocated rather than file-backed."""
        return self.used_bytes - self.mapped_bytes

    @property
    def fits(self) -> bool:
        """Whether what is used stays within what is free less the headroom."""
        return self.used_bytes <= self.free_bytes - self.headroom_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A predicted number with where it comes from."""

    value: float
    basis: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One file as the planner weighed it: fits or not, how, and why it was not taken."""

    name: str
    model: str
    quant: str
    size_bytes: int | None
    dense_bpw: float
    on_disk: bool
    fits: bool
    tier: Tier | None
    n_ctx: int | None
    n_gpu_layers: int | None
    n_cpu_moe: int | None
    used_bytes: int | None
    decode_tps: Estimate | None
    reason: str
    """Why it was chosen or not, in one clause."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The one record that chat, serve, bench and the bug report share (`schema: 1` in JSON)."""

    file: ModelFile
    spec: ModelSpec
    tier: Tier
    load_params: LoadParams
    memory: tuple[DeviceMemory, ...]
    decode_tps: Estimate | None
    weights_basis: str
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]
    """What was traded, what would change it: complete sentences with numbers."""
