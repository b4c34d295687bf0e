"""Models, their files, and the weights inside a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Basis = Literal["header", "catalogue", "label"]
"""Where a file's weight table comes from: its own GGUF header; the shipped catalogue; its quant label alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """Hyperparameters of one model, in llama.cpp's names. Read from a header, or from configs/ for the known two."""

    id: str
    """`gpt-oss-20b`, `gpt-oss-120b`, or for a file of another kind its `general.name`."""
    arch: str
    """`general.architecture`: `gpt-oss`."""
    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    n_embd_head_k: int
    n_embd_head_v: int
    n_vocab: int
    n_ctx_train: int
    n_swa: int
    """Sliding window in tokens; 0 where every layer sees the whole context."""
    swa_pattern: int
    """Every `swa_pattern`-th layer sees the whole context, the others a window (gpt-oss: 2); 1 without windows."""
    n_expert: int
    n_expert_used: int
    n_ff_exp: int
    n_ff: int = 0
    """Width of the dense feed-forward rows, in models without experts."""

    @property
    def n_layer_swa(self) -> int:
        """Layers that see a sliding window (llama.cpp `set_swa_pattern(n)`: layer i is one if i % n < n - 1)."""
        if self.n_swa == 0:
            return 0
        return sum(1 for i in range(self.n_layer) if i % self.swa_pattern < self.swa_pattern - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerWeights:
    """Bytes of one transformer block, split the way llama.cpp places them."""

    dense_bytes: int
    """Attention, norms, sinks, router with their biases: follow `n_gpu_layers`."""
    expert_bytes: int
    """All tensors that `--n-cpu-moe` moves: expert weights and their biases."""
    repack_bytes: int
    """Bytes of the copies that the CPU backend makes of weights of this block, in its repacked layout."""
    expert_down_bytes: int = 0
    """Of `expert_bytes`, the down projections with their biases."""
    expert_gate_bytes: int = 0
    """Of `expert_bytes`, the gate projections with their biases."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelWeights:
    """Exact tensor bytes of a model file (or its best known table), grouped for placement."""

    basis: Basis
    token_embd_bytes: int
    """Always on the host (llama.cpp: `dev_input` is the CPU)."""
    output_bytes: int
    """Output matrix; goes with the last offloaded layer. 0 where tied to the embeddings."""
    output_norm_bytes: int
    output_repack_bytes: int
    layers: tuple[LayerWeights, ...]
    dense_bpw: float
    """Bits per weight over embeddings, output and attention matrices: what ranks quant classes."""
    expert_bpw: float | None
    """Bits per weight of the experts; 4.25 in every GPT OSS release."""
    largest_expert_tensor_bytes: int
    n_params: int

    @property
    def total_bytes(self) -> int:
        """Bytes of all tensors: the file less its header and alignment."""
        blocks = sum(layer.dense_bytes + layer.expert_bytes for layer in self.layers)
        return self.token_embd_bytes + self.output_bytes + self.output_norm_bytes + blocks


@dataclass(frozen=True, kw_only=True, slots=True)
class FilePart:
    """One file on the hub. Most models are one part; split ones are opened by their first."""

    path: str
    """Path inside the repository."""
    size_bytes: int | None
    sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFile:
    """One GGUF of a model: a candidate for the plan, not yet necessarily on disk."""

    model: str
    """`gpt-oss-20b` or `gpt-oss-120b`; another name for a file of the user's own."""
    quant: str
    """Label as the file name spells it: `MXFP4`, `UD-Q4_K_XL`, `F16`."""
    repo: str | None
    """Hub repository `owner/name`; None for a file given by path."""
    revision: str | None
    """Commit that the listing was read at; None offline or for a path."""
    parts: tuple[FilePart, ...]
    dense_bpw: float | None
    """Ranks the quant class; from the header, else the shipped catalogue, else the label."""
    local_path: Path | None = None
    """First part on this disk, complete, where it is known to be here."""
    found_in: str | None = None
    """The application in whose folder it is used in place (`LM Studio`); None in the hub's cache and for a path."""

    @property
    def size_bytes(self) -> int | None:
        """Bytes of all parts; None where a part's size is unknown."""
        sizes = [part.size_bytes for part in self.parts]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def name(self) -> str:
        """How the file is told to a person and typed back as `--model`: `owner/name:QUANT`, or its path."""
        return f"{self.repo}:{self.quant}" if self.repo else str(self.local_path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """The candidates, in order of preference among equals."""

    files: tuple[ModelFile, ...]
    weights: Mapping[str, ModelWeights]
    """Weight table by `ModelFile.name`; a file without one cannot be planned for."""
    specs: Mapping[str, ModelSpec]
    """Hyperparameters by `ModelFile.name` where a file's own header was read, and by `ModelFile.model`."""
    source: Literal["hub", "cache", "shipped", "disk"]
    as_of: str
    """When the listing was true (ISO date)."""
    cut_off: bool = False
    """Whether the hub must not be asked or is out of reach, so that only what is on this disk can be loaded."""
    notes: tuple[str, ...] = ()
    hub_out_of_reach: bool = False
    """No connection was had to the hub: asking it more would cost a time-out each."""

    def spec_of(self, file: ModelFile) -> ModelSpec | None:
        """Hyperparameters of a file: its own header's, else those of the model that it is said to be."""
        return self.specs.get(file.name) or self.specs.get(file.model)

    @property
    def loadable(self) -> Catalogue:
        """Of a hub that is out of reach only the files that are here; all where there is none."""
        here = tuple(file for file in self.files if file.local_path is not None)
        return replace(self, files=here) if self.cut_off and here else self
