"""What the keywords of a JSON schema are to a grammar, and how their values are read. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
NOTES = frozenset(
    {
        *("$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "title", "description", "default"),
        *("examples", "example", "deprecated", "readOnly", "writeOnly", "discriminator", "strict"),
    }
)
"""Keywords that tell about a value and ask nothing of it."""
BY_TYPE: dict[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "prefixItems", "additionalItems", "minItems", "maxItems"}),
    "string": frozenset({"pattern", "format", "minLength", "maxLength"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "boolean": frozenset(),
    "null": frozenset(),
}
COMBINING = ("$ref", "anyOf", "oneOf", "allOf")
KNOWN = frozenset({*NOTES, *COMBINING, "type", "const", "enum"}.union(*BY_TYPE.values()))
WITHOUT_EFFECT: dict[str, tuple[object, ...]] = {
    "uniqueItems": (False,),
    "minProperties": (0,),
    "minContains": (0,),
    "nullable": (False,),
    "multipleOf": (),
    "unevaluatedProperties": (True,),
    "propertyNames": ({}, True),
    "patternProperties": ({},),
    "maxProperties": (),
    "contains": (),
    "not": (),
    "if": (),
    "then": (),
    "else": (),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
    "dependencies": ({},),
    "unevaluatedItems": (True,),
    "contentEncoding": (),
    "contentMediaType": (),
    "contentSchema": (),
    "$dynamicRef": (),
}
"""Keywords that no grammar can enforce, with the values for which there is nothing to enforce."""


class SchemaError(ValueError):
    """A schema is broken, or asks for what no grammar enforces. `where` is a JSON pointer into it."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"at {where or '#'}: {why}")


def check_keywords(schema: Mapping[str, Any], where: str) -> None:
    """Refuse what would be ignored."""
    for key, value in schema.items():
        if key in KNOWN or key.startswith("x-"):
            continue
        if key not in WITHOUT_EFFECT:
            close = difflib.get_close_matches(key, [*KNOWN, *WITHOUT_EFFECT], n=1)
            raise SchemaError(where, f"there is no keyword {key!r}" + (f"; is it {close[0]!r}?" if close else ""))
        # In Python True == 1, in JSON they differ.
        if not any(value == each and type(value) is type(each) for each in WITHOUT_EFFECT[key]):
            raise SchemaError(where, f"{key!r} cannot be enforced; leave it out and check the answer for it")


def types_of(schema: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The types that a schema allows; where it names none, those that its keywords speak of; empty: any."""
    named = schema.get("type")
    if named is not None:
        found = [named] if isinstance(named, str) else named
        if not isinstance(found, list) or not found or not all(each in TYPES for each in found):
            raise SchemaError(where, f"'type' must be one or several of {', '.join(TYPES)}")
        return tuple(dict.fromkeys(found))
    return tuple(name for name in TYPES if name != "integer" and BY_TYPE[name] & schema.keys())


def count(schema: Mapping[str, Any], key: str, where: str) -> int | None:
    """A keyword that counts something."""
    value = schema.get(key)
    if value is None and key not in schema:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0 or value != int(value):
        raise SchemaError(where, f"{key!r} must be a whole number, not negative")
    return int(value)


def bounds(schema: Mapping[str, Any], where: str) -> tuple[float | None, bool, float | None, bool]:
    """The least number and whether it is itself left out, and the same for the greatest."""
    values: dict[str, float] = {}
    for key in BY_TYPE["number"] & schema.keys():
        value = schema[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SchemaError(where, f"{key!r} must be a number")
        if abs(value) >= 10**15 or math.isnan(value):
            raise SchemaError(where, f"{key!r} is too large to be enforced")
        values[key] = value
    low, above = _tighter(values.get("minimum"), values.get("exclusiveMinimum"), 1)
    high, below = _tighter(values.get("maximum"), values.get("exclusiveMaximum"), -1)
    if low is not None and high is not None and (low > high or (low == high and (above or below))):
        raise SchemaError(where, "no number lies between its bounds")
    return low, above, high, below


def _tighter(bound: float | None, exclusive: float | None, sign: int) -> tuple[float | None, bool]:
    if exclusive is None or (bound is not None and sign * bound > sign * exclusive):
        return bound, False
    return exclusive, True


def is_of_type(value: object, name: str) -> bool:
    """Whether a JSON value is of a schema's type."""
    if isinstance(value, bool) or value is None:
        return name == ("null" if value is None else "boolean")
    if isinstance(value, (int, float)):
        return name == "number" or (name == "integer" and value == int(value))
    return isinstance(value, {"string": str, "array": list, "object": dict}.get(name, ()))
