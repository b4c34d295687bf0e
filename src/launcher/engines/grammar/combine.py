"""Schemas side by side: which alternatives exclude each other, and what several make together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from launcher.engines.grammar.keywords import NOTES, SchemaError, types_of

_OBJECT = frozenset({"type", "properties", "required"})


def overlap(alternatives: Sequence[Any]) -> tuple[int, int] | None:
    """Two alternatives, counted from 1, that one value might satisfy both; None where all surely exclude each other."""
    for (i, one), (j, other) in combinations(enumerate(alternatives, 1), 2):
        if not _disjoint(one, other):
            return i, j
    return None


def _disjoint(one: Any, other: Any) -> bool:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    values, others = _listed(one), _listed(other)
    if values is not None and others is not None:
        return not any(value == each and type(value) is type(each) for value in values for each in others)
    types, kinds = _types(one), _types(other)
    if types and kinds and not types & kinds:
        return True
    shared = set(_names(one)) & set(_names(other))
    return types == kinds == {"object"} and any(
        _disjoint(one["properties"][name], other["properties"][name]) for name in shared
    )


def _listed(schema: Mapping[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _types(schema: Mapping[str, Any]) -> set[str]:
    """Types by name, with whole numbers among the numbers; empty where a value of any type may pass."""
    if schema.keys() & {"$ref", "anyOf", "oneOf", "allOf"}:
        return set()
    values = _listed(schema)
    if values is not None:
        return {_type_of(value) for value in values}
    found = set(types_of(schema, "oneOf"))
    return (found - {"integer"}) | ({"number"} if "integer" in found else set())


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}[type(value)]


def _names(schema: Mapping[str, Any]) -> set[str]:
    """Properties that an object must have."""
    required, properties = schema.get("required"), schema.get("properties")
    return {each for each in required if each in properties} if required and isinstance(properties, dict) else set()


def merged(parts: Sequence[Any], where: str, resolve: Callable[[Any, str], Any]) -> dict[str, Any]:
    """One schema for objects that satisfy all of several.

    Raises:
        SchemaError: They ask for more than properties, or say different things of one.
    """
    properties: dict[str, Any] = {}
    required: list[Any] = []
    for number, part in enumerate(parts):
        schema = resolve(part, where)
        if isinstance(schema, dict) and "allOf" in schema and not schema.keys() - NOTES - {"allOf"}:
            schema = merged(schema["allOf"], f"{where}/{number}", resolve)
        if not isinstance(schema, dict) or schema.keys() - NOTES - _OBJECT or schema.get("type", "object") != "object":
            raise SchemaError(f"{where}/{number}", "only objects with 'properties' and 'required' can be put together")
        for name, value in schema.get("properties", {}).items():
            if properties.setdefault(name, value) != value:
                raise SchemaError(f"{where}/{number}", f"two parts say different things of {name!r}")
        required += schema.get("required", [])
    return {"type": "object", "properties": properties, "required": required}
