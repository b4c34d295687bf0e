"""Frozen records to JSON values and back, for every file and every `--json` that carries one.

The type annotations of a record are its schema: nothing is written twice. What is None is written as null, never left
out; what is read is checked against the annotations, so that a damaged file is refused by name of the field and not by
an AttributeError later on.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


class RecordError(ValueError):
    """A JSON value that is not the record it should be. The message starts with the field: `cpu.n_logical: ...`."""


def to_jsonable(value: Any) -> Any:
    """Turn records, tuples, mappings, paths and enums into what `json.dumps` writes; None stays null.

    Raises:
        TypeError: something that has no JSON form (a set, bytes, an object).
        ValueError: a float that JSON cannot hold (infinity, not a number).
    """
    if isinstance(value, Enum):
        return to_jsonable(value.value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no JSON form")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, tuple | list):
        return [to_jsonable(item) for item in value]
    if isinstance(value, Mapping):
        items = value.items()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}.items()
    else:
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return {str(key): to_jsonable(item) for key, item in items}


def from_jsonable(record_type: type[Record], data: Any) -> Record:
    """Build a record from what `to_jsonable` made of it, read back from JSON.

    A field with a default may be missing (it was added after the file was written); a field that the record does not
    have is refused, as is every value of another type. Annotations are resolved at run time: a record's module has to
    import the names in them outside `TYPE_CHECKING`.

    Raises:
        RecordError: `data` is not such a record; the message starts with the field.
    """
    record: Record = _read(record_type, data, "")
    return record


@cache
def _hints(record_type: type) -> dict[str, Any]:
    return get_type_hints(record_type)


def _read(expected: Any, data: Any, where: str) -> Any:
    """Check `data` against one annotation and convert it. `where` is the dotted path of the field."""
    reader = _READERS.get(get_origin(expected) or expected)
    if reader is None:
        reader = _read_record if dataclasses.is_dataclass(expected) else _read_enum
    return reader(expected, data, where)


def _read_record(expected: Any, data: Any, where: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(expected) if field.init}
    data = _check(data, Mapping, "an object", where)
    unknown = [str(key) for key in data if key not in fields]
    if unknown:
        raise RecordError(f"{_join(where, unknown[0])}: no such field")
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _read(_hints(expected)[name], data[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecordError(f"{_join(where, name)}: missing")
    return expected(**values)


def _read_literal(expected: Any, data: Any, where: str) -> Any:
    options = get_args(expected)
    for option in options:
        # 1 == True in Python, not in JSON.
        if data == option and isinstance(data, bool) == isinstance(option, bool):
            return option
    raise _wrong(where, "one of " + ", ".join(str(option) for option in options), data)


def _read_union(expected: Any, data: Any, where: str) -> Any:
    options = get_args(expected)
    if data is None and type(None) in options:
        return None
    members = [option for option in options if option is not type(None)]
    for member in members[:-1]:
        try:
            return _read(member, data, where)
        except RecordError:
            continue
    return _read(members[-1], data, where)


def _read_tuple(expected: Any, data: Any, where: str) -> tuple[Any, ...]:
    data = _check(data, list, "a list", where)
    members = get_args(expected)
    if members[-1] is Ellipsis:
        members = members[:1] * len(data)
    elif len(members) != len(data):
        raise _wrong(where, f"a list of {len(members)}", data)
    pairs = zip(members, data, strict=True)
    return tuple(_read(member, item, f"{where}[{i}]") for i, (member, item) in enumerate(pairs))


def _read_list(expected: Any, data: Any, where: str) -> list[Any]:
    (member,) = get_args(expected)
    items = _check(data, list, "a list", where)
    return [_read(member, item, f"{where}[{i}]") for i, item in enumerate(items)]


def _read_mapping(expected: Any, data: Any, where: str) -> dict[str, Any]:
    member = get_args(expected)[1]
    items = _check(data, Mapping, "an object", where).items()
    return {str(key): _read(member, item, _join(where, str(key))) for key, item in items}


def _read_bool(_expected: Any, data: Any, where: str) -> bool:
    found: bool = _check(data, bool, "true or false", where)
    return found


def _read_int(_expected: Any, data: Any, where: str) -> int:
    if isinstance(data, bool):
        raise _wrong(where, "a whole number", data)
    found: int = _check(data, int, "a whole number", where)
    return found


def _read_float(_expected: Any, data: Any, where: str) -> float:
    if isinstance(data, bool):
        raise _wrong(where, "a number", data)
    return _finite(_check(data, (int, float), "a number", where), where)


def _read_str(_expected: Any, data: Any, where: str) -> str:
    found: str = _check(data, str, "text", where)
    return found


def _read_path(expected: Any, data: Any, where: str) -> Any:
    return expected(_check(data, str, "text", where))


def _read_any(_expected: Any, data: Any, _where: str) -> Any:
    return data


def _read_enum(expected: Any, data: Any, where: str) -> Any:
    try:
        return expected(data)
    except ValueError:
        raise _wrong(where, "one of " + ", ".join(str(member.value) for member in expected), data) from None


_READERS: dict[Any, Callable[[Any, Any, str], Any]] = {
    Any: _read_any,
    Literal: _read_literal,
    Union: _read_union,
    types.UnionType: _read_union,
    tuple: _read_tuple,
    list: _read_list,
    Sequence: _read_list,
    dict: _read_mapping,
    Mapping: _read_mapping,
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    str: _read_str,
    Path: _read_path,
    PurePath: _read_path,
}
"""How each annotation is read, by its origin; records and enums are told by their class."""


def _check(data: Any, kind: type | tuple[type, ...], expected: str, where: str) -> Any:
    if not isinstance(data, kind):
        raise _wrong(where, expected, data)
    return data


def _finite(data: float, where: str) -> float:
    # json.loads reads 1e999 and NaN; an int of a thousand digits overflows float().
    try:
        number = float(data)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _wrong(where, "a finite number", data)
    return number


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _wrong(where: str, expected: str, data: Any) -> RecordError:
    shown = repr(data)
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    return RecordError(f"{where or 'the record'}: expected {expected}, found {shown}")
