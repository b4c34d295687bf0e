import math
import struct
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.catalogue.ggml_types import TYPES_BY_NAME, tensor_bytes
from launcher.catalogue.gguf import (
    MAX_ALIGNMENT,
    MAX_KV,
    MAX_TENSORS,
    VALUE_TYPES,
    ArraySummary,
    GgufHeader,
    TensorInfo,
    check_complete,
    merge_parts,
    read_header,
)
from launcher.catalogue.recipes import Row, lay_out, model_tensors
from launcher.errors import DamagedFileError
from tests.catalogue.builders import (
    NATIVE,
    ShortReads,
    Typed,
    encode_string,
    encode_tensor,
    encode_value,
    header_bytes,
    tiny_file,
    tiny_header,
    tiny_metadata,
    tiny_spec,
    write_split,
)


def read(data: bytes, **options: Any) -> GgufHeader:
    options.setdefault("size_bytes", len(data))
    return read_header(BytesIO(data), **options)


def raw(*parts: bytes, version: int = 3, n_tensors: int = 0, n_kv: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_kv) + b"".join(parts)


# What comes out is what was written


INTEGERS = {
    "uint8": (0, 2**8 - 1),
    "int8": (-(2**7), 2**7 - 1),
    "uint16": (0, 2**16 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint32": (0, 2**32 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint64": (0, 2**64 - 1),
    "int64": (-(2**63), 2**63 - 1),
}


def scalars(kind: str) -> st.SearchStrategy[Any]:
    if kind in INTEGERS:
        return st.integers(*INTEGERS[kind])
    return {
        "float32": st.floats(width=32),
        "float64": st.floats(),
        "bool": st.booleans(),
        "string": st.text(max_size=30),
    }[kind]


KINDS = st.sampled_from([kind for kind in VALUE_TYPES if kind != "array"])
VALUES = KINDS.flatmap(
    lambda kind: st.builds(Typed, st.just(kind), st.one_of(scalars(kind), st.lists(scalars(kind), max_size=6)))
)
KEYS = st.text(min_size=1, max_size=20).filter(lambda key: key != "general.alignment")


@st.composite
def rows(draw: st.DrawFn) -> Row:
    kind = draw(st.sampled_from(sorted(TYPES_BY_NAME)))
    blocks = draw(st.integers(0, 3))
    shape = (blocks * TYPES_BY_NAME[kind].block_size, *draw(st.lists(st.integers(0, 5), max_size=3)))
    name = draw(st.text(st.characters(codec="ascii"), min_size=1, max_size=40))
    return name, shape, kind


def same(read_value: Any, written: Typed) -> bool:
    if written.type == "string" and isinstance(written.value, list):
        return bool(read_value == ArraySummary(type="string", length=len(written.value)))
    if isinstance(written.value, list):
        return len(read_value) == len(written.value) and all(map(same_scalar, read_value, written.value))
    return same_scalar(read_value, written.value)


def same_scalar(one: Any, other: Any) -> bool:
    return bool(one == other) or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


@given(
    metadata=st.dictionaries(KEYS, VALUES, max_size=8),
    table=st.lists(rows(), max_size=6, unique_by=lambda row: row[0]),
    version=st.sampled_from([2, 3]),
    step=st.integers(1, 64),
)
@settings(max_examples=80, deadline=None)
def test_a_written_header_reads_back(metadata: dict[str, Typed], table: list[Row], version: int, step: int) -> None:
    tensors = lay_out(table)
    data = header_bytes(metadata, tensors, version=version)
    for size_bytes in (len(data), None):
        header = read_header(ShortReads(data, step), size_bytes=size_bytes)
        assert header.version == version
        assert header.tensors == tensors
        assert header.n_kv == len(metadata)
        assert all(same(header.metadata[key], value) for key, value in metadata.items())
        assert header.data_offset == len(data)


def test_arrays_are_summed_up_unless_they_are_wanted() -> None:
    numbers = list(range(5000))
    metadata = {"words": ["a", "bc", ""], "many": Typed("int32", numbers), "few": Typed("int32", [1, 2])}
    data = header_bytes(metadata, ())
    assert read(data).metadata == {
        "words": ArraySummary(type="string", length=3),
        "many": ArraySummary(type="int32", length=5000),
        "few": (1, 2),
    }
    kept = read(data, keep_arrays=("words", "many")).metadata
    assert kept["words"] == ("a", "bc", "")
    assert kept["many"] == tuple(numbers)


def test_strings_longer_than_the_reading_window_are_walked_over() -> None:
    data = header_bytes({"long": ["x" * 3_000_000, "y", "z" * 1_500_000], "after": 7}, ())
    assert read(data).metadata["after"] == 7


def test_alignment_moves_the_data() -> None:
    tensors = (TensorInfo("a", (4,), "f32", 0, 16), TensorInfo("b", (4,), "f32", 128, 16))
    data = header_bytes({"general.alignment": 128}, tensors, alignment=128)
    header = read(data)
    assert header.alignment == 128
    assert header.data_offset % 128 == 0
    assert header.min_file_bytes == header.data_offset + 144


def test_text_that_is_not_utf8_is_kept_apart() -> None:
    data = raw(
        encode_string(b"\xff"),
        encode_value("one"),
        encode_string(b"\xfe"),
        encode_value(Typed("string", b"\xc3")),
        n_kv=2,
    )
    assert read(data).metadata == {"\\xff": "one", "\\xfe": "\\xc3"}


def test_a_vocabulary_of_real_size_is_read_in_a_fraction_of_a_second() -> None:
    words = [f"word{i:06d}" for i in range(201_088)]
    merges = [f"wo{i:06d} rd" for i in range(446_189)]
    data = header_bytes({"tokens": words, "merges": merges, "types": Typed("int32", [1] * 201_088)}, ())
    assert len(data) > 11_000_000
    fastest = math.inf
    for _ in range(3):
        start = time.process_time()
        header = read(data)
        fastest = min(fastest, time.process_time() - start)
    assert header.metadata["merges"] == ArraySummary(type="string", length=446_189)
    assert fastest < 1.0  # 0.15 s on an idle core; building the strings takes several times that


# What is refused


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a GGUF"),
        (b"GG", "not a GGUF"),
        (b'{"error": "x"}', "not a GGUF"),
        (b"GGUF\0\0\0\3" + bytes(16), "big-endian"),
        (raw(version=1), "version 1"),
        (raw(version=4), "version 4"),
        (raw(n_kv=MAX_KV + 1), "metadata keys"),
        (raw(n_tensors=MAX_TENSORS + 1), "tensors"),
        (raw(n_kv=60_000), "truncated"),
        (raw(n_tensors=2**63), "tensors"),
        (raw(struct.pack("<Q", 2**62), n_kv=1, version=3) + bytes(64), "metadata key"),
        (raw(encode_string(""), encode_value(1), n_kv=1), "empty metadata key"),
        (raw(encode_string("k"), encode_value(1), encode_string("k"), encode_value(1), n_kv=2), "twice"),
        (raw(encode_string("k"), struct.pack("<II", 13, 0), n_kv=1), "unknown type 13"),
        (raw(encode_string("k"), struct.pack("<IIQ", 9, 9, 1), bytes(32), n_kv=1), "unknown type 9"),
        (raw(encode_string("k"), struct.pack("<IIQ", 9, 8, 2**40), n_kv=1), "items of k"),
        (raw(encode_string("k"), struct.pack("<IIQ", 9, 0, 1000), n_kv=1), "truncated"),
        (raw(encode_string("k"), struct.pack("<IQ", 8, 2**31), n_kv=1), "the limit is"),
        (raw(encode_string("general.alignment"), encode_value(24), n_kv=1), "power of two"),
        (raw(encode_string("general.alignment"), encode_value(0), n_kv=1), "power of two"),
        (raw(encode_string("general.alignment"), encode_value(MAX_ALIGNMENT * 2), n_kv=1), "power of two"),
        (raw(encode_string("general.alignment"), encode_value("32"), n_kv=1), "uint32"),
    ],
)
def test_refused_headers(data: bytes, message: str) -> None:
    with pytest.raises(DamagedFileError, match=message):
        read(data)


def row(name: str, shape: tuple[int, ...], type_id: int, offset: int) -> bytes:
    packed = struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, type_id, offset)
    return encode_string(name) + packed


F32 = row("a", (4,), 0, 0)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([row("a", (4,), 99, 0)], "unknown ggml type 99"),
        ([row("a", (4,), 31, 0)], "q4_0_4_4, which llama.cpp no longer loads"),
        ([row("a", (33,), 8, 0)], "blocks of q8_0"),
        ([row("a", (), 8, 0)], "blocks of q8_0"),
        ([row("a", (1, 1, 1, 1, 1), 0, 0)], "5 dimensions"),
        ([row("a", (2**62, 4), 0, 0)], "impossible shape"),
        ([row("a", (2**64 - 1,), 24, 0)], "impossible shape"),
        ([row("a", (2**62,), 0, 0)], "impossible shape"),
        ([row("n" * 64, (4,), 0, 0)], "a tensor name of 64 bytes"),
        ([F32, row("a", (4,), 0, 32)], "'a' twice"),
        ([F32, row("b", (4,), 0, 0)], "offset 0, expected at 32"),
        ([F32, row("b", (4,), 0, 2**60)], "expected at 32"),
        ([row("a", (4,), 0, 8)], "expected at 0"),
    ],
)
def test_refused_tensor_tables(tensors: list[bytes], message: str) -> None:
    with pytest.raises(DamagedFileError, match=message):
        read(raw(*tensors, bytes(64), n_tensors=len(tensors)))


def test_a_count_is_bounded_before_anything_is_made_of_it_when_the_size_is_unknown() -> None:
    endless = raw(encode_string("k"), struct.pack("<IIQ", 9, 8, 2**24), n_kv=1)

    class Endless(BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size) or struct.pack("<Q", 2**40) * 16
            self.read_bytes += len(data)
            return data

    stream = Endless(endless)
    with pytest.raises(DamagedFileError, match="beyond the"):
        read_header(stream, size_bytes=None)
    assert stream.read_bytes < 4096


def test_a_string_that_is_longer_than_the_file_is_a_truncation() -> None:
    data = raw(encode_string("k"), struct.pack("<IQ", 8, 15_000_000), bytes(40), n_kv=1)
    with pytest.raises(DamagedFileError, match=f"truncated: {len(data)} bytes, its header says more"):
        read(data)


# Whatever the bytes, a header or a DamagedFileError


SMALL = tiny_header(n_layer=1, n_vocab=32)


def survives(data: bytes, size_bytes: int | None) -> GgufHeader | None:
    try:
        return read_header(BytesIO(data), size_bytes=size_bytes)
    except DamagedFileError as error:
        error.message.encode("utf-8")
        return None


@given(data=st.binary(max_size=300), size_known=st.booleans(), magic=st.booleans())
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes(data: bytes, size_known: bool, magic: bool) -> None:
    whole = b"GGUF\3\0\0\0" + data if magic else data
    survives(whole, len(whole) if size_known else None)


def test_every_truncation_is_told_apart_from_a_whole_header() -> None:
    whole = read(SMALL)
    table_ends = len(SMALL.rstrip(b"\0"))
    for length in range(len(SMALL)):
        header = survives(SMALL[:length], length)
        if header is not None:  # only padding, or zeros of the last offset, is missing: nothing the reader needs
            assert length >= table_ends - 8
            assert header.tensors == whole.tensors
            with pytest.raises(DamagedFileError, match=f"truncated: {length:,} bytes, its header says"):
                check_complete(header, length)
        elif length >= 4:
            with pytest.raises(DamagedFileError, match="truncated"):
                read(SMALL[:length])


@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=400, deadline=None)
def test_flipped_bytes(flips: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL)
    for position, value in flips:
        data[position] = value
    survives(bytes(data), len(data))
    survives(bytes(data), None)


@given(st.integers(0, len(SMALL) - 9), st.sampled_from([2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_huge_numbers_anywhere_take_no_memory(position: int, number: int) -> None:
    data = SMALL[:position] + struct.pack("<Q", number) + SMALL[position + 8 :]
    survives(data, len(data))
    survives(data, None)


# Whole files and parts


def test_a_whole_file_is_complete_and_one_byte_less_is_not() -> None:
    data = tiny_file()
    header = read(data)
    check_complete(header, len(data))
    with pytest.raises(DamagedFileError, match=f"truncated: {len(data) - 1:,} bytes, its header says {len(data):,}"):
        check_complete(header, len(data) - 1, path="x.gguf")


def parts_of(tmp_path: Path, n_parts: int = 3, *, metadata_first: bool = False) -> list[GgufHeader]:
    model = tiny_spec()
    paths = write_split(
        tmp_path / "tiny.gguf",
        tiny_metadata(model),
        model_tensors(model, NATIVE),
        n_parts=n_parts,
        metadata_first=metadata_first,
    )
    return [read(path.read_bytes()) for path in paths]


@pytest.mark.parametrize("metadata_first", [False, True])
def test_parts_are_merged_in_order(tmp_path: Path, metadata_first: bool) -> None:
    headers = parts_of(tmp_path, metadata_first=metadata_first)
    merged = merge_parts(headers)
    whole = model_tensors(tiny_spec(), NATIVE)
    assert [(t.name, t.shape, t.type) for t in merged.tensors] == [(t.name, t.shape, t.type) for t in whole]
    assert merged.metadata["general.architecture"] == "gpt-oss"
    assert (len(headers[0].tensors) == 0) == metadata_first


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    one, two, three = parts_of(tmp_path)
    with pytest.raises(DamagedFileError, match="3 parts, 2 are here"):
        merge_parts([one, two])
    with pytest.raises(DamagedFileError, match="part 2 of 3 does not belong"):
        merge_parts([one, three, two])
    with pytest.raises(DamagedFileError, match="does not belong"):
        merge_parts([one, two, read(tiny_header())])


def test_parts_with_a_tensor_twice_or_too_few_are_refused() -> None:
    split = {"split.count": Typed("uint16", 2), "split.tensors.count": Typed("int32", 2)}
    row = TensorInfo("a", (4,), "f32", 0, 16)
    first = read(header_bytes({**split, "split.no": Typed("uint16", 0)}, (row,)))
    twice = read(header_bytes({**split, "split.no": Typed("uint16", 1)}, (row,)))
    empty = read(header_bytes({**split, "split.no": Typed("uint16", 1)}, ()))
    with pytest.raises(DamagedFileError, match="same tensor"):
        merge_parts([first, twice])
    with pytest.raises(DamagedFileError, match="hold 1 tensors, their header says 2"):
        merge_parts([first, empty])


def test_a_split_count_of_another_type_is_refused() -> None:
    with pytest.raises(DamagedFileError, match=r"split\.count is not a number"):
        merge_parts([read(header_bytes({"split.count": "two"}, ()))])


def test_the_writer_of_the_table_agrees_with_the_sizes() -> None:
    for name in TYPES_BY_NAME:
        tensor = TensorInfo("t", (256, 3), name, 0, tensor_bytes(name, (256, 3)))
        assert read(raw(encode_tensor(tensor), bytes(64), n_tensors=1)).tensors == (tensor,)
