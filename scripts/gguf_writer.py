"""Write GGUF headers and whole files: for tests, and for full-size stand-ins of models that are too large to keep."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.catalogue.ggml_types import TYPES_BY_NAME
from launcher.catalogue.gguf import DEFAULT_ALIGNMENT, MAGIC, VALUE_TYPES, TensorInfo
from launcher.catalogue.recipes import lay_out

_FORMATS = {
    "uint8": "B",
    "int8": "b",
    "uint16": "H",
    "int16": "h",
    "uint32": "I",
    "int32": "i",
    "float32": "f",
    "bool": "?",
    "uint64": "Q",
    "int64": "q",
    "float64": "d",
}


@dataclass(frozen=True, slots=True)
class Typed:
    """A metadata value with its GGUF type spelled out; arrays are sequences of `type`."""

    type: str
    value: Any


def encode_value(value: Any) -> bytes:
    """Type number and bytes of a metadata value. Python types map to bool, uint32, float32 and string."""
    if not isinstance(value, Typed):
        value = Typed(_type_of(value[0] if isinstance(value, list | tuple) and value else value), value)
    number = VALUE_TYPES.index(value.type)
    if isinstance(value.value, list | tuple):
        items = value.value
        head = struct.pack("<IIQ", VALUE_TYPES.index("array"), number, len(items))
        if value.type == "string":
            return head + b"".join(encode_string(item) for item in items)
        return head + struct.pack(f"<{len(items)}{_FORMATS[value.type]}", *items)
    if value.type == "string":
        return struct.pack("<I", number) + encode_string(value.value)
    return struct.pack(f"<I{_FORMATS[value.type]}", number, value.value)


def encode_string(text: str | bytes) -> bytes:
    """A length and the UTF-8 bytes."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def encode_tensor(tensor: TensorInfo) -> bytes:
    """One row of the tensor table."""
    shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return encode_string(tensor.name) + shape + struct.pack("<IQ", TYPES_BY_NAME[tensor.type].id, tensor.offset)


def header_bytes(
    metadata: Mapping[str, Any],
    tensors: Sequence[TensorInfo],
    *,
    version: int = 3,
    alignment: int = DEFAULT_ALIGNMENT,
) -> bytes:
    """A whole header, padded to where the data starts."""
    head = MAGIC + struct.pack("<IQQ", version, len(tensors), len(metadata))
    body = b"".join(encode_string(key) + encode_value(value) for key, value in metadata.items())
    table = b"".join(map(encode_tensor, tensors))
    header = head + body + table
    return header + b"\0" * (-len(header) % alignment) if tensors else header


FillTensor = Callable[[TensorInfo], Iterable[bytes | memoryview]]
"""Gives a tensor's bytes in chunks; together they are as long as the tensor."""


def write_gguf(
    path: Path, metadata: Mapping[str, Any], tensors: Sequence[TensorInfo], fill: FillTensor | None = None
) -> None:
    """Write one file. Without `fill` its data are holes: a file of full length that takes no room on the disk."""
    header = header_bytes(metadata, tensors)
    last = tensors[-1] if tensors else None
    with path.open("wb") as stream:
        stream.write(header)
        if fill:
            for tensor in tensors:
                stream.seek(len(header) + tensor.offset)
                for chunk in fill(tensor):
                    stream.write(chunk)
        # llama.cpp pads the last tensor as well.
        data_bytes = last.offset + last.n_bytes if last else 0
        stream.truncate(len(header) + data_bytes + -data_bytes % DEFAULT_ALIGNMENT)


def write_split(
    path: Path,
    metadata: Mapping[str, Any],
    tensors: Sequence[TensorInfo],
    fill: FillTensor | None = None,
    *,
    n_parts: int,
    metadata_first: bool = False,
) -> list[Path]:
    """Write a model in parts named as llama.cpp wants them; with `metadata_first` the first part holds no tensors."""
    n_with_data = n_parts - 1 if metadata_first else n_parts
    per_part = -(-len(tensors) // n_with_data)
    groups = [tensors[index * per_part : (index + 1) * per_part] for index in range(n_with_data)]
    groups = [[], *groups] if metadata_first else groups
    paths = []
    for index, group in enumerate(groups):
        part = path.with_name(f"{path.stem}-{index + 1:05d}-of-{n_parts:05d}.gguf")
        split = {
            "split.no": Typed("uint16", index),
            "split.count": Typed("uint16", n_parts),
            "split.tensors.count": Typed("int32", len(tensors)),
        }
        own = lay_out((tensor.name, tensor.shape, tensor.type) for tensor in group)
        write_gguf(part, {**metadata, **split} if index == 0 else split, own, fill)
        paths.append(part)
    return paths


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "uint32"
    return "float32" if isinstance(value, float) else "string"
