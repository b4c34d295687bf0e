"""The shipped catalogue as a planner sees it, and requests and parameters with plain defaults."""

from dataclasses import replace
from functools import cache
from typing import Any

from launcher.catalogue.shipped import RecipeBook
from launcher.catalogue.types import Catalogue, LayerWeights, ModelFile, ModelSpec, ModelWeights
from launcher.hardware.types import Hardware
from launcher.planner.choose import plan
from launcher.planner.types import HOST, DeviceMemory, Estimate, LoadParams, Plan, PlanRequest, Rate
from tests.builders import X86_ISA
from tests.catalogue.builders import shipped

SPEC_20B = shipped().models["gpt-oss-20b"]
SPEC_120B = shipped().models["gpt-oss-120b"]
RATES = {
    HOST: Rate(bandwidth=Estimate(value=60e9, basis="test: RAM")),
    "disk": Rate(bandwidth=Estimate(value=3e9, basis="test: disk")),
    **{
        name: Rate(bandwidth=Estimate(value=1e12, basis="test: GPU"), flops=Estimate(value=100e12, basis="test: GPU"))
        for name in ("CUDA0", "CUDA1", "CUDA2", "CUDA3", "MTL0", "Vulkan0")
    },
}


@cache
def catalogue(isa: tuple[str, ...] = X86_ISA) -> Catalogue:
    """Every shipped file with the weights of its recipe."""
    book = RecipeBook(shipped(), isa)
    weighed = {
        file: weights
        for repo in shipped().repos
        for file in shipped().model_files(repo.repo)
        if (weights := book.weights(file)) is not None
    }
    return Catalogue(
        files=tuple(weighed),
        weights={file.name: weights for file, weights in weighed.items()},
        specs=shipped().models,
        source="shipped",
        as_of="2026-10",
    )


def files_of(model: str, *quants: str, isa: tuple[str, ...] = X86_ISA) -> Catalogue:
    """The catalogue cut down to one model, and to some of its labels."""
    whole = catalogue(isa)
    kept = tuple(f for f in whole.files if f.model == model and (not quants or f.quant in quants))
    return replace(whole, files=kept)


def weights_of(model: str, quant: str = "MXFP4", isa: tuple[str, ...] = X86_ISA) -> ModelWeights:
    """Weights of the first file of that label."""
    found = files_of(model, quant, isa=isa)
    return found.weights[found.files[0].name]


def load_params(**changes: Any) -> LoadParams:
    """A CPU's parameters at n_ctx 4096."""
    plain = LoadParams(
        n_gpu_layers=0,
        n_cpu_moe=0,
        n_ctx=4096,
        n_batch=2048,
        n_ubatch=512,
        n_parallel=1,
        n_threads=8,
        n_threads_batch=8,
        type_k="f16",
        type_v="f16",
        flash_attn=True,
        offload_kqv=False,
        swa_full=False,
        kv_unified=False,
        n_outputs_max=1,
        load_mode="mmap",
        repack=True,
        devices=(),
    )
    return replace(plain, **changes)


def gpu_params(n_gpu_layers: int, n_cpu_moe: int = 0, **changes: Any) -> LoadParams:
    """Parameters that use CUDA0."""
    fixed = {"devices": ("CUDA0",), "offload_kqv": True, "repack": False}
    return load_params(n_gpu_layers=n_gpu_layers, n_cpu_moe=n_cpu_moe, **fixed | changes)


def make_plan(
    hardware: Hardware, *, files: Catalogue | None = None, rates: dict[str, Rate] | None = None, **wish: Any
) -> Plan:
    """Plan on the shipped catalogue; every rate is known unless said otherwise."""
    return plan(hardware, files or catalogue(), PlanRequest(**wish), rates=RATES if rates is None else rates)


def row(found: Plan, name: str = HOST) -> DeviceMemory:
    """One row of a plan's memory table."""
    return next(r for r in found.memory if r.name == name)


def dense_model(*, tied: bool = True, n_layer: int = 4) -> tuple[ModelSpec, ModelWeights]:
    """A small model without experts and without windows, whose output may be its embeddings."""
    spec = replace(
        SPEC_20B,
        id="dense",
        arch="llama",
        n_layer=n_layer,
        n_swa=0,
        swa_pattern=1,
        n_expert=0,
        n_expert_used=0,
        n_ff=8192,
    )
    weights = ModelWeights(
        basis="header",
        token_embd_bytes=1000,
        output_bytes=0 if tied else 900,
        output_norm_bytes=10,
        output_repack_bytes=1000 if tied else 900,
        layers=(LayerWeights(dense_bytes=100, expert_bytes=0, repack_bytes=80),) * n_layer,
        dense_bpw=4.5,
        expert_bpw=None,
        largest_expert_tensor_bytes=0,
        n_params=5000,
    )
    return spec, weights


def renamed(file: ModelFile, **changes: Any) -> ModelFile:
    """A file with other facts."""
    return replace(file, **changes)
