"""The request, the plan and the records inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from launcher.catalogue.types import ModelFile, ModelSpec
from launcher.hardware.types import Hardware

KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
"""What llama.cpp takes for --cache-type-k and -v (common/arg.cpp, `kv_cache_types`)."""
LoadMode = Literal["none", "mmap", "mlock", "mmap+mlock", "dio"]
SplitMode = Literal["none", "layer"]
Preference = Literal["quality", "speed", "context"]
Tier = Literal["gpu", "gpu+cpu-experts", "partial", "cpu", "streamed"]
"""Fastest to slowest: all on the GPU; experts of some layers on the CPU; whole layers on the CPU; all on the CPU;
weights streamed from disk for every token."""

Purpose = Literal["chat", "serve", "long-context"]
"""What a placement is tuned for: one stream, several at the same time, or one that reaches far back."""

HOST = "CPU"
"""Name of the host's row in a memory table and of its rates: ggml's own name of the device."""

DEPTHS = (0, 4096, 16_384, 32_768, 131_072)
"""Depths (tokens already in the context) that speeds are predicted at; those beyond n_ctx are left out."""


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
    devices: tuple[str, ...] | None = None
    """ggml names of the devices that may be used; empty: the CPU alone."""
    tensor_split: tuple[float, ...] | None = None
    """Shares of the model for each device, in ggml's order, as llama.cpp's --tensor-split takes them."""
    type_k: KvType | None = None
    type_v: KvType | None = None
    n_ubatch: int | None = None
    n_batch: int | None = None
    n_threads: int | None = None
    n_parallel: int = 1
    """Sequences (slots) that share the context."""
    kv_unified: bool | None = None
    swa_full: bool = False
    n_outputs_max: int | None = None
    """Logits rows of one micro-batch; None: one per slot."""
    min_tps: float | None = None
    """Predicted decode tokens per second at an empty context that a plan may not go below."""
    streamed: bool = False
    """Let weights that RAM does not hold be read from disk for every token (mmap)."""
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
    split_mode: SplitMode = "none"
    """`layer` where several devices share the model."""
    tensor_split: tuple[float, ...] = ()
    """Of several devices: the layers of each (the output counts as one), as shares for --tensor-split."""
    n_cpu_moe_tensors: int = 0
    """Expert tensors of block `n_cpu_moe` that stay in RAM as well: 0, 1 (down) or 2 (down, gate). Ours, not
    llama.cpp's: spelt as --override-tensor."""
    op_offload: bool = True
    """Whether prompts copy host weights to the device and compute there (llama.cpp's default)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What measured runs found better than the planner's choice, in `LoadParams`' words; None leaves it as planned."""

    n_threads: int | None = None
    n_threads_batch: int | None = None
    n_batch: int | None = None
    n_ubatch: int | None = None
    flash_attn: bool | None = None
    n_gpu_layers: int | None = None
    n_cpu_moe: int | None = None
    tensor_split: tuple[float, ...] | None = None
    split_mode: SplitMode | None = None
    load_mode: LoadMode | None = None
    repack: bool | None = None
    op_offload: bool | None = None
    type_k: KvType | None = None
    type_v: KvType | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """The settings that won on this machine, for one model file, one engine build and one purpose."""

    purpose: Purpose
    changes: Changes
    pp_ratio: float
    """Prompt speed over that of the plan without the changes, median of paired runs."""
    tg_ratio: float
    """Decode speed likewise."""
    date: str
    """ISO date of the measurement."""
    against: LoadParams | None = None
    """The plan that was beaten: layers tuned against one placement say nothing of another. None: not kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AppliedTuned:
    """What of the tuned settings a plan has."""

    purpose: Purpose
    """That they were tuned for; not the plan's own where there was nothing for that."""
    date: str
    changes: Changes
    """Those that the plan took: what the request pins is left out."""
    pp_ratio: float | None
    """As measured; None where the plan is not the one that was measured."""
    tg_ratio: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceMemory:
    """One row of the memory table, in llama.cpp's breakdown. All bytes."""

    name: str
    """ggml's device name, or `CPU` for the host."""
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
    shared_bytes: int = 0
    """On the host's row: what devices with unified memory take of the same RAM, beside `used_bytes`."""
    streamed_bytes: int = 0
    """On the host's row of a streamed plan: of `mapped_bytes`, what RAM does not hold, so that every token reads it
    from disk."""

    @property
    def used_bytes(self) -> int:
        """Everything that the plan takes here."""
        return self.model_bytes + self.context_bytes + self.compute_bytes + self.overhead_bytes

    @property
    def anonymous_bytes(self) -> int:
        """Of `used_bytes`, what is allocated rather than file-backed."""
        return self.used_bytes - self.mapped_bytes

    @property
    def left_bytes(self) -> int:
        """What stays free; negative where it is short."""
        return self.free_bytes - (self.used_bytes - self.streamed_bytes) - self.shared_bytes

    @property
    def fits(self) -> bool:
        """Whether what is used stays within what is free less the headroom."""
        return self.left_bytes >= self.headroom_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A predicted number with where it comes from."""

    value: float
    basis: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """How fast a device, or the host, moves and computes. None is unknown."""

    bandwidth: Estimate | None = None
    """Bytes per second that its memory gives."""
    flops: Estimate | None = None
    """Dense f16 operations per second."""
    measured: bool = False
    """Whether the bandwidth was measured on this machine: what a program got, not what the parts could give."""


Cost = tuple[str, float]
"""A term of the model of speed (`planner.costs`) and how much of it: bytes, operations, blocks; of what threads share,
the part of one thread."""
Step = tuple[tuple[Cost, ...], ...]
"""What is done at the same time, such as reading and multiplying: the slowest counts, each a sum of costs."""
Work = tuple[Step, ...]
"""What a token or a prompt makes the machine do, one step after the other."""
SpeedKind = Literal["pp", "tg"]
"""Reading prompts, or decoding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredRun:
    """One test that was measured on this machine, as the model of speed sees it. Calibration rests on these."""

    kind: SpeedKind
    recipe: str
    """Which file, by the shape of its weights: files of one shape run alike."""
    settings: str
    """Threads, devices and layouts that it ran with."""
    test: str
    """`pp512`, `tg128 @ d4096`."""
    engine: str
    model: str
    """What a person calls it."""
    date: str
    """ISO date."""
    n_tokens: int
    ts: float
    """Tokens per second, the median of the samples."""
    predicted_ts: float | None
    """As it was planned before the run."""
    work: Work


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedCost:
    """How much more a term costs on this machine than as shipped."""

    term: str
    factor: float
    n_runs: int
    """Runs that it counts in."""
    last_date: str
    """ISO date of the last of them; empty where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Residual:
    """What the fitted costs leave unexplained of one file."""

    recipe: str
    settings: str | None
    """None: of all settings that were measured."""
    kind: SpeedKind
    factor: float
    """Measured over fitted time."""
    n_runs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The model of speed, fitted to runs that were measured on this machine."""

    n_runs: int
    last_date: str
    """ISO date of the last run."""
    costs: tuple[FittedCost, ...]
    residuals: tuple[Residual, ...]

    def factor(self, term: str) -> float:
        """By how much more a term costs than as shipped; 1 where no run tells of it."""
        return next((cost.factor for cost in self.costs if cost.term == term), 1.0)

    def residual(self, recipe: str, settings: str, kind: SpeedKind) -> Residual | None:
        """Of a file with these settings, else of the file with others; None of a file that was never measured."""
        mine = [one for one in self.residuals if (one.recipe, one.kind) == (recipe, kind)]
        exact = next((one for one in mine if one.settings == settings), None)
        return exact or next((one for one in mine if one.settings is None), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """Predicted speed of one stream with `n_depth` tokens in the context, in llama-bench's words."""

    n_depth: int
    pp_ts: float | None
    """Prompt tokens per second; None where a rate that counts is unknown."""
    tg_ts: float | None
    """Decoded tokens per second; None likewise."""
    basis: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One file as the planner weighed it: fits or not, how, and why it was not taken."""

    name: str
    repo: str | None
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
    tg_ts: float | None
    """Predicted decode tokens per second of one stream, empty context."""
    reason: str
    """Why it was chosen or not, in one clause."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineCandidate:
    """One build of llama.cpp as it was weighed: what the best plan with it is, and why it was not taken."""

    name: str
    version: str | None
    """llama-cpp-python's."""
    backends: tuple[str, ...]
    devices: tuple[str, ...]
    """That its plan uses; empty: the CPU alone."""
    fits: bool
    model: str | None
    quant: str | None
    tier: Tier | None
    n_ctx: int | None
    tg_ts: float | None
    """Predicted decode tokens per second of one stream, empty context."""
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
    """The devices in `load_params`' order, the host last."""
    throughput: tuple[Throughput, ...]
    """By growing `n_depth`, the first at 0."""
    weights_basis: str
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]
    """What was traded, what would change it: complete sentences with numbers."""
    hardware: Hardware
    """The machine that was planned for."""
    fits: bool = True
    """False in the nearest miss that a DoesNotFitError carries."""
    tuned: AppliedTuned | None = None
    """Settings in `load_params` that measured runs found; None: all of it is the planner's."""
    engines: tuple[EngineCandidate, ...] = ()
    """Builds of llama.cpp that were compared, the one of `hardware.engine` among them; empty where there was one."""

    @property
    def tg_ts(self) -> float | None:
        """Predicted decode tokens per second at an empty context."""
        return self.throughput[0].tg_ts if self.throughput else None
