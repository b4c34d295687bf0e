"""References within a schema. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from launcher.engines.grammar.keywords import NOTES, SchemaError

_MAX_STEPS = 50


def target_of(document: Any, ref: Any, where: str) -> Any:
    """What `#/a/b` leads to.

    Raises:
        SchemaError: It leads nowhere, or out of the schema: nothing is fetched.
    """
    if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
        raise SchemaError(where, f"the reference {ref!r} must lead into the schema itself, as #/$defs/name does")
    target = document
    for part in ref.split("/")[1:]:
        step = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(target, dict) and step in target:
            target = target[step]
        elif isinstance(target, list) and step.isdecimal() and int(step) < len(target):
            target = target[int(step)]
        else:
            raise SchemaError(where, f"the reference {ref!r} leads nowhere")
    return target


def resolved(document: Any, schema: Any, where: str) -> Any:
    """A schema, or what it refers to where it is nothing but a reference."""
    for _ in range(_MAX_STEPS):
        if not isinstance(schema, dict) or "$ref" not in schema or schema.keys() - NOTES - {"$ref"}:
            return schema
        schema = target_of(document, schema["$ref"], where)
    raise SchemaError(where, "its references lead round in a circle")
