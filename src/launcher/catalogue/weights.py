"""From a tensor table to the bytes that the planner places: grouped the way llama.cpp places tensors.

Sources at the pinned llama.cpp: the experts' pattern is `LLM_FFN_EXPS_REGEX` (common/common.h), which `--n-cpu-moe`
searches in tensor names and which therefore moves the experts' biases as well; input tensors stay on the host
(`dev_input` in llama-model.cpp); the rest of a block follows `n_gpu_layers`, output tensors the last layer.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from launcher.catalogue.ggml_types import n_elements
from launcher.catalogue.gguf import ArraySummary, GgufHeader, MetaValue, TensorInfo
from launcher.catalogue.repack import repack_bytes
from launcher.catalogue.types import Basis, LayerWeights, ModelSpec, ModelWeights
from launcher.errors import DamagedFileError

EXPERTS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")
_BLOCK = re.compile(r"blk\.(\d{1,6})\.")
_INPUT = ("token_embd", "token_types", "position_embd", "per_layer_token_embd")
_ROUTER = ".ffn_gate_inp"
_GPT_OSS_ARCH = "gpt-oss"
_OLLAMA_ARCH = "gptoss"
_GPT_OSS_SWA_PATTERN = 2
"""llama.cpp models/openai-moe.cpp: `load_swa_pattern(ml, 2)`, unless the file says otherwise."""
MAX_LAYERS = 512
MAX_EXPERTS = 512
"""llama.cpp's own limits, LLAMA_MAX_LAYERS and LLAMA_MAX_EXPERTS (llama-hparams.h)."""
_LIMITS = {".block_count": MAX_LAYERS, ".expert_count": MAX_EXPERTS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Sums over some tensors."""

    n_bytes: int = 0
    expert_bytes: int = 0
    expert_down_bytes: int = 0
    expert_gate_bytes: int = 0
    repack_bytes: int = 0
    dense_bits: int = 0
    """Of the matrices that rank a quant class: embeddings, output, attention (and dense feed-forward)."""
    dense_elements: int = 0
    expert_weight_bits: int = 0
    expert_weight_elements: int = 0
    largest_expert_tensor_bytes: int = 0
    n_params: int = 0

    def layer(self) -> LayerWeights:
        """These sums as a block."""
        return LayerWeights(
            dense_bytes=self.n_bytes - self.expert_bytes,
            expert_bytes=self.expert_bytes,
            repack_bytes=self.repack_bytes,
            expert_down_bytes=self.expert_down_bytes,
            expert_gate_bytes=self.expert_gate_bytes,
        )


def group(tensors: Iterable[TensorInfo], isa: Collection[str], *, in_product: bool = True) -> Group:
    """Sum tensors; `in_product` is false for those that are only looked up (embeddings), which are never repacked."""
    n_bytes = expert_bytes = down_bytes = gate_bytes = repacked = dense_bits = dense_elements = 0
    expert_bits = expert_elements = largest = n_params = 0
    for tensor in tensors:
        count = n_elements(tensor.shape)
        n_params += count
        n_bytes += tensor.n_bytes
        found = EXPERTS.search(tensor.name)
        is_expert = found is not None
        is_matrix = len(tensor.shape) >= 2 and tensor.name.endswith(".weight")
        if found is not None:
            expert_bytes += tensor.n_bytes
            down_bytes += tensor.n_bytes if found.group(1) == "down" else 0
            gate_bytes += tensor.n_bytes if found.group(1) == "gate" else 0
        if not is_matrix:
            continue
        if in_product:
            repacked += repack_bytes(tensor.type, tensor.shape, isa)
        if is_expert:
            expert_bits += 8 * tensor.n_bytes
            expert_elements += count
            largest = max(largest, tensor.n_bytes)
        elif _ROUTER not in tensor.name:
            dense_bits += 8 * tensor.n_bytes
            dense_elements += count
    return Group(
        n_bytes=n_bytes,
        expert_bytes=expert_bytes,
        expert_down_bytes=down_bytes,
        expert_gate_bytes=gate_bytes,
        repack_bytes=repacked,
        dense_bits=dense_bits,
        dense_elements=dense_elements,
        expert_weight_bits=expert_bits,
        expert_weight_elements=expert_elements,
        largest_expert_tensor_bytes=largest,
        n_params=n_params,
    )


def combine(
    *, basis: Basis, token_embd: Group, output: Group, output_norm: Group, tied_repack_bytes: int, blocks: list[Group]
) -> ModelWeights:
    """A model's weight table from its groups."""
    groups = [token_embd, output, output_norm, *blocks]
    dense_elements = sum(part.dense_elements for part in groups)
    expert_elements = sum(part.expert_weight_elements for part in groups)
    expert_bits = sum(part.expert_weight_bits for part in groups)
    return ModelWeights(
        basis=basis,
        token_embd_bytes=token_embd.n_bytes,
        output_bytes=output.n_bytes,
        output_norm_bytes=output_norm.n_bytes,
        output_repack_bytes=output.repack_bytes + output_norm.repack_bytes + tied_repack_bytes,
        layers=tuple(part.layer() for part in blocks),
        dense_bpw=sum(part.dense_bits for part in groups) / dense_elements if dense_elements else 0.0,
        expert_bpw=expert_bits / expert_elements if expert_elements else None,
        largest_expert_tensor_bytes=max(part.largest_expert_tensor_bytes for part in groups),
        n_params=sum(part.n_params for part in groups),
    )


def weights_from_tensors(
    tensors: Iterable[TensorInfo], spec: ModelSpec, basis: Basis, isa: Collection[str]
) -> ModelWeights:
    """Group a tensor table for placement.

    Args:
        tensors: of all parts of the model.
        spec: its hyperparameters; `n_layer` blocks come out.
        basis: where the table comes from.
        isa: instruction sets of the CPU that would hold the weights, in ggml's names: decides `repack_bytes`.
    """
    blocks: defaultdict[int, list[TensorInfo]] = defaultdict(list)
    inputs: list[TensorInfo] = []
    output: list[TensorInfo] = []
    rest: list[TensorInfo] = []
    for tensor in tensors:
        block = _BLOCK.match(tensor.name)
        if block:
            # Layers beyond block_count (prediction heads) load with the last one.
            blocks[min(int(block.group(1)), max(spec.n_layer - 1, 0))].append(tensor)
        elif tensor.name.startswith(_INPUT):
            inputs.append(tensor)
        elif tensor.name.startswith("output."):
            output.append(tensor)
        else:
            rest.append(tensor)
    tied = () if output else tuple(tensor for tensor in inputs if tensor.name == "token_embd.weight")
    return combine(
        basis=basis,
        token_embd=group(inputs, isa, in_product=False),
        output=group(output, isa),
        output_norm=group(rest, isa),
        tied_repack_bytes=group(tied, isa).repack_bytes,
        blocks=[group(blocks.get(index, ()), isa) for index in range(spec.n_layer)],
    )


def spec_from_header(header: GgufHeader, *, fallback_id: str = "model", path: str | None = None) -> ModelSpec:
    """Hyperparameters from a header's metadata, in llama.cpp's meaning of the keys.

    Sliding windows are told only for GPT OSS. Other architectures come out with full attention in every layer, which
    never underestimates their KV cache.

    Raises:
        DamagedFileError: no architecture, a required number missing or absurd, or a file in Ollama's own layout.
    """
    keys = _Keys(header.metadata, path)
    arch = keys.text("general.architecture")
    if arch is None:
        raise DamagedFileError("the GGUF names no architecture: it is not a whole model", path=path)
    if arch == _OLLAMA_ARCH:
        raise DamagedFileError(
            "this is Ollama's own GPT OSS layout (architecture `gptoss`, other tensors), which llama.cpp cannot load",
            path=path,
            hint="gpt-oss pull 20b",
        )
    n_embd = keys.number(f"{arch}.embedding_length")
    n_head = keys.number(f"{arch}.attention.head_count")
    head_size = n_embd // n_head if n_head else 0
    is_gpt_oss = arch == _GPT_OSS_ARCH
    n_swa = keys.number(f"{arch}.attention.sliding_window", 0) if is_gpt_oss else 0
    pattern = keys.number(f"{arch}.attention.sliding_window_pattern", _GPT_OSS_SWA_PATTERN)
    n_layer = keys.number(f"{arch}.block_count")
    n_ctx_train = keys.number(f"{arch}.context_length")
    if n_layer == 0 or n_ctx_train == 0:
        raise DamagedFileError("the GGUF says that the model has no layers, or no context", path=path)
    n_expert = keys.number(f"{arch}.expert_count", 0)
    n_expert_used = keys.number(f"{arch}.expert_used_count", 0)
    if n_expert and not 0 < n_expert_used <= n_expert:
        # llama.cpp asserts the same (llama-model.cpp, load_hparams).
        raise DamagedFileError(f"the GGUF says that {n_expert_used} of {n_expert} experts are used", path=path)
    if n_expert and not n_embd * n_head * keys.number(f"{arch}.attention.key_length", head_size):
        raise DamagedFileError("the GGUF says that the model has rows or heads of no size", path=path)
    return ModelSpec(
        id=_model_id(keys, arch, n_layer, n_expert, fallback_id),
        arch=arch,
        n_layer=n_layer,
        n_embd=n_embd,
        n_head=n_head,
        n_head_kv=keys.number(f"{arch}.attention.head_count_kv", n_head),
        n_embd_head_k=keys.number(f"{arch}.attention.key_length", head_size),
        n_embd_head_v=keys.number(f"{arch}.attention.value_length", head_size),
        n_vocab=keys.length("tokenizer.ggml.tokens", keys.number(f"{arch}.vocab_size", 0)),
        n_ctx_train=n_ctx_train,
        n_swa=n_swa,
        swa_pattern=max(pattern, 1) if n_swa else 1,
        n_expert=n_expert,
        n_expert_used=n_expert_used,
        n_ff_exp=keys.number(f"{arch}.expert_feed_forward_length", 0),
        n_ff=0 if n_expert else keys.number(f"{arch}.feed_forward_length", 0),
    )


def _model_id(keys: _Keys, arch: str, n_layer: int, n_expert: int, fallback_id: str) -> str:
    """The two releases by their shape (names in headers vary), anything else by its own name."""
    name = keys.text("general.name")
    releases = {(24, 32): "gpt-oss-20b", (36, 128): "gpt-oss-120b"}
    if arch == _GPT_OSS_ARCH and "safeguard" not in (name or "").lower() and (n_layer, n_expert) in releases:
        return releases[n_layer, n_expert]
    return name or fallback_id


class _Keys:
    """Typed look-ups in metadata that may hold anything."""

    def __init__(self, metadata: Mapping[str, MetaValue], path: str | None) -> None:
        self._metadata = metadata
        self._path = path

    def text(self, key: str) -> str | None:
        value = self._metadata.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str, default: int | None = None) -> int:
        """A whole number; of one per layer, the largest."""
        value = self._metadata.get(key, default)
        if isinstance(value, tuple):
            numbers = [item for item in value if isinstance(item, int) and not isinstance(item, bool)]
            value = max(numbers, default=default)
        if value is None:
            raise DamagedFileError(f"the GGUF does not say {key}: it is not a whole model", path=self._path)
        limit = next((most for name, most in _LIMITS.items() if key.endswith(name)), 2**32 - 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
            raise DamagedFileError(f"the GGUF says {key} is {value!r:.60}", path=self._path)
        return value

    def length(self, key: str, default: int) -> int:
        value = self._metadata.get(key)
        if isinstance(value, tuple):
            return len(value)
        return value.length if isinstance(value, ArraySummary) else default
