import math
import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.catalogue.ggml_types import TYPES_BY_NAME, tensor_bytes
from launcher.catalogue.gguf import ArraySummary, TensorInfo, check_complete, read_header
from launcher.catalogue.headers import file_from_path
from launcher.catalogue.recipes import model_tensors
from launcher.store.disk_facts import taken_bytes
from tests.catalogue.builders import (
    NATIVE,
    RandomFill,
    gguf_vocab,
    header_bytes,
    make_gguf,
    shipped,
    spec,
    tiny_metadata,
    tiny_spec,
    write_gguf,
)


@pytest.fixture(scope="module")
def native_20b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("full-size") / "gpt-oss-20b-MXFP4.gguf"
    if sys.platform == "win32":
        pytest.skip("holes take room on Windows")
    make_gguf.main([str(path)])
    return path


def test_a_full_size_file_is_as_long_as_the_real_one_and_takes_no_room(native_20b: Path) -> None:
    listed = next(file for file in shipped().files if file.repo.startswith("ggml-org") and "20b" in file.repo)
    assert native_20b.stat().st_size == listed.total_bytes
    assert taken_bytes(native_20b.stat()) < 32 * 1024**2


def test_it_reads_as_the_release(native_20b: Path) -> None:
    known = file_from_path(native_20b, isa=("AVX2",))
    assert known.spec == spec("gpt-oss-20b")
    assert known.weights.total_bytes == 12_096_558_336
    assert known.file.quant == "MXFP4"
    with native_20b.open("rb") as stream:
        header = read_header(stream, size_bytes=native_20b.stat().st_size)
    assert header.data_offset == 13_008_288
    assert len(header.tensors) == 459
    assert header.metadata["tokenizer.ggml.tokens"] == ArraySummary(type="string", length=201_088)
    assert header.metadata["tokenizer.ggml.merges"] == ArraySummary(type="string", length=446_189)
    assert "<|start|>" in str(header.metadata["tokenizer.chat_template"])


def test_the_120b_in_parts_with_metadata_first(tmp_path: Path) -> None:
    make_gguf.main([str(tmp_path / "x.gguf"), "--model", "120b", "--recipe", "F16", "--split", "3", "--metadata-first"])
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == [f"x-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert paths[0].stat().st_size < 14_000_000
    known = file_from_path(paths[0], isa=())
    assert known.spec == spec("gpt-oss-120b")
    assert known.weights.total_bytes == 65_355_994_368
    assert known.weights.dense_bpw == 16


def test_the_vocabulary_is_one_that_byte_level_bpe_can_use() -> None:
    tokens = gguf_vocab.tokens()
    known = set(tokens)
    assert len(tokens) == len(known) == 201_088
    assert set(tokens[:256]) == set(gguf_vocab.byte_symbols().values())
    assert tokens[200_006] == "<|start|>"
    assert all(tokens[token] == text for token, text in gguf_vocab.CONTROL_TOKENS.items())
    merges = gguf_vocab.merges()
    assert len(merges) == 446_189
    pairs = [tuple(merge.split(" ")) for merge in merges]
    assert all(left in known and right in known and left + right in known for left, right in pairs)
    types = gguf_vocab.token_types()
    assert (types[199_997], types[199_998], len(types)) == (1, 3, 201_088)


def scale_values(name: str, data: bytes) -> list[float]:
    """The fp16 scales of all blocks."""
    offsets = {"q8_0": (0,), "q5_1": (0, 2), "q6_K": (208,), "q2_K": (80, 82), "q4_K": (0, 2), "q3_K": (108,)}[name]
    size = TYPES_BY_NAME[name].type_size
    return [
        struct.unpack_from("<e", data, block + offset)[0] for block in range(0, len(data), size) for offset in offsets
    ]


def filled(name: str, shape: tuple[int, ...], tensor: str = "x.weight") -> bytes:
    row = TensorInfo(tensor, shape, name, 0, tensor_bytes(name, shape))
    data = b"".join(RandomFill(tile_bytes=1_000_000)(row))
    assert len(data) == row.n_bytes
    return data


@pytest.mark.parametrize("name", ["q8_0", "q5_1", "q6_K", "q2_K", "q4_K", "q3_K"])
def test_random_blocks_have_sane_scales(name: str) -> None:
    scales = scale_values(name, filled(name, (256, 64)))
    assert all(0 < scale < 0.01 for scale in scales)


def test_random_experts_have_sane_exponents() -> None:
    data = filled("mxfp4", (256, 64))
    assert set(data[::17]) <= set(range(118, 122))
    assert len(set(data)) > 200


def test_random_floats_are_finite_and_norms_are_near_one() -> None:
    norms = struct.unpack("<256f", filled("f32", (256,), "blk.0.attn_norm.weight"))
    biases = struct.unpack("<256f", filled("f32", (256,), "blk.0.attn_q.bias"))
    halves = struct.unpack("<256e", filled("f16", (256,)))
    assert all(0.8 < value < 1.2 for value in norms)
    assert all(abs(value) < 0.2 for value in (*biases, *halves))
    wide = struct.unpack("<256H", filled("bf16", (256,)))
    assert all(math.isfinite(struct.unpack("<f", struct.pack("<I", value << 16))[0]) for value in wide)


def test_every_recipe_can_be_filled(tmp_path: Path) -> None:
    fill = RandomFill(tile_bytes=1_000_000)
    model = tiny_spec(n_embd=256, n_head=8, n_layer=2)
    for name, recipe in shipped().recipes.items():
        tensors = model_tensors(model, replace(recipe.for_model("gpt-oss-20b"), attention_bytes=None))
        path = tmp_path / f"{name}.gguf"
        write_gguf(path, tiny_metadata(model), tensors, fill)
        with path.open("rb") as stream:
            header = read_header(stream, size_bytes=path.stat().st_size)
        check_complete(header, path.stat().st_size)
        assert header.tensors == tensors


def test_a_type_without_a_recipe_is_refused() -> None:
    with pytest.raises(ValueError, match="no random blocks of iq1_s"):
        RandomFill(tile_bytes=1_000_000)(TensorInfo("x", (256, 2), "iq1_s", 0, 100))


def test_padding_hits_the_wanted_size_or_leaves_the_header_alone() -> None:
    tensors = model_tensors(tiny_spec(), NATIVE)
    metadata = tiny_metadata(tiny_spec())
    now = len(header_bytes(metadata, tensors))
    assert len(header_bytes(make_gguf.padded(metadata, now, now + 4096), tensors)) == now + 4096
    assert make_gguf.padded(metadata, now, now) == metadata


def test_the_template_falls_back_to_a_plain_one(tmp_path: Path) -> None:
    template = make_gguf.demo_template(tmp_path / "none.gguf")
    assert "<|start|>assistant" in template
    path = tmp_path / "demo.gguf"
    write_gguf(path, {"tokenizer.chat_template": "{{ x }}"}, ())
    assert make_gguf.demo_template(path) == "{{ x }}"
