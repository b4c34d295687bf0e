"""What each stage measures, as it is kept in results.jsonl and in record.json (`schema: 1`). All bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from launcher.bench.types import BenchTest
from launcher.engines.oracle import OracleRow
from launcher.planner.types import DeviceMemory, LoadParams

SCHEMA: Final = 1
StageName = Literal["build", "files", "memory", "speed", "offload", "serve"]
STAGES: tuple[StageName, ...] = ("build", "files", "memory", "speed", "offload", "serve")


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A device that was measured."""

    name: str
    """ggml's."""
    description: str
    backend: str
    total_bytes: int
    compute_capability: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineRow:
    """Where it was measured, and with what."""

    rehearsal: bool
    """Whether loopback servers stood for devices: such data says nothing of GPUs."""
    gpus: tuple[Gpu, ...]
    cpu: str | None
    n_threads: int
    ram_bytes: int
    driver: str | None
    launcher_version: str
    engine_version: str | None
    llama_cpp_commit: str | None
    backends: tuple[str, ...]
    date: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRow:
    """How a stage ended, the last time that it ran."""

    took_s: float
    n_left: int
    """Cases that its time had no room for."""
    why: str | None
    """What stopped it; None where nothing did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRow:
    """The engine that everything else ran on."""

    name: str
    version: str | None
    commit: str | None
    options: tuple[str, ...]
    n_bytes: int
    """Of its folder."""
    took_s: float
    site: str | None
    """On the machine that was measured; None: the environment's."""
    self_test: str | None
    """`passed`, or why not; None where it was not made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRow:
    """A model file that was made."""

    file: str
    """What the other rows call it: `20b`, `120b`."""
    model: str
    """The catalogue's name: `gpt-oss-20b`."""
    recipe: str
    n_layer: int | None
    """None: all of them."""
    path: str
    size_bytes: int
    took_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What the driver says is in use of a device, of all processes together."""

    device: str
    before_bytes: int
    """With no engine running."""
    loaded_bytes: int
    """With the model loaded."""
    opened_bytes: int
    """And a context made."""
    ran_bytes: int
    """And a whole micro-batch and one more token computed: kernels, cuBLAS and scratch are there now."""
    freed_bytes: int | None
    """With the context gone again; None where the engine died of that."""

    @property
    def taken_bytes(self) -> int:
        """The most that the engine took."""
        return max(self.loaded_bytes, self.opened_bytes, self.ran_bytes) - self.before_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class HostHeld:
    """Resident memory of the engine's process once it ran (/proc/PID/status)."""

    anon_bytes: int
    file_bytes: int
    shmem_bytes: int
    """Shared: a model file in RAM (tmpfs) that is mapped, and what a driver pins."""

    @property
    def taken_bytes(self) -> int:
        """All of it."""
        return self.anon_bytes + self.file_bytes + self.shmem_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryRow:
    """One placement: as it was planned, as llama.cpp states it, and as it was."""

    file: str
    params: LoadParams
    backends: tuple[str, ...]
    """ggml's, of `params.devices`."""
    deep: bool
    """Whether the micro-batch that ran came at the end of a full context."""
    first: bool
    """Whether it was the first context of its process: later ones find kernels loaded."""
    planned: tuple[DeviceMemory, ...]
    """By the planner of that day; the host last."""
    stated: tuple[OracleRow, ...]
    """By llama.cpp without allocating; empty where it was not asked."""
    allocated: tuple[OracleRow, ...]
    """By llama.cpp of the context that was made."""
    devices: tuple[Held, ...]
    host: HostHeld | None
    refused: str | None = None
    """Why llama.cpp did not load it, though the planner says that it fits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedRow:
    """One test of one placement."""

    file: str
    params: LoadParams
    test: BenchTest
    samples_ts: tuple[float, ...]
    predicted_ts: float | None
    """By the planner of that day, not calibrated; None where it predicts none."""
    basis: str | None
    refused: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeRow:
    """So many requests at the same time, through `gpt-oss serve`."""

    file: str
    n_streams: int
    n_prompt: int
    n_gen: int
    output_ts: tuple[float, ...]
    """Decoded tokens of all streams per second of each repetition, prompts included in its time."""
    ttft_ms: float
    """Median time to the first token."""
    itl_p50_ms: float
    itl_p90_ms: float
    itl_p99_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """record.json: all that was measured of one machine."""

    machine: MachineRow
    build: BuildRow | None
    files: tuple[FileRow, ...]
    memory: tuple[MemoryRow, ...]
    speed: tuple[SpeedRow, ...]
    offload: tuple[SpeedRow, ...]
    serve: tuple[ServeRow, ...]
    unfinished: tuple[str, ...]
    """One sentence for each stage that did not end, or never ran."""
    schema: Literal[1] = SCHEMA
