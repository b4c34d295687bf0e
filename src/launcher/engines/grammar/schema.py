"""A JSON schema as a grammar. Pure.

The grammar lets through what satisfies the schema, though not all of it: members come in the schema's order, an object
with `properties` gets others only where `additionalProperties` says so itself, and numbers and indentation have an end.
llama.cpp's own converter (common/json-schema-to-grammar.cpp) skips what it cannot express; this one refuses it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from launcher.engines.grammar.combine import merged, overlap
from launcher.engines.grammar.digits import integers, numbers
from launcher.engines.grammar.keywords import (
    BY_TYPE,
    COMBINING,
    NOTES,
    SchemaError,
    bounds,
    check_keywords,
    count,
    is_of_type,
    types_of,
)
from launcher.engines.grammar.pattern import FORMATS, PatternError, pattern_rule
from launcher.engines.grammar.refs import resolved, target_of
from launcher.engines.grammar.text import CHAR, MAX_REPEATS, literal, other_strings
from launcher.errors import UsageError

_BASE = {
    "ws": '( " " | "\\n" [ \\t]{0,20} )?',
    "char": CHAR,
    "string": '"\\"" char* "\\""',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "number": numbers(None, None),
    "object": '"{" ws ( member ( "," ws member )* ws )? "}"',
    "member": 'string ":" ws value',
    "array": '"[" ws ( value ( "," ws value )* ws )? "]"',
    "value": "object | array | string | number | boolean | null",
}
"""Rules that every grammar has. White space is bounded, or a model may never come to an end of it."""
_MAX_RULES = 20_000


def check_schema(text: str) -> str:
    """Check that answers can be held to a schema; gives it back for `Sampling.json_schema`.

    Raises:
        UsageError: It is no JSON, no schema, or asks for something that cannot be enforced.
    """
    grammar_of(text)
    return text


def grammar_of(text: str) -> str:
    """The grammar, in llama.cpp's language, of the answers that satisfy a schema.

    Raises:
        UsageError: As for `check_schema`.
    """
    try:
        return _Converter(json.loads(text, parse_constant=_refuse_constant)).grammar()
    except json.JSONDecodeError as error:
        why = f"it is no JSON (line {error.lineno}, column {error.colno}: {error.msg})"
    except SchemaError as error:
        why = str(error)
    except (RecursionError, OverflowError):
        why = "it is nested too deeply"
    except ValueError as error:  # a number of thousands of digits
        why = str(error)
    raise UsageError(f"the JSON schema cannot be used: {why}", hint="gpt-oss chat --help")


def _refuse_constant(name: str) -> NoReturn:
    raise SchemaError("", f"{name} is no JSON")


class _Converter:
    def __init__(self, document: Any) -> None:
        self._document = document
        self._rules = dict(_BASE)
        self._refs: dict[str, str] = {}

    def grammar(self) -> str:
        self._rules["root"] = self._visit(self._document, "#", frozenset())
        return "".join(f"{name} ::= {rule}\n" for name, rule in self._rules.items())

    def _rule(self, where: str, text: str) -> str:
        """Add a rule, named after its place; answers its name."""
        name = self._name(where)
        self._rules[name] = text
        return name

    def _name(self, where: str) -> str:
        if len(self._rules) > _MAX_RULES:
            raise SchemaError(where, "the schema is too large")
        place = re.sub("[^a-z0-9]+", "-", where.lower())[-40:].strip("-")
        name = f"s{len(self._rules)}-{place}"
        self._rules[name] = ""
        return name

    def _visit(self, schema: Any, where: str, refs: frozenset[str]) -> str:
        """A grammar for a schema. `refs`: the references that led here without a character in between."""
        if schema is True:
            return "value"
        if schema is False:
            raise SchemaError(where, "it allows no value")
        if not isinstance(schema, dict):
            raise SchemaError(where, "a schema must be an object, true or false")
        check_keywords(schema, where)
        combining = [key for key in COMBINING if key in schema]
        if combining:
            return self._combined(schema, combining[0], where, refs)
        if "const" in schema or "enum" in schema:
            return self._listed(schema, where)
        types = types_of(schema, where)
        parts = [self._typed(name, schema, where) for name in types if not (name == "integer" and "number" in types)]
        return " | ".join(parts) if parts else "value"

    def _sub(self, schema: Any, where: str, refs: frozenset[str] = frozenset()) -> str:
        """The name of a rule for a schema within another."""
        text = self._visit(schema, where, refs)
        return text if text in self._rules else self._rule(where, text)

    def _combined(self, schema: Mapping[str, Any], key: str, where: str, refs: frozenset[str]) -> str:
        beside = sorted(schema.keys() - NOTES - {key} - {each for each in schema if each.startswith("x-")})
        if key == "$ref" and not beside:
            return self._ref(schema[key], where, refs)
        parts = schema[key] if key != "$ref" else [{"$ref": schema[key]}]
        if not isinstance(parts, list) or not parts:
            raise SchemaError(where, f"{key!r} must be a list of schemas")
        if key in ("allOf", "$ref"):
            rest = {name: schema[name] for name in schema.keys() - NOTES - {key}}
            whole = [*parts, rest] if beside else parts
            if len(whole) == 1:
                return self._sub(whole[0], f"{where}/{key}/0", refs)
            return self._visit(merged(whole, f"{where}/{key}", self._resolved), where, refs)
        if beside:
            raise SchemaError(where, f"{beside[0]!r} beside {key!r} cannot be enforced; move it into each alternative")
        if key == "oneOf" and (pair := overlap([self._resolved(part, where) for part in parts])):
            raise SchemaError(where, f"alternatives {pair[0]} and {pair[1]} of 'oneOf' may overlap; use 'anyOf'")
        return " | ".join(self._sub(part, f"{where}/{key}/{n}", refs) for n, part in enumerate(parts))

    def _resolved(self, schema: Any, where: str) -> Any:
        return resolved(self._document, schema, where)

    def _ref(self, ref: Any, where: str, refs: frozenset[str]) -> str:
        target = target_of(self._document, ref, where)
        if ref in refs:
            raise SchemaError(where, f"{ref!r} refers to itself, with nothing in between")
        if ref not in self._refs:
            name = self._refs[ref] = self._name(ref)
            self._rules[name] = self._visit(target, ref, refs | {ref})
        return self._refs[ref]

    def _listed(self, schema: Mapping[str, Any], where: str) -> str:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        if not isinstance(values, list) or not values:
            raise SchemaError(where, "'enum' must be a list of values")
        if "const" in schema and "enum" in schema:
            raise SchemaError(where, "'enum' beside 'const' makes no sense")
        if beside := sorted(frozenset().union(*BY_TYPE.values()) & schema.keys()):
            raise SchemaError(where, f"{beside[0]!r} beside listed values cannot be enforced")
        types = types_of(schema, where)
        allowed = [each for each in values if not types or any(is_of_type(each, name) for name in types)]
        if not allowed:
            raise SchemaError(where, "none of its values is of its type")
        return " | ".join(dict.fromkeys(literal(json.dumps(each, ensure_ascii=False)) for each in allowed))

    def _typed(self, name: str, schema: Mapping[str, Any], where: str) -> str:
        if name == "object":
            return self._object(schema, where)
        if name == "array":
            return self._array(schema, where)
        if name == "string":
            return self._string(schema, where)
        if name in ("number", "integer"):
            return self._number(schema, where, whole=name == "integer")
        return name

    def _number(self, schema: Mapping[str, Any], where: str, *, whole: bool) -> str:
        low, above, high, below = bounds(schema, where)
        if whole:
            least = None if low is None else (math.floor(low) + 1 if above else math.ceil(low))
            most = None if high is None else (math.ceil(high) - 1 if below else math.floor(high))
            if least is not None and most is not None and least > most:
                raise SchemaError(where, "no whole number lies between its bounds")
            return integers(least, most)
        if any(bound is not None and bound != int(bound) for bound in (low, high)):
            raise SchemaError(where, "of a number that may have a fraction, only whole bounds can be enforced")
        least, most = (None if bound is None else int(bound) for bound in (low, high))
        return "number" if least is None and most is None else numbers(least, most, above=above, below=below)

    def _string(self, schema: Mapping[str, Any], where: str) -> str:
        low, high = count(schema, "minLength", where) or 0, count(schema, "maxLength", where)
        pattern, kind = schema.get("pattern"), schema.get("format")
        if kind is not None and kind not in FORMATS:
            known = ", ".join(FORMATS)
            raise SchemaError(where, f"the format {kind!r} cannot be enforced ({known} can); leave it out")
        if pattern is not None and kind is not None:
            raise SchemaError(where, "'pattern' beside 'format' cannot be enforced")
        if pattern is None and kind is None:
            return f'"\\"" char{self._times(low, high, where)} "\\""' if low or high is not None else "string"
        if low or high is not None:
            key = "pattern" if pattern is not None else "format"
            raise SchemaError(where, f"a length beside {key!r} cannot be enforced; say it in the pattern")
        if pattern is not None and not isinstance(pattern, str):
            raise SchemaError(where, "'pattern' must be a string")
        try:
            rule = pattern_rule(pattern if pattern is not None else FORMATS[str(kind)], "char")
        except (PatternError, ValueError) as error:
            raise SchemaError(where, f"the pattern {pattern!r} cannot be enforced: {error}") from None
        return f'"\\"" {rule} "\\""'

    def _times(self, low: int, high: int | None, where: str) -> str:
        if max(low, high or 0) > MAX_REPEATS:
            raise SchemaError(where, f"more than {MAX_REPEATS} characters or items cannot be counted")
        if high is not None and high < low:
            raise SchemaError(where, "its least length is more than its greatest")
        return f"{{{low},{'' if high is None else high}}}"

    def _array(self, schema: Mapping[str, Any], where: str) -> str:
        low, high = count(schema, "minItems", where) or 0, count(schema, "maxItems", where)
        first, further = schema.get("prefixItems", []), schema.get("items", True)
        if isinstance(further, list):  # as before 2020-12
            first, further = further, schema.get("additionalItems", True)
        if not isinstance(first, list):
            raise SchemaError(where, "'prefixItems' must be a list of schemas")
        if first and "items" not in schema and "additionalItems" not in schema and low <= len(first):
            further = False  # allowed, but nothing speaks of them
        self._times(low, high, where)
        if further is False and low > len(first):
            raise SchemaError(where, f"it must have {low} items, and may have {len(first)}")
        first = first[:high]
        n_more = None if high is None else high - len(first)
        parts = [self._sub(item, f"{where}/prefixItems/{n}") for n, item in enumerate(first)]
        whole = ' "," ws '.join(parts)
        if further is False or n_more == 0:
            return f'"[" ws {whole} ws "]"' if parts else '"[" ws "]"'
        item = self._sub(further, f"{where}/items")
        least = max(0, low - len(first))
        again = self._rule(f"{where}/again", f'"," ws {item}')
        if parts:
            return f'"[" ws {whole} {again}{self._times(least, n_more, where)} ws "]"'
        after = self._times(max(0, least - 1), None if n_more is None else n_more - 1, where)
        some = f"{item} {again}{after} ws"
        return f'"[" ws {some} "]"' if least else f'"[" ws ( {some} )? "]"'

    def _object(self, schema: Mapping[str, Any], where: str) -> str:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        more = schema.get("additionalProperties", not properties)
        if not isinstance(properties, dict):
            raise SchemaError(where, "'properties' must be an object of schemas")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise SchemaError(where, "'required' must be a list of names")
        unnamed = [name for name in dict.fromkeys(required) if name not in properties]
        if unnamed and more is False and "additionalProperties" in schema:
            raise SchemaError(where, f"{unnamed[0]!r} is required, but is no property")
        known = {**properties, **dict.fromkeys(unnamed, True if more is False else more)}
        members = {
            name: f'{literal(json.dumps(name, ensure_ascii=False))} ":" ws {self._sub(value, f"{where}/{name}")}'
            for name, value in known.items()
            if value is not False or name in required
        }
        if more is True and not members:
            return "object"
        other = self._other_member(list(known), more, where) if more is not False else None
        return f'"{{" ws {self._members(members, required, other, where)} "}}"'

    def _other_member(self, known: Sequence[str], more: Any, where: str) -> str:
        key = other_strings(known, "char", self._rules, self._name(f"{where}/name")) if known else "char*"
        value = self._sub(more, f"{where}/additionalProperties")
        return self._rule(f"{where}/more", f'"\\"" {key} "\\"" ":" ws {value}')

    def _members(self, members: dict[str, str], required: Sequence[str], other: str | None, where: str) -> str:
        """Members in order. `later` follows a member, `begin` stands where there is none yet."""
        later = f'( "," ws {other} )*' if other else '""'
        begin = f"( {other} {later} ws )?" if other else '""'
        for name, member in reversed(members.items()):
            rest, rule = self._rule(where, later), self._rule(f"{where}/{name}", member)
            if name in required:
                later, begin = f'"," ws {rule} {rest}', f"{rule} {rest} ws"
            else:
                later = f'( "," ws {rule} )? {rest}'
                begin = f"{rule} {rest} ws | {begin}"
        return f"( {begin} )"
