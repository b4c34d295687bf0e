from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest

from launcher.catalogue.gguf import ArraySummary, GgufHeader, TensorInfo, read_header
from launcher.catalogue.recipes import RaisedLayers, Recipe, check_recipe, lay_out, model_tensors, recipe_weights
from launcher.catalogue.types import ModelWeights
from launcher.catalogue.weights import MAX_LAYERS, spec_from_header, weights_from_tensors
from launcher.errors import DamagedFileError
from tests.catalogue.builders import NATIVE, shipped, spec, tiny_header, tiny_metadata, tiny_spec

AVX2 = ("AVX2",)


def of_release(model: str, isa: tuple[str, ...] = AVX2) -> ModelWeights:
    return weights_from_tensors(model_tensors(spec(model), NATIVE), spec(model), "header", isa)


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        (
            "gpt-oss-20b",
            {
                "total": 12_096_558_336,
                "params": 20_914_757_184,
                "block": 452_745_344,
                "experts": 423_014_400,
                "biases": 1_105_920,
            },
        ),
        (
            "gpt-oss-120b",
            {
                "total": 63_374_323_968,
                "params": 116_829_156_672,
                "block": 1_726_212_608,
                "experts": 1_692_057_600,
                "biases": 4_423_680,
            },
        ),
    ],
)
def test_the_native_releases_to_the_byte(model: str, facts: dict[str, int]) -> None:
    weights = of_release(model)
    assert weights.total_bytes == facts["total"]
    assert weights.n_params == facts["params"]
    assert weights.token_embd_bytes == weights.output_bytes == 615_329_280
    assert weights.output_norm_bytes == 2880 * 4
    for layer in weights.layers:
        assert layer.dense_bytes + layer.expert_bytes == facts["block"]
        assert layer.expert_bytes == facts["experts"] + facts["biases"]
        assert layer.repack_bytes == facts["experts"]
    assert weights.dense_bpw == 8.5
    assert weights.expert_bpw == 4.25
    assert weights.largest_expert_tensor_bytes == facts["experts"] // 3
    assert weights.basis == "header"


def test_what_goes_to_a_gpu() -> None:
    # The engine's own numbers for 25 and 37 layers, and with all experts on the CPU.
    for model, everything, without_experts in (
        ("gpt-oss-20b", 11_481_229_056, 1_302_341_376),
        ("gpt-oss-120b", 62_758_994_688, 1_685_668_608),
    ):
        weights = of_release(model)
        head = weights.output_bytes + weights.output_norm_bytes
        assert head + sum(layer.dense_bytes + layer.expert_bytes for layer in weights.layers) == everything
        assert head + sum(layer.dense_bytes for layer in weights.layers) == without_experts


def test_the_measured_repack_buffer_of_the_20b() -> None:
    # llama.cpp printed "CPU_REPACK model buffer size = 9682.03 MiB" on AVX512.
    weights = of_release("gpt-oss-20b", isa=("AVX2", "AVX512", "AVX512_VNNI"))
    copies = sum(layer.repack_bytes for layer in weights.layers) + weights.output_repack_bytes
    assert round(copies / 2**20, 2) == 9682.03
    assert weights.output_repack_bytes == 0


def test_on_arm_the_dense_matrices_are_repacked_as_well_but_not_the_embeddings() -> None:
    weights = of_release("gpt-oss-20b", isa=("NEON", "DOTPROD", "MATMUL_INT8"))
    copies = sum(layer.repack_bytes for layer in weights.layers) + weights.output_repack_bytes
    assert copies == 10_152_345_600 + 1_907_481_600 - 615_329_280
    assert weights.output_repack_bytes == 615_329_280


def test_without_an_isa_nothing_is_repacked() -> None:
    assert sum(layer.repack_bytes for layer in of_release("gpt-oss-20b", isa=()).layers) == 0


def test_no_tensor_is_lost_or_counted_twice() -> None:
    model = tiny_spec()
    extra = [("rope_freqs.weight", (8,), "f32"), ("blk.7.nextn.weight", (32, 2), "f32"), ("odd", (4,), "f32")]
    tensors = (*model_tensors(model, NATIVE), *lay_out(extra))
    weights = weights_from_tensors(tensors, model, "header", ())
    assert weights.total_bytes == sum(tensor.n_bytes for tensor in tensors)
    assert len(weights.layers) == model.n_layer


def test_a_dense_model_with_tied_embeddings() -> None:
    model = replace(tiny_spec(), n_expert=0, n_expert_used=0, n_ff_exp=0)
    rows = [
        ("token_embd.weight", (256, 96), "q4_0"),
        ("output_norm.weight", (256,), "f32"),
        *((f"blk.{i}.ffn_down.weight", (256, 256), "q4_0") for i in range(model.n_layer)),
    ]
    weights = weights_from_tensors(lay_out(rows), model, "header", AVX2)
    assert weights.output_bytes == 0
    # llama.cpp multiplies by a second, repacked copy of the embeddings.
    assert weights.output_repack_bytes == weights.token_embd_bytes
    assert weights.expert_bpw is None
    assert weights.largest_expert_tensor_bytes == 0
    assert weights.dense_bpw == 4.5


def test_a_file_without_matrices_has_a_rank_of_zero() -> None:
    weights = weights_from_tensors(lay_out([("output_norm.weight", (4,), "f32")]), tiny_spec(), "header", ())
    assert weights.dense_bpw == 0.0


# Recipes


@pytest.mark.parametrize("model", ["gpt-oss-20b", "gpt-oss-120b"])
@pytest.mark.parametrize("isa", [(), AVX2, ("NEON", "DOTPROD")])
def test_recipes_expand_to_what_the_tensors_say(model: str, isa: tuple[str, ...]) -> None:
    for name, recipe in shipped().recipes.items():
        plain = replace(recipe.for_model(model), attention_bytes=None)
        tensors = model_tensors(spec(model), plain)
        assert recipe_weights(spec(model), plain, isa) == weights_from_tensors(
            tensors, spec(model), "catalogue", isa
        ), name


def test_an_average_spreads_over_the_layers_without_losing_a_byte() -> None:
    recipe = shipped().recipes["UD-Q4_K_XL"].for_model("gpt-oss-20b")
    one_more = replace(recipe, attention_bytes=(recipe.attention_bytes or 0) + 1)
    weights, other = (recipe_weights(spec(), each, AVX2) for each in (recipe, one_more))
    assert other.total_bytes == weights.total_bytes + 1
    assert weights.n_params == 20_914_757_184
    assert round(weights.dense_bpw, 2) == 7.44
    spread = {layer.dense_bytes for layer in other.layers}
    assert max(spread) - min(spread) == 1


def test_a_recipe_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="q9_9"):
        check_recipe(replace(NATIVE, attn_k="q9_9"))
    check_recipe(NATIVE)


@pytest.mark.parametrize(
    ("raised_layers", "layers"),
    [
        ("none", set()),
        ("first_2", {0, 1}),
        ("first_4", {0, 1, 2, 3}),
        ("more_bits", {0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23}),
    ],
)
def test_which_layers_get_a_better_attn_v(raised_layers: RaisedLayers, layers: set[int]) -> None:
    recipe = Recipe(
        token_embd="q5_0", output="q8_0", attn_q="q5_0", attn_k="q5_0", attn_v="q5_0", attn_output="q4_K",
        attn_v_raised="q8_0", raised_layers=raised_layers,
    )  # fmt: skip
    assert {layer for layer in range(24) if recipe.attn_v_type(layer, 24) == "q8_0"} == layers


# Hyperparameters


def header(**metadata: Any) -> GgufHeader:
    keys = {key.replace("__", "."): value for key, value in metadata.items()}
    return GgufHeader(version=3, metadata=keys, tensors=(), alignment=32, data_offset=0)


LLAMA: dict[str, Any] = {
    "general__architecture": "llama",
    "general__name": "Llama 3.2 1B Instruct",
    "llama__block_count": 16,
    "llama__context_length": 131_072,
    "llama__embedding_length": 2048,
    "llama__attention__head_count": 32,
    "llama__attention__head_count_kv": 8,
}


def test_a_release_comes_out_as_it_is_shipped() -> None:
    for model in ("gpt-oss-20b", "gpt-oss-120b"):
        metadata = tiny_metadata(spec(model))
        metadata["tokenizer.ggml.tokens"] = ArraySummary(type="string", length=201_088)
        metadata["general.name"] = "Gpt Oss"
        found = spec_from_header(GgufHeader(version=3, metadata=metadata, tensors=(), alignment=32, data_offset=0))
        assert found == spec(model)


def test_a_header_that_was_written_and_read() -> None:
    data = tiny_header()
    assert spec_from_header(read_header(BytesIO(data), size_bytes=len(data))) == tiny_spec()


def test_the_safeguard_model_is_not_the_release_of_its_shape() -> None:
    metadata = {**tiny_metadata(spec()), "general.name": "Gpt-Oss-Safeguard-20B"}
    metadata["tokenizer.ggml.tokens"] = ArraySummary(type="string", length=201_088)
    found = spec_from_header(GgufHeader(version=3, metadata=metadata, tensors=(), alignment=32, data_offset=0))
    assert found.id == "Gpt-Oss-Safeguard-20B"


def test_another_architecture_sees_the_whole_context_everywhere() -> None:
    found = spec_from_header(header(**LLAMA, llama__vocab_size=128_256))
    assert (found.id, found.arch, found.n_layer, found.n_vocab) == ("Llama 3.2 1B Instruct", "llama", 16, 128_256)
    assert (found.n_embd_head_k, found.n_embd_head_v, found.n_head_kv) == (64, 64, 8)
    assert (found.n_swa, found.swa_pattern, found.n_layer_swa) == (0, 1, 0)
    assert (found.n_expert, found.n_expert_used, found.n_ff_exp) == (0, 0, 0)


def test_numbers_by_layer_count_as_the_largest() -> None:
    found = spec_from_header(header(**{**LLAMA, "llama__attention__head_count_kv": (8, 4, 2)}))
    assert found.n_head_kv == 8


def test_a_window_pattern_in_the_header_wins() -> None:
    metadata = {**tiny_metadata(spec()), "gpt-oss.attention.sliding_window_pattern": 3}
    flags = {**metadata, "gpt-oss.attention.sliding_window_pattern": (True, False, True)}
    for keys, pattern in ((metadata, 3), (flags, 2)):
        found = spec_from_header(GgufHeader(version=3, metadata=keys, tensors=(), alignment=32, data_offset=0))
        assert found.swa_pattern == pattern


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"general__architecture": None}, "names no architecture"),
        ({"general__architecture": 7}, "names no architecture"),
        ({"general__architecture": "gptoss"}, "Ollama's own GPT OSS layout"),
        ({"llama__block_count": None}, r"does not say llama\.block_count"),
        ({"llama__block_count": MAX_LAYERS + 1}, "block_count is 513"),
        ({"llama__expert_count": 513}, "expert_count is 513"),
        ({"llama__expert_count": 4, "llama__expert_used_count": 5}, "5 of 4 experts"),
        ({"llama__expert_count": 4}, "0 of 4 experts"),
        ({"llama__block_count": 0}, "has no layers"),
        ({"llama__context_length": 0}, "or no context"),
        (
            {"llama__expert_count": 4, "llama__expert_used_count": 2, "llama__attention__head_count": 0},
            "heads of no size",
        ),
        ({"llama__block_count": "many"}, "block_count is 'many'"),
        ({"llama__context_length": -5}, "context_length is -5"),
        ({"llama__embedding_length": 2.5}, r"embedding_length is 2\.5"),
        ({"llama__attention__head_count": True}, "head_count is True"),
        ({"llama__attention__head_count": ArraySummary(type="int32", length=2000)}, "head_count is"),
        ({"llama__attention__head_count": ()}, "does not say"),
    ],
)
def test_headers_of_no_usable_model(change: dict[str, Any], message: str) -> None:
    metadata = {key: value for key, value in {**LLAMA, **change}.items() if value is not None}
    with pytest.raises(DamagedFileError, match=message) as caught:
        spec_from_header(header(**metadata), path="model.gguf")
    assert caught.value.path == "model.gguf"


def test_no_heads_divide_nothing() -> None:
    assert spec_from_header(header(**{**LLAMA, "llama__attention__head_count": 0})).n_embd_head_k == 0


def test_a_block_number_of_many_digits_belongs_to_no_block() -> None:
    # int() of a hundred thousand digits raises; the pattern stops at six.
    tensor = TensorInfo("blk." + "9" * 40 + ".x", (4,), "f32", 0, 16)
    assert weights_from_tensors([tensor], tiny_spec(), "header", ()).output_norm_bytes == 16
