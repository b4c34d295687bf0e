from dataclasses import replace
from pathlib import Path

import pytest

import launcher.planner
from launcher.catalogue.types import ModelSpec
from launcher.planner.layers import layer_devices
from launcher.planner.memory import (
    compute_bytes,
    is_swa_layer,
    kv_cells,
    kv_layer_bytes,
    pad,
    split_weights,
)
from launcher.planner.types import KvType, LoadParams
from launcher.units import MIB
from tests.planner.builders import (
    SPEC_20B,
    SPEC_120B,
    dense_model,
    gpu_params,
    load_params,
    weights_of,
)

SPECS = {"20b": SPEC_20B, "120b": SPEC_120B}


def kv_mib(spec: ModelSpec, params: LoadParams) -> tuple[float, float]:
    """MiB of the (full, window) halves."""
    layers = kv_layer_bytes(spec, params)
    window = sum(b for i, b in enumerate(layers) if is_swa_layer(spec, i))
    return (sum(layers) - window) / MIB, window / MIB


def test_pad_rounds_up_to_256() -> None:
    assert [pad(n) for n in (0, 1, 255, 256, 257, 4096)] == [0, 256, 256, 256, 512, 4096]


# llama.cpp's log, MiB: "size" lines of llama_kv_cache for the full half and the window half.
@pytest.mark.parametrize(
    ("model", "n_ctx", "full", "window"),
    [
        ("20b", 4096, 96, 18),
        ("20b", 8192, 192, 18),
        ("20b", 32_768, 768, 18),
        ("20b", 131_072, 3072, 18),
        ("120b", 4096, 144, 27),
        ("120b", 8192, 288, 27),
        ("120b", 32_768, 1152, 27),
        ("120b", 131_072, 4608, 27),
    ],
)
def test_kv_cache_is_what_llama_cpp_logs(model: str, n_ctx: int, full: float, window: float) -> None:
    assert kv_mib(SPECS[model], load_params(n_ctx=n_ctx)) == (full, window)


@pytest.mark.parametrize(
    ("model", "totals"), [("20b", (210, 786, 3090)), ("120b", (315, 1179, 4635))], ids=["20b", "120b"]
)
def test_kv_totals_that_are_published(model: str, totals: tuple[int, int, int]) -> None:
    found = [sum(kv_layer_bytes(SPECS[model], load_params(n_ctx=n))) / MIB for n in (8192, 32_768, 131_072)]
    assert found == list(totals)


@pytest.mark.parametrize(
    ("model", "changes", "full", "window"),
    [
        ("20b", {"n_ctx": 131_072, "n_ubatch": 2048}, 3072, 54),
        ("120b", {"n_ctx": 131_072, "n_ubatch": 2048}, 4608, 81),
        ("20b", {"n_ctx": 131_072, "swa_full": True}, 3072, 3072),
        ("120b", {"n_ctx": 131_072, "swa_full": True}, 4608, 4608),
        ("20b", {"n_ctx": 16_384, "type_k": "q8_0", "type_v": "q8_0"}, 204, 9.5625),
        ("120b", {"n_ctx": 16_384, "type_k": "q8_0", "type_v": "q8_0"}, 306, 14.34375),
        ("20b", {"n_ctx": 16_384, "type_k": "q4_0", "type_v": "q4_0"}, 108, 5.0625),
        ("20b", {"n_ctx": 16_384, "type_k": "q8_0", "type_v": "f16"}, 294, 13.78125),
        ("20b", {"n_ctx": 16_384, "type_k": "f32", "type_v": "f32"}, 768, 36),
        ("20b", {"n_ctx": 16_384, "type_k": "bf16", "type_v": "bf16"}, 384, 18),
        # Four sequences: their own streams of a quarter each, or one stream with four windows.
        ("20b", {"n_ctx": 16_384, "n_parallel": 4}, 384, 72),
        ("20b", {"n_ctx": 16_384, "n_parallel": 4, "kv_unified": True}, 384, 24),
        ("20b", {"n_ctx": 4000}, 96, 18),
        ("20b", {"n_ctx": 256, "n_ubatch": 256}, 6, 6),
    ],
)
def test_kv_cache_by_setting(model: str, changes: dict[str, object], full: float, window: float) -> None:
    assert kv_mib(SPECS[model], load_params(**changes)) == (full, window)


def test_streams_are_padded_one_by_one() -> None:
    cells = kv_cells(SPEC_20B, load_params(n_ctx=4096, n_parallel=3))
    assert (cells.full, cells.n_stream) == (1536, 3)  # 4096 / 3 = 1365, padded


def test_a_model_without_windows_holds_the_whole_context_in_every_layer() -> None:
    spec, _ = dense_model()
    assert len(set(kv_layer_bytes(spec, load_params()))) == 1
    assert not any(is_swa_layer(spec, i) for i in range(spec.n_layer))


def test_the_first_layer_of_gpt_oss_sees_a_window_and_every_second_does() -> None:
    assert [is_swa_layer(SPEC_20B, i) for i in range(4)] == [True, False, True, False]
    assert sum(is_swa_layer(SPEC_20B, i) for i in range(24)) == SPEC_20B.n_layer_swa == 12


def test_quantized_caches_shrink_by_their_block_size() -> None:
    kinds: tuple[KvType, ...] = ("f16", "q8_0", "q4_0")
    sizes = {kind: sum(kv_layer_bytes(SPEC_20B, load_params(n_ctx=16_384, type_k=kind, type_v=kind))) for kind in kinds}
    assert sizes["q8_0"] * 32 == sizes["f16"] * 17
    assert sizes["q4_0"] * 32 == sizes["f16"] * 9


# llama.cpp's log ("compute buffer size", CPU, no_alloc) in MiB.
MEASURED_COMPUTE: tuple[tuple[str, dict[str, int], float], ...] = (
    ("20b", {"n_ctx": 4096, "n_ubatch": 512}, 97.14),
    ("20b", {"n_ctx": 131_072, "n_ubatch": 512}, 221.14),
    ("20b", {"n_ctx": 4096, "n_ubatch": 2048}, 394.58),
    ("20b", {"n_ctx": 131_072, "n_ubatch": 2048}, 890.58),
    ("20b", {"n_ctx": 32_768, "n_ubatch": 32}, 7.79),
    ("120b", {"n_ctx": 4096, "n_ubatch": 512}, 97.14),
    ("120b", {"n_ctx": 131_072, "n_ubatch": 512}, 221.14),
    ("20b", {"n_ctx": 4096, "n_ubatch": 512, "n_outputs_max": 512}, 414.40),
)


@pytest.mark.parametrize(("model", "changes", "mib"), MEASURED_COMPUTE)
def test_compute_buffer_is_what_llama_cpp_logs(model: str, changes: dict[str, int], mib: float) -> None:
    found = compute_bytes(SPECS[model], load_params(**changes)) / MIB
    assert found == pytest.approx(mib, abs=0.011)  # the log has two digits


def test_the_readme_shows_these_compute_buffers() -> None:
    text = (Path(launcher.planner.__path__[0]) / "README.md").read_text(encoding="utf-8")
    for model, changes, mib in MEASURED_COMPUTE:
        setting = f"{changes['n_ctx']} | {changes['n_ubatch']} | {changes.get('n_outputs_max', 1)}"
        found = compute_bytes(SPECS[model], load_params(**changes)) / MIB
        assert f"| {model} | {setting} | {mib:.2f} | {found:.2f} | {found / mib - 1:+.2%} |" in text


def test_without_flash_attention_scores_grow_with_the_context() -> None:
    with_it = compute_bytes(SPEC_20B, load_params(n_ctx=16_384))
    without = compute_bytes(SPEC_20B, load_params(n_ctx=16_384, flash_attn=False))
    scores, wider_masks, indices_of_v = 64 * 16_384 * 4, 2 * (16_384 + 768), 2 * 8 * 512
    assert without - with_it == 512 * (scores + wider_masks + indices_of_v)


@pytest.mark.parametrize(("n_ctx", "mib"), [(16_384, 2118), (131_072, 16_678)])
def test_compute_without_flash_attention_is_bounded_near_the_log(n_ctx: int, mib: float) -> None:
    assert mib <= compute_bytes(SPEC_20B, load_params(n_ctx=n_ctx, flash_attn=False)) / MIB < 1.05 * mib


def test_compute_of_a_dense_model_counts_its_feed_forward() -> None:
    spec, _ = dense_model()
    wider = replace(spec, n_ff=2 * spec.n_ff)
    more = compute_bytes(wider, load_params()) - compute_bytes(spec, load_params())
    assert more == 512 * 4 * 3 * spec.n_ff


@pytest.mark.parametrize(
    ("model", "n_cpu_moe", "device_bytes"),
    [
        ("20b", 0, 11_481_229_056),
        ("20b", 24, 1_302_341_376),
        ("120b", 0, 62_758_994_688),
        ("120b", 36, 1_685_668_608),
    ],
)
def test_weights_on_the_gpu(model: str, n_cpu_moe: int, device_bytes: int) -> None:
    spec, weights = SPECS[model], weights_of(f"gpt-oss-{model}")
    split = split_weights(spec, weights, gpu_params(spec.n_layer + 1, n_cpu_moe))
    assert split.device_bytes == (device_bytes,)
    assert device_bytes + split.host_bytes == weights.total_bytes
    assert split.repack_bytes == 0


@pytest.mark.parametrize(
    ("model", "token_embd", "total", "block_experts", "block_dense"),
    [
        ("20b", 615_329_280, 12_096_558_336, 423_014_400 + 1_105_920, 29_730_944 - 1_105_920),
        ("120b", 615_329_280, 63_374_323_968, 1_692_057_600 + 4_423_680, 34_155_008 - 4_423_680),
    ],
)
def test_the_weight_table_of_the_native_release(
    model: str, token_embd: int, total: int, block_experts: int, block_dense: int
) -> None:
    weights = weights_of(f"gpt-oss-{model}")
    assert (weights.token_embd_bytes, weights.output_bytes, weights.total_bytes) == (token_embd, token_embd, total)
    assert {(b.expert_bytes, b.dense_bytes) for b in weights.layers} == {(block_experts, block_dense)}


def test_n_gpu_layers_takes_the_output_first_and_then_the_last_blocks() -> None:
    weights = weights_of("gpt-oss-20b")
    one = split_weights(SPEC_20B, weights, gpu_params(1))
    assert one.device_bytes == (weights.output_bytes + weights.output_norm_bytes,)
    two = split_weights(SPEC_20B, weights, gpu_params(2))
    assert two.device_bytes[0] - one.device_bytes[0] == weights.layers[-1].dense_bytes + weights.layers[-1].expert_bytes
    assert [layer_devices(SPEC_20B, gpu_params(2))[i] for i in (0, 22, 23, 24)] == [None, None, 0, 0]
    assert set(layer_devices(SPEC_20B, load_params())) == {None}


def test_the_embeddings_stay_on_the_host() -> None:
    weights = weights_of("gpt-oss-20b")
    assert split_weights(SPEC_20B, weights, gpu_params(25)).host_bytes == weights.token_embd_bytes


def test_the_cpu_repacks_the_experts_and_nothing_with_a_gpu() -> None:
    weights = weights_of("gpt-oss-20b")
    assert split_weights(SPEC_20B, weights, load_params()).repack_bytes == 10_152_345_600  # log: 9682.03 MiB
    assert split_weights(SPEC_20B, weights, load_params(repack=False)).repack_bytes == 0
    assert split_weights(SPEC_20B, weights, gpu_params(1, 24, repack=True)).repack_bytes == 0


# A model whose output is its embeddings had no output on the GPU's side of the table at all.
def test_an_offloaded_tied_output_is_a_copy_of_the_embeddings() -> None:
    spec, weights = dense_model()
    split = split_weights(spec, weights, gpu_params(spec.n_layer + 1))
    assert (split.device_bytes, split.host_bytes) == ((1000 + 10 + 400,), 1000)


def test_a_tied_output_on_the_cpu_is_shared_and_its_repacked_copy_is_not() -> None:
    spec, weights = dense_model()
    split = split_weights(spec, weights, load_params())
    assert (split.host_bytes, split.repack_bytes, split.unmapped_copy_bytes) == (1410, 1320, 1000)
    untied = split_weights(*dense_model(tied=False), load_params())
    assert (untied.host_bytes, untied.repack_bytes, untied.unmapped_copy_bytes) == (2310, 1220, 0)
