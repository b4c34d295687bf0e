"""The planner's memory against llama.cpp's own statement, over the whole grid of settings."""

from __future__ import annotations

import importlib
import itertools
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.catalogue.headers import file_from_path
from launcher.engines.oracle import OracleAnswer, ask
from launcher.planner.compute import compute_buffers
from launcher.planner.memory import split_context, split_weights
from launcher.planner.types import HOST, LoadParams
from launcher.units import MIB
from tests.builders import X86_ISA
from tests.planner.builders import gpu_params, load_params

SCRIPTS = Path(__file__).parents[2] / "scripts"
FILES = [(model, recipe) for model in ("20b", "120b") for recipe in ("MXFP4", "F16", "Q4_K_M")]
KV = [("f16", "f16"), ("q8_0", "q8_0"), ("q4_0", "q4_0"), ("q8_0", "f16"), ("f16", "q4_0"), ("q4_0", "q8_0")]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="llama.cpp's breakdown is read on Linux")


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Path]]:
    """Model files of full size whose weights are holes, 13 MB each on disk."""
    folder = tmp_path_factory.mktemp("headers")
    sys.path.insert(0, str(SCRIPTS))
    try:
        make = importlib.import_module("make_gguf")
        found = {}
        for model, recipe in FILES:
            path = folder / f"gpt-oss-{model}-{recipe}.gguf"
            make.main([str(path), "--model", model, "--recipe", recipe])
            found[model, recipe] = path
    finally:
        sys.path.remove(str(SCRIPTS))
    yield found
    for path in found.values():
        path.unlink()


def compare(path: Path, cases: list[LoadParams], answers: tuple[OracleAnswer, ...], *backends: str) -> int:
    """Assert every part of every case: weights and cache to the byte. Gives the largest error of a compute buffer."""
    known = file_from_path(path, isa=X86_ISA)
    worst = 0
    for params, answer in zip(cases, answers, strict=True):
        assert answer.refused is None, (params, answer.refused)
        split = split_weights(known.spec, known.weights, params)
        context = split_context(known.spec, params)
        compute = compute_buffers(known.spec, known.weights, params, backends=backends, no_alloc=True)
        for i, device in enumerate((*params.devices, HOST)):
            said = answer.row(device)
            assert said.context_bytes == context[i], (device, params)
            assert said.model_bytes == (*split.device_bytes, split.host_bytes)[i], (device, params)
            off = abs(said.compute_bytes - compute[i])
            # Many rows of logits: where they find a hole at the end of the graph is not followed to the byte.
            logits = params.n_outputs_max > params.n_parallel
            bound = max(20 * MIB if logits else 16 * MIB, said.compute_bytes // 100)
            assert off <= bound, (device, said, compute[i], params)
            worst = worst if logits else max(worst, off)
    return worst


def grid() -> list[LoadParams]:
    """350 settings of the CPU: every context with every cache type, the rest drawn evenly."""
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


@pytest.mark.parametrize("file", FILES, ids=["-".join(file) for file in FILES])
def test_every_setting_of_the_cpu(headers: dict[tuple[str, str], Path], file: tuple[str, str]) -> None:
    cases = grid()
    assert len(cases) * len(FILES) >= 2000
    worst = compare(headers[file], cases, ask(headers[file], cases))
    assert worst <= MIB


def placements(n_devices: int, n_layer: int, count: int) -> list[LoadParams]:
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


@pytest.mark.parametrize("n_devices", [1, 2, 3, 4])
@pytest.mark.parametrize(("model", "n_layer"), [("20b", 24), ("120b", 36)])
def test_devices_that_loopback_servers_stand_for(
    headers: dict[tuple[str, str], Path], model: str, n_layer: int, n_devices: int
) -> None:
    cases = placements(n_devices, n_layer, 8)
    assert len(cases) >= 20
    answers = ask(headers[model, "MXFP4"], cases, n_stand_ins=n_devices)
    compare(headers[model, "MXFP4"], cases, answers, *("RPC",) * n_devices)
