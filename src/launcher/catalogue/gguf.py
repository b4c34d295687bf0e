"""Read the header of a GGUF (version 2 or 3) from any binary stream, trusting nothing in it.

The header of a GPT OSS file is 13 MB: 201,088 tokens and 446,189 merges, which nobody here needs. Big arrays are walked
over, not built, so that the tensor table behind them is reached in a fraction of a second and without memory.

Every count and length is held against what is left of the file, and against a fixed limit where the size of the file is
not known, before anything is allocated for it. Rules are those of `gguf_init_from_reader` in ggml/src/gguf.cpp, so that
a header accepted here is one that llama.cpp accepts.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from launcher.catalogue.ggml_types import REMOVED_TYPES, TYPES_BY_ID, GgmlType, n_elements
from launcher.errors import DamagedFileError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32

MAX_HEADER_BYTES = 256 * 1024**2
"""Twenty times the largest header known; what a stream of unknown size may make us read."""
MAX_KV = 65_536
"""Real files have 30 to 60 keys."""
MAX_TENSORS = 262_144
"""Real files have 300 to 2,000."""
MAX_KEY_BYTES = 65_535
MAX_STRING_BYTES = 16 * 1024**2
"""One metadata string. The longest are chat templates and licences, of tens of kilobytes."""
MAX_NAME_BYTES = 63
"""GGML_MAX_NAME less its terminator."""
MAX_DIMS = 4
MAX_ALIGNMENT = 1024**2
SMALL_ARRAY = 1024
"""Arrays of up to so many numbers (one per layer, say) are kept as tuples."""
_CHUNK_BYTES = 1024**2

_STRING = 8
_ARRAY = 9
_UINT32 = 4
_SCALARS: dict[int, struct.Struct] = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
VALUE_TYPES = (
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "float32",
    "bool",
    "string",
    "array",
    "uint64",
    "int64",
    "float64",
)
"""Names of GGUF's metadata types, by number."""

_MIN_KV_BYTES = 8 + 1 + 4 + 1
_MIN_TENSOR_BYTES = 8 + 4 + 4 + 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ArraySummary:
    """A metadata array that was walked over."""

    type: str
    """Of its items, in GGUF's names: `string`, `int32`, ..."""
    length: int


Scalar = bool | int | float | str
MetaValue = Scalar | tuple[Scalar, ...] | ArraySummary


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One row of the tensor table."""

    name: str
    shape: tuple[int, ...]
    """In ggml's ne order: row length first."""
    type: str
    """As ggml spells it: `mxfp4`, `q8_0`, `q4_K`."""
    offset: int
    """From the start of the data section of its own file."""
    n_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufHeader:
    """Everything that a GGUF says about itself before its data."""

    version: int
    metadata: Mapping[str, MetaValue]
    tensors: tuple[TensorInfo, ...]
    alignment: int
    data_offset: int
    """Where the data section starts, which is the size of the header."""

    @property
    def n_kv(self) -> int:
        """Metadata keys in the file."""
        return len(self.metadata)

    @property
    def min_file_bytes(self) -> int:
        """Bytes that a file must have to hold every tensor (llama.cpp asks for no padding after the last)."""
        return self.data_offset + max((tensor.offset + tensor.n_bytes for tensor in self.tensors), default=0)


def read_header(
    stream: BinaryIO, *, size_bytes: int | None, keep_arrays: Collection[str] = (), path: str | None = None
) -> GgufHeader:
    """Read the header of a GGUF from where `stream` stands; reads forward only, and no further than a chunk too far.

    Args:
        stream: anything with `read`; short reads are fine.
        size_bytes: of the whole file, where it is known: bounds every count and length in the header.
        keep_arrays: keys whose arrays are wanted in full, as tuples (`tokenizer.ggml.tokens`).
        path: named by errors.

    Raises:
        DamagedFileError: not a GGUF, of another byte order or version, truncated, or with a value out of bounds.
    """
    source = _Source(stream, size_bytes, path)
    version = _read_version(source)
    n_tensors = source.u64("the number of tensors")
    n_kv = source.u64("the number of metadata keys")
    source.check_count(n_kv, MAX_KV, _MIN_KV_BYTES, "metadata keys")
    source.check_count(n_tensors, MAX_TENSORS, _MIN_TENSOR_BYTES, "tensors")
    metadata: dict[str, MetaValue] = {}
    alignment = DEFAULT_ALIGNMENT
    for _ in range(n_kv):
        key = source.string("a metadata key", MAX_KEY_BYTES)
        if not key:
            raise source.damaged("an empty metadata key")
        if key in metadata:
            raise source.damaged(f"metadata key {key!r} twice")
        value_type = source.u32(key)
        value = _read_value(source, key, value_type, keep=key in keep_arrays)
        metadata[key] = value
        if key == "general.alignment":
            alignment = _check_alignment(source, value_type, value)
    tensors = _read_tensors(source, n_tensors, alignment)
    data_offset = _pad(source.tell(), alignment) if tensors else source.tell()
    return GgufHeader(version=version, metadata=metadata, tensors=tensors, alignment=alignment, data_offset=data_offset)


def check_complete(header: GgufHeader, file_bytes: int, *, path: str | None = None) -> None:
    """Raise DamagedFileError unless all tensor data lies inside a file of `file_bytes`, as in a download cut short."""
    if file_bytes < header.min_file_bytes:
        raise DamagedFileError(
            f"truncated: {file_bytes:,} bytes, its header says {header.min_file_bytes:,}",
            path=path,
            hint="gpt-oss pull",
        )


def merge_parts(headers: Sequence[GgufHeader], *, path: str | None = None) -> GgufHeader:
    """One header with the tensors of all parts of a split model, in order; a single part comes back as it is.

    Metadata is the first part's. Tensor offsets stay relative to their own part.

    Raises:
        DamagedFileError: parts in the wrong order, of another split, missing, or with a tensor twice.
    """
    first = headers[0]
    count = _split_value(first, "split.count", 1, path)
    if count != len(headers):
        raise DamagedFileError(f"the model has {count} parts, {len(headers)} are here", path=path)
    if len(headers) == 1:
        return first
    tensors: list[TensorInfo] = []
    for index, header in enumerate(headers):
        if _split_value(header, "split.count", 1, path) != count or _split_value(header, "split.no", 0, path) != index:
            raise DamagedFileError(f"part {index + 1} of {count} does not belong to this model", path=path)
        tensors.extend(header.tensors)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise DamagedFileError("two parts hold the same tensor", path=path)
    total = _split_value(first, "split.tensors.count", len(tensors), path)
    if total != len(tensors):
        raise DamagedFileError(f"the parts hold {len(tensors)} tensors, their header says {total}", path=path)
    return GgufHeader(
        version=first.version,
        metadata=first.metadata,
        tensors=tuple(tensors),
        alignment=first.alignment,
        data_offset=first.data_offset,
    )


def _split_value(header: GgufHeader, key: str, default: int, path: str | None) -> int:
    value = header.metadata.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DamagedFileError(f"{key} is not a number", path=path)
    return value


def _pad(n: int, alignment: int) -> int:
    return (n + alignment - 1) // alignment * alignment


class _Source:
    """Reads forward through a window of the stream. `size` is the file's, `_base + _pos` where we are in it."""

    def __init__(self, stream: BinaryIO, size: int | None, path: str | None) -> None:
        self._stream = stream
        self._size = size
        self._path = path
        self._window = b""
        self._pos = 0
        self._base = 0

    def tell(self) -> int:
        return self._base + self._pos

    def remaining(self) -> int:
        """Bytes that a well-formed header can still have."""
        end = MAX_HEADER_BYTES if self._size is None else min(self._size, MAX_HEADER_BYTES)
        return end - self.tell()

    def damaged(self, what: str) -> DamagedFileError:
        return DamagedFileError(f"damaged GGUF header: {what}", path=self._path)

    def ended(self, what: str) -> DamagedFileError:
        if self._size is None or self._size > MAX_HEADER_BYTES:
            return self.damaged(f"{what}: beyond the {MAX_HEADER_BYTES:,} bytes that a header may have")
        return DamagedFileError(f"truncated: {self._size:,} bytes, its header says more ({what})", path=self._path)

    def check_count(self, n: int, limit: int, item_bytes: int, what: str) -> None:
        """Refuse a count that exceeds its limit or that the rest of the file cannot hold."""
        if n > limit:
            raise self.damaged(f"{n:,} {what}, the limit is {limit:,}")
        if n * item_bytes > self.remaining():
            raise self.ended(f"{n:,} {what}")

    def take(self, n: int, what: str) -> bytes:
        """The next `n` bytes; the caller has bounded `n`."""
        if n > self.remaining():
            raise self.ended(what)
        end = self._pos + n
        if end > len(self._window):
            self._fill(n, what)
            end = n
        data = self._window[self._pos : end]
        self._pos = end
        return data

    def skip(self, n: int, what: str) -> None:
        if n > self.remaining():
            raise self.ended(what)
        while n:
            step = min(n, _CHUNK_BYTES)
            self.take(step, what)
            n -= step

    def u32(self, what: str) -> int:
        (value,) = _U32.unpack(self.take(4, what))
        return int(value)

    def u64(self, what: str) -> int:
        (value,) = _U64.unpack(self.take(8, what))
        return int(value)

    def string(self, what: str, limit: int = MAX_STRING_BYTES) -> str:
        length = self.u64(what)
        if length > limit:
            raise self.damaged(f"{what} of {length:,} bytes, the limit is {limit:,}")
        # Distinct bytes stay distinct strings, and nothing that is printed later can fail to encode.
        return self.take(length, what).decode("utf-8", errors="backslashreplace")

    def skip_strings(self, n: int, what: str) -> None:
        """Walk over `n` strings. The inner loop is what reading a header costs: 0.65 million turns for GPT OSS."""
        unpack = _U64.unpack_from
        left = n
        while left:
            window, pos = self._window, self._pos
            last = len(window) - 8
            end = len(window)
            for _ in range(left):
                if pos > last:
                    break
                after = pos + 8 + unpack(window, pos)[0]
                if after > end:
                    break
                pos = after
                left -= 1
            self._pos = pos
            if left:
                self.skip(self.u64(what), what)
                left -= 1

    def _fill(self, n: int, what: str) -> None:
        """Drop what was read from the window and read on until it holds `n` bytes."""
        parts = [self._window[self._pos :]]
        have = len(parts[0])
        self._base += self._pos
        self._pos = 0
        while have < n:
            data = self._stream.read(max(_CHUNK_BYTES, n - have))
            if not data:
                self._window = b"".join(parts)
                raise DamagedFileError(
                    f"truncated: {self._base + have:,} bytes, its header says more ({what})", path=self._path
                )
            parts.append(data)
            have += len(data)
        self._window = b"".join(parts)


def _read_version(source: _Source) -> int:
    try:
        magic = source.take(4, "the file's kind")
    except DamagedFileError as error:
        raise DamagedFileError("not a GGUF: shorter than four bytes", path=error.path) from None
    if magic != MAGIC:
        raise DamagedFileError(f"not a GGUF: it starts with {magic!r}", path=source.damaged("").path)
    raw = source.take(4, "the version")
    version = int.from_bytes(raw, "little")
    if version not in VERSIONS:
        if int.from_bytes(raw, "big") in VERSIONS:
            raise source.damaged("big-endian, which llama.cpp does not read here")
        raise source.damaged(f"GGUF version {version}, supported are 2 and 3")
    return version


def _read_value(source: _Source, key: str, value_type: int, *, keep: bool) -> MetaValue:
    if value_type == _STRING:
        return source.string(key)
    if value_type == _ARRAY:
        return _read_array(source, key, keep=keep)
    scalar = _SCALARS.get(value_type)
    if scalar is None:
        raise source.damaged(f"{key} is of unknown type {value_type}")
    value: Scalar = scalar.unpack(source.take(scalar.size, key))[0]
    return value


def _read_array(source: _Source, key: str, *, keep: bool) -> MetaValue:
    item_type = source.u32(key)
    length = source.u64(key)
    scalar = _SCALARS.get(item_type)
    if scalar is None and item_type != _STRING:
        # Arrays in arrays are in the format's description, but llama.cpp refuses them too.
        raise source.damaged(f"{key} is an array of unknown type {item_type}")
    item_bytes = 8 if scalar is None else scalar.size
    source.check_count(length, MAX_HEADER_BYTES, item_bytes, f"items of {key}")
    if scalar is None:
        if keep:
            return tuple(source.string(key) for _ in range(length))
        source.skip_strings(length, key)
    elif keep or length <= SMALL_ARRAY:
        data = source.take(length * item_bytes, key)
        return tuple(item[0] for item in scalar.iter_unpack(data))
    else:
        source.skip(length * item_bytes, key)
    return ArraySummary(type=VALUE_TYPES[item_type], length=length)


def _check_alignment(source: _Source, value_type: int, value: MetaValue) -> int:
    if value_type != _UINT32 or not isinstance(value, int):
        raise source.damaged("general.alignment is not a uint32")
    if not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
        raise source.damaged(f"general.alignment {value:,} is not a power of two up to {MAX_ALIGNMENT:,}")
    return value


def _read_tensors(source: _Source, n_tensors: int, alignment: int) -> tuple[TensorInfo, ...]:
    tensors: list[TensorInfo] = []
    names: set[str] = set()
    expected_offset = 0
    for _ in range(n_tensors):
        name = source.string("a tensor name", MAX_NAME_BYTES)
        if name in names:
            raise source.damaged(f"tensor {name!r} twice")
        names.add(name)
        n_dims = source.u32(name)
        if n_dims > MAX_DIMS:
            raise source.damaged(f"tensor {name!r} has {n_dims:,} dimensions, the limit is {MAX_DIMS}")
        shape = tuple(source.u64(name) for _ in range(n_dims))
        ggml_type = _tensor_type(source, name, source.u32(name))
        n_bytes = _tensor_bytes(source, name, shape, ggml_type)
        offset = source.u64(name)
        if offset != expected_offset:
            # llama.cpp wants tensors back to back, which also rules out overlaps.
            raise source.damaged(f"tensor {name!r} at offset {offset:,}, expected at {expected_offset:,}")
        expected_offset = _pad(offset + n_bytes, alignment)
        tensors.append(TensorInfo(name, shape, ggml_type.name, offset, n_bytes))
    return tuple(tensors)


def _tensor_type(source: _Source, name: str, type_id: int) -> GgmlType:
    ggml_type = TYPES_BY_ID.get(type_id)
    if ggml_type is None:
        removed = REMOVED_TYPES.get(type_id)
        what = f"type {removed}, which llama.cpp no longer loads" if removed else f"unknown ggml type {type_id}"
        raise source.damaged(f"tensor {name!r} is of {what}")
    return ggml_type


def _tensor_bytes(source: _Source, name: str, shape: tuple[int, ...], ggml_type: GgmlType) -> int:
    if max(shape, default=0) >= 2**63 or n_elements(shape) >= 2**63:
        raise source.damaged(f"tensor {name!r} has an impossible shape {shape}")
    if (shape[0] if shape else 1) % ggml_type.block_size:
        raise source.damaged(f"tensor {name!r} of shape {shape} does not divide into blocks of {ggml_type.name}")
    n_bytes = n_elements(shape) // ggml_type.block_size * ggml_type.type_size
    if n_bytes >= 2**63:
        raise source.damaged(f"tensor {name!r} has an impossible shape {shape}")
    return n_bytes
