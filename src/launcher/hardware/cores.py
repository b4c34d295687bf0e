"""Two kinds of cores on Windows: what GetLogicalProcessorInformationEx tells of each core, and how many are fast."""

from __future__ import annotations

import ctypes
import struct
import sys
from collections import Counter
from collections.abc import Iterator

_CORE = 0  # RelationProcessorCore of winnt.h
_HEAD = struct.Struct("<II")  # Relationship, Size
_CORE_BODY = struct.Struct("<BB")  # Flags, EfficiencyClass of PROCESSOR_RELATIONSHIP


def read_records() -> bytes:
    """The system's records, one after the other; nothing where it has none."""
    if sys.platform != "win32":
        return b""
    ask = ctypes.WinDLL("kernel32").GetLogicalProcessorInformationEx
    size = ctypes.c_uint32(0)
    ask(_CORE, None, ctypes.byref(size))  # says how many bytes there are
    buffer = ctypes.create_string_buffer(size.value)
    return buffer.raw[: size.value] if ask(_CORE, buffer, ctypes.byref(size)) else b""


def n_performance(records: bytes) -> int | None:
    """Cores of the highest efficiency class, which are the fast ones; None where all are alike, or nothing is told."""
    classes = Counter(_classes(records))
    return classes[max(classes)] if len(classes) > 1 else None


def _classes(records: bytes) -> Iterator[int]:
    position = 0
    while position + _HEAD.size + _CORE_BODY.size <= len(records):
        kind, size = _HEAD.unpack_from(records, position)
        if size < _HEAD.size:  # damaged: there would be no end
            return
        if kind == _CORE:
            _flags, efficiency = _CORE_BODY.unpack_from(records, position + _HEAD.size)
            yield efficiency
        position += size
