"""The planner's memory against llama.cpp's own statement: the settings that are asked, and how far off each part is.

The tests hold every part to its bound; scripts/planner_errors.py writes the same rows into the planner's README.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.catalogue.headers import file_from_path
from launcher.engines.oracle import OracleAnswer, ask
from launcher.planner.compute import compute_buffers
from launcher.planner.memory import split_context, split_weights
from launcher.planner.types import HOST, LoadParams
from launcher.units import MIB
from tests.builders import X86_ISA
from tests.catalogue.builders import make_gguf
from tests.planner.builders import gpu_params, load_params

FILES = tuple((model, recipe) for model in ("20b", "120b") for recipe in ("MXFP4", "F16", "Q4_K_M"))
N_LAYER = {"20b": 24, "120b": 36}
N_DEVICES = (1, 2, 3, 4)
KV = (("f16", "f16"), ("q8_0", "q8_0"), ("q4_0", "q4_0"), ("q8_0", "f16"), ("f16", "q4_0"), ("q4_0", "q8_0"))
BOUND_BYTES, BOUND_PART = 16 * MIB, 100  # of compute buffers: 16 MiB or 1 %, whichever is more
HEADING = "| file | on | settings | weights | KV cache | compute: equal | largest error | of |"


@dataclass(frozen=True, kw_only=True, slots=True)
class Errors:
    """How far the planner is off over some settings of one file. A figure is a part on one device, or on the host."""

    file: str
    where: str
    n_settings: int
    model_bytes: int
    """The largest error of weights."""
    context_bytes: int
    n_compute: int
    """Compute buffers compared."""
    n_equal: int
    """Of them, those that agree to the byte."""
    compute_bytes: int
    """The largest error, planned less stated."""
    of_bytes: int
    """What llama.cpp states there."""

    @property
    def row(self) -> str:
        """A row of the README's table."""
        cells = (
            self.file,
            self.where,
            str(self.n_settings),
            *("exact" if not off else f"{off} bytes" for off in (self.model_bytes, self.context_bytes)),
            f"{self.n_equal} of {self.n_compute}",
            f"{self.compute_bytes / MIB:+.2f} MiB" if self.compute_bytes else "none",
            f"{self.of_bytes / MIB:.1f} MiB" if self.compute_bytes else "",
        )
        return f"| {' | '.join(cells)} |"


def write_header(folder: Path, model: str, recipe: str) -> Path:
    """A model file of full size whose weights are holes, 13 MB on disk."""
    path = folder / f"gpt-oss-{model}-{recipe}.gguf"
    make_gguf.main([str(path), "--model", model, "--recipe", recipe])
    return path


def on_the_cpu(path: Path, file: tuple[str, str]) -> Errors:
    """Every setting of the grid, asked of this build's CPU."""
    cases = cpu_cases()
    return compare(path, "-".join(file), "CPU", cases, ask(path, cases))


def on_devices(path: Path, file: tuple[str, str], n_devices: int) -> Errors:
    """Placements on as many loopback servers."""
    cases = device_cases(n_devices, N_LAYER[file[0]], 8)
    answers = ask(path, cases, n_stand_ins=n_devices)
    where = "1 device" if n_devices == 1 else f"{n_devices} devices"
    return compare(path, "-".join(file), where, cases, answers, *("RPC",) * n_devices)


def compare(
    path: Path, file: str, where: str, cases: Sequence[LoadParams], answers: Sequence[OracleAnswer], *backends: str
) -> Errors:
    """The errors of every part of every case. Asserts that a compute buffer stays within its bound."""
    known = file_from_path(path, isa=X86_ISA)
    compute_errors, model_errors, context_errors = [], [], []
    for params, answer in zip(cases, answers, strict=True):
        assert answer.refused is None, (params, answer.refused)
        split = split_weights(known.spec, known.weights, params)
        context = split_context(known.spec, params)
        compute = compute_buffers(known.spec, known.weights, params, backends=backends, no_alloc=True)
        weights = (*split.device_bytes, split.host_bytes)
        for i, device in enumerate((*params.devices, HOST)):
            said = answer.row(device)
            model_errors.append(abs(said.model_bytes - weights[i]))
            context_errors.append(abs(said.context_bytes - context[i]))
            off = compute[i] - said.compute_bytes
            assert abs(off) <= max(BOUND_BYTES, said.compute_bytes // BOUND_PART), (device, said, compute[i], params)
            compute_errors.append((off, said.compute_bytes))
    worst, of_bytes = max(compute_errors, key=lambda pair: abs(pair[0]))
    return Errors(
        file=file,
        where=where,
        n_settings=len(cases),
        model_bytes=max(model_errors),
        context_bytes=max(context_errors),
        n_compute=len(compute_errors),
        n_equal=sum(not off for off, _ in compute_errors),
        compute_bytes=worst,
        of_bytes=of_bytes,
    )


def cpu_cases() -> list[LoadParams]:
    """378 settings of the CPU: every context with every cache type, the rest drawn evenly."""
    chance = random.Random(11)
    cases = []
    for n_ctx, (type_k, type_v), _ in itertools.product(
        (4096, 8192, 16_384, 32_768, 49_152, 65_536, 131_072), KV, range(9)
    ):
        n_parallel = chance.choice([1, 1, 2, 3, 4, 8])
        settings: dict[str, Any] = {
            "n_ubatch": chance.choice([256, 512, 1024, 2048, 4096]),
            "n_parallel": n_parallel,
            "kv_unified": chance.random() < 0.5,
            "swa_full": chance.random() < 0.2,
            "n_outputs_max": chance.choice([n_parallel, n_parallel, 64]),
        }
        settings["n_batch"] = max(2048, settings["n_ubatch"])
        cases.append(load_params(n_ctx=n_ctx, type_k=type_k, type_v=type_v, load_mode="none", repack=False, **settings))
    return cases


def device_cases(n_devices: int, n_layer: int, count: int) -> list[LoadParams]:
    """Random placements on some devices, those that load alike together."""
    chance = random.Random(n_devices * 100 + n_layer)
    names = tuple(f"CUDA{i}" for i in range(n_devices))
    cases = []
    for _ in range(count):
        n_gpu_layers = chance.choice([n_layer + 1, n_layer + 1, chance.randrange(n_devices, n_layer + 1)])
        n_cpu_moe = chance.choice([0, n_layer, chance.randrange(n_layer)])
        bounds = sorted(chance.sample(range(1, n_gpu_layers), n_devices - 1)) if n_gpu_layers > n_devices else []
        if len(bounds) != n_devices - 1:
            continue
        split = [float(b - a) for a, b in itertools.pairwise([0, *bounds, n_gpu_layers])]
        for n_ctx, n_ubatch, (type_k, type_v) in (
            (4096, 512, KV[0]),
            (131_072, 512, KV[0]),
            (32_768, 2048, KV[1]),
            (16_384, 64, KV[4]),
        ):
            cases.append(
                gpu_params(
                    n_gpu_layers,
                    n_cpu_moe,
                    devices=names,
                    split_mode="layer" if n_devices > 1 else "none",
                    tensor_split=tuple(split) if n_devices > 1 else (),
                    n_cpu_moe_tensors=chance.choice([0, 0, 1, 2]) if 0 < n_cpu_moe < n_layer else 0,
                    n_ctx=n_ctx,
                    n_ubatch=n_ubatch,
                    type_k=type_k,
                    type_v=type_v,
                    load_mode="none",
                )
            )
    return cases
