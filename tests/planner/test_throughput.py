"""Predicted speeds, held to the figures that were published for 14 machines."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.planner.throughput import active_bytes, predict
from launcher.planner.types import HOST, Estimate, LoadParams, Rate, Throughput
from tests.builders import cpu, gpu, machine
from tests.planner.builders import SPEC_20B, SPEC_120B, dense_model, gpu_params, load_params, weights_of

PUBLISHED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "published-speeds.json").read_text(encoding="utf-8")
)
"""tok/s of one stream at a short context, with the bandwidths of the machine in GB/s."""


def rate(gb_per_s: float, tflops: float | None = None) -> Rate:
    flops = None if tflops is None else Estimate(value=tflops * 1e12, basis="cores")
    return Rate(bandwidth=Estimate(value=gb_per_s * 1e9, basis=f"{gb_per_s:g} GB/s"), flops=flops)


def speeds(params: LoadParams, rates: dict[str, Rate], model: str = "20b", quant: str = "MXFP4", **more: Any) -> Any:
    """Predictions of a model on the devices that `params` name."""
    devices = [gpu(200, backend=name[:-1], index=int(name[-1])) for name in params.devices]
    hardware = machine(devices=devices, processor=cpu(n_physical=params.n_threads))
    spec = SPEC_20B if model == "20b" else SPEC_120B
    return predict(hardware, spec, weights_of(f"gpt-oss-{model}", quant), params, rates, **more)


def first(params: LoadParams, rates: dict[str, Rate], **more: Any) -> Throughput:
    found: Throughput = speeds(params, rates, **more)[0]
    return found


def predicted(run: dict[str, Any]) -> float:
    rates = {HOST: rate(run["host_gb_per_s"])}
    params = load_params(n_threads=run["n_threads"])
    if run["backend"] is not None:
        name = f"{run['backend']}0"
        rates[name] = rate(run["device_gb_per_s"])
        params = gpu_params(99, run["n_cpu_moe"], n_threads=run["n_threads"], devices=(name,))
    found = first(params, rates, model=run["model"], quant=run["quant"]).tg_ts
    assert found is not None
    return found


def test_at_least_10_of_14_published_speeds_are_predicted_within_a_fifth() -> None:
    errors = {run["machine"]: predicted(run) / run["tg_ts"] - 1 for run in PUBLISHED}
    assert len(errors) == 14
    near = [name for name, error in errors.items() if abs(error) <= 0.20]
    assert len(near) >= 10, errors


def test_a_token_reads_the_dense_weights_and_four_experts_of_each_layer() -> None:
    weights = weights_of("gpt-oss-20b")
    dense = sum(layer.dense_bytes for layer in weights.layers) + weights.output_bytes
    experts = sum(layer.expert_bytes for layer in weights.layers) * 4 // 32
    assert active_bytes(SPEC_20B, weights, load_params()) == (0, dense + experts)
    assert active_bytes(SPEC_20B, weights, gpu_params(25)) == (dense + experts, 0)
    assert active_bytes(SPEC_20B, weights, gpu_params(25, 24)) == (dense, experts)


def test_blocks_off_the_gpu_are_read_from_ram() -> None:
    weights = weights_of("gpt-oss-20b")
    device, host = active_bytes(SPEC_20B, weights, gpu_params(13, 0))
    assert device - weights.output_bytes == host


def test_a_tied_output_reads_all_embeddings() -> None:
    spec, weights = dense_model()
    assert active_bytes(spec, weights, load_params()) == (0, 1000 + 400)


WAYS = [load_params(n_ctx=131_072), gpu_params(25, n_ctx=131_072), gpu_params(25, 12, n_ctx=131_072)]


@pytest.mark.parametrize("params", WAYS)
def test_speed_never_rises_with_depth(params: LoadParams) -> None:
    found = speeds(params, {HOST: rate(60), "CUDA0": rate(1000, 165)})
    assert [t.n_depth for t in found] == [0, 4096, 16_384, 32_768, 131_072]
    for name in ("tg_ts", "pp_ts"):
        values = [getattr(t, name) for t in found]
        assert values == sorted(values, reverse=True)


@given(params=st.sampled_from(WAYS), host=st.floats(10, 900), device=st.floats(50, 8000), more=st.floats(1, 10))
def test_more_bandwidth_is_never_slower(params: LoadParams, host: float, device: float, more: float) -> None:
    slow = first(params, {HOST: rate(host), "CUDA0": rate(device)}).tg_ts
    for rates in ({HOST: rate(host * more), "CUDA0": rate(device)}, {HOST: rate(host), "CUDA0": rate(device * more)}):
        fast = first(params, rates).tg_ts
        assert slow is not None
        assert fast is not None
        assert fast >= slow


def test_the_basis_names_what_it_rests_on() -> None:
    known = {HOST: rate(60), "CUDA0": rate(1000)}
    assert first(gpu_params(25, 12), known).basis == "CUDA0 1000 GB/s; CPU 60 GB/s; 8 of 8 cores"
    assert first(gpu_params(25), known).basis == "CUDA0 1000 GB/s"


@pytest.mark.parametrize(
    ("params", "known"), [(gpu_params(25), {HOST}), (gpu_params(25, 3), {"CUDA0"}), (load_params(), {"CUDA0"})]
)
def test_no_estimate_without_the_bandwidth_that_counts(params: LoadParams, known: set[str]) -> None:
    assert first(params, {name: rate(100) for name in known}).tg_ts is None


def test_prompts_need_a_devices_compute() -> None:
    assert first(gpu_params(25), {"CUDA0": rate(1000)}).pp_ts is None
    assert first(gpu_params(25), {"CUDA0": rate(1000, 165)}).pp_ts is not None
    assert first(load_params(), {HOST: rate(60)}).pp_ts is not None


def test_streamed_weights_cost_the_disk() -> None:
    rates = {HOST: rate(60), "disk": rate(3)}
    whole, streamed = first(load_params(), rates), first(load_params(), rates, streamed_bytes=6 * 10**9)
    assert whole.tg_ts is not None
    assert streamed.tg_ts is not None
    assert streamed.tg_ts < whole.tg_ts / 2
    assert "disk 3 GB/s" in streamed.basis
    assert first(load_params(), {HOST: rate(60)}, streamed_bytes=6 * 10**9).tg_ts is None


def test_two_devices_read_their_layers_one_after_the_other() -> None:
    two = gpu_params(25, devices=("CUDA0", "CUDA1"), split_mode="layer", tensor_split=(13.0, 12.0))
    both = first(two, {"CUDA0": rate(1000), "CUDA1": rate(500)}).tg_ts
    fast, slow = (first(gpu_params(25), {"CUDA0": rate(n)}).tg_ts for n in (1000, 500))
    assert both is not None
    assert fast is not None
    assert slow is not None
    assert slow < both < fast


def test_a_few_cores_cannot_draw_what_the_memory_gives() -> None:
    # Measured: 14.1 tok/s of the 20b on two cores with AVX512, repacked, 12 channels of memory behind them.
    fast = {HOST: rate(460)}
    two, four = (first(load_params(n_threads=n), fast).tg_ts for n in (2, 4))
    assert two == pytest.approx(14.1, rel=0.2)
    assert two is not None
    assert four == pytest.approx(2 * two, rel=0.02)


def test_the_plain_layout_is_slower_on_the_cpu() -> None:
    repacked, plain = (first(load_params(repack=n), {HOST: rate(60)}).tg_ts for n in (True, False))
    assert repacked is not None
    assert plain == pytest.approx(0.75 * repacked, rel=0.02)
