"""Merge settings into the text of a TOML, YAML or JSON file: text in, text out. Pure.

What the file says already stays, comments and order included; a text that needs no change comes back letter for letter.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tomllib
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import tomlkit
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable

from launcher.clients.types import Format, Patch
from launcher.clients.yaml_comments import attach, detach

_WIDE = 1_000_000  # ruamel breaks lines beyond its width, also those that it only passes on


Make = Callable[[Any, Any], Any]
"""Turns a new value into the file's own kind, for the table or list that is to hold it."""


class UnreadableError(ValueError):
    """The text is not of the format that it should be."""


class CannotMergeError(ValueError):
    """The text is sound, but cannot be changed without loss."""


def merge(text: str, patch: Patch) -> str:
    """The text with what `patch` asks for.

    Raises:
        UnreadableError: the text is damaged.
        CannotMergeError: it holds something else where a table is needed, or comments that JSON cannot keep.
    """
    # Lines are joined by one kind of break while they are worked on, and get their own back.
    crlf = "\r\n" in text
    lines = text.replace("\r\n", "\n")
    merged = _FORMATS[patch.file.format](lines, patch)
    if merged == lines:
        return text
    _check(lines, merged, patch)
    return merged.replace("\n", "\r\n") if crlf else merged


def _check(before: str, after: str, patch: Patch) -> None:
    """Compare with the same merge on plain data: whatever a file's layout, nothing may be lost or moved."""
    read = _PLAIN[patch.file.format]
    expected = read(before)
    if expected is None:
        expected = [] if isinstance(patch.values, Sequence) else {}
    _apply(expected, patch, _without_none)
    try:
        found = read(after)
    except ValueError:
        found = None
    if found != expected:
        raise CannotMergeError("its layout cannot be kept")


def _merge_json(text: str, patch: Patch) -> str:
    if not text.strip():
        return _json_text(_without_none(_fresh(patch)), "  ")
    data = _read_json(text)
    if not _apply(data, patch, _without_none):
        return text
    indented = re.search(r'^([ \t]+)"', text, re.MULTILINE)
    return _json_text(data, indented[1] if indented else "  ")


def _json_text(data: Any, indent: str) -> str:
    return json.dumps(data, indent=indent, ensure_ascii=False) + "\n"


def _read_json(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        if _is_jsonc(text):
            raise CannotMergeError("it holds comments or trailing commas, which would be lost") from error
        raise UnreadableError(f"line {error.lineno}: {error.msg}") from error
    except RecursionError as error:
        raise UnreadableError("it is nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise CannotMergeError("it holds a name twice, of which one would be lost")
    return table


_STRING = r'"(?:[^"\\\n]|\\.)*"'


def _is_jsonc(text: str) -> bool:
    """Whether it is JSON once comments and trailing commas are gone."""
    # Comments first, so that a comma before one shows whether it is the last.
    bare = re.sub(rf"({_STRING})|//[^\n]*|/\*.*?\*/", lambda found: found[1] or " ", text, flags=re.DOTALL)
    bare = re.sub(rf"({_STRING})|,(?=\s*[\]}}])", lambda found: found[1] or "", bare)
    try:
        json.loads(bare)
    except ValueError:
        return False
    return True


def _merge_toml(text: str, patch: Patch) -> str:
    try:
        expected = tomllib.loads(text)
        document = tomlkit.parse(text)
    except (TOMLKitError, ValueError) as error:
        raise UnreadableError(str(error)) from error
    if not _apply(expected, patch, _without_none):
        return text
    if text.strip():
        # A table that is new goes to the end, where it cannot come between another and the comment above it.
        appended = text.rstrip("\n") + "\n\n" + _merge_toml("", patch)
        with contextlib.suppress(tomllib.TOMLDecodeError):
            if tomllib.loads(appended) == expected:
                return appended
    try:
        _apply(document, patch, _toml_value)
    except (TOMLKitError, ValueError) as error:
        raise CannotMergeError("its layout cannot be kept") from error
    return tomlkit.dumps(document).rstrip("\n") + "\n"


def _toml_value(value: Any, container: Any) -> Any:
    bare = _without_none(value)
    if not isinstance(value, Mapping) or isinstance(container, InlineTable):
        return bare
    table = tomlkit.item(bare)
    # Otherwise the next table would follow without an empty line.
    if not any(isinstance(item, Mapping) for item in value.values()):
        table.add(tomlkit.nl())
    return table


def _read_toml(text: str) -> Any:
    return tomllib.loads(text)


def _merge_yaml(text: str, patch: Patch) -> str:
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = _WIDE
    # Elements of a list stand below their name or two columns to the right: whichever the file does.
    shifted = re.search(r"^([ ]*)[^\s#-][^\n]*:[ ]*(?:#[^\n]*)?\n(?:[ ]*(?:#[^\n]*)?\n)*\1([ ]*)- ", text, re.MULTILINE)
    offset = len(shifted[2]) if shifted else 2
    if isinstance(patch.values, Sequence) and not shifted:
        offset = 0
    yaml.indent(mapping=2, sequence=offset + 2, offset=offset)
    yaml.explicit_start = text.startswith("---")
    try:
        data = yaml.load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise UnreadableError(_first_line(error)) from error
    if data is None:
        # Nothing but comments: they are nobody's, and a round trip would drop them.
        yaml.explicit_start = False
        comments = text if not text or text.endswith("\n") else text + "\n"
        return comments + _yaml_text(yaml, _yaml_value(_fresh(patch)))
    below = {key: detach(value) for key, value in data.items()} if isinstance(data, CommentedMap) else {}
    if not _apply(data, patch, _yaml_value):
        return text
    for key, comments in below.items():
        attach(data.get(key), comments)
    return _yaml_text(yaml, data)


def _yaml_text(yaml: YAML, data: Any) -> str:
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


def _yaml_value(value: Any, container: Any = None) -> Any:
    """Tables and lists of ruamel's own."""
    del container
    if isinstance(value, Mapping):
        return CommentedMap({key: _yaml_value(item) for key, item in value.items() if item is not None})
    if isinstance(value, Sequence) and not isinstance(value, str):
        return CommentedSeq([_yaml_value(item) for item in value])
    return value


def _read_yaml(text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise UnreadableError(_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return f"line {mark.line + 1}: {what}" if mark is not None else str(what)


def _fresh(patch: Patch) -> Any:
    """What a file holds that has nothing but this."""
    return list(patch.values) if isinstance(patch.values, Sequence) else {**patch.defaults, **patch.values}


def _without_none(value: Any, _container: Any = None) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_none(item) for item in value]
    return value


def _apply(data: Any, patch: Patch, make: Make) -> bool:
    """Change `data` in place; `make` turns new values into the file's own kind. Whether anything changed."""
    if isinstance(patch.values, Mapping):
        if not isinstance(data, MutableMapping):
            raise CannotMergeError("it is no table")
        defaults = {key: value for key, value in patch.defaults.items() if key not in data}
        return _merge_table(data, {**defaults, **patch.values}, patch.identity, make)
    if not isinstance(data, MutableSequence):
        raise CannotMergeError("it is no list")
    return _merge_list(data, patch.values, patch.identity, make)


def _merge_table(table: MutableMapping[Any, Any], values: Mapping[str, Any], identity: str, make: Make) -> bool:
    changed = False
    for key, value in values.items():
        found = table.get(key)
        if value is None:
            if key in table:
                del table[key]
                changed = True
        elif found is None:
            table[key] = make(value, table)
            changed = True
        elif isinstance(value, Mapping):
            if not isinstance(found, MutableMapping):
                raise CannotMergeError(f"{key!r} is no table")
            changed |= _merge_table(found, value, identity, make)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            if not isinstance(found, MutableSequence):
                raise CannotMergeError(f"{key!r} is no list")
            changed |= _merge_list(found, value, identity, make)
        # True equals 1 in Python, not in a configuration.
        elif found != value or isinstance(found, bool) != isinstance(value, bool):
            table[key] = make(value, table)
            changed = True
    return changed


def _merge_list(items: MutableSequence[Any], values: Sequence[Any], identity: str, make: Make) -> bool:
    """Tables are known by their `identity`; other values are added where they are missing."""
    changed = False
    for value in values:
        if isinstance(value, Mapping):
            same = (item for item in items if isinstance(item, MutableMapping))
            found = next((item for item in same if item.get(identity) == value[identity]), None)
            if found is not None:
                changed |= _merge_table(found, value, identity, make)
                continue
        elif value in items:
            continue
        items.append(make(value, items))
        changed = True
    return changed


_FORMATS: Mapping[Format, Callable[[str, Patch], str]] = {"json": _merge_json, "toml": _merge_toml, "yaml": _merge_yaml}
_PLAIN: Mapping[Format, Callable[[str], Any]] = {"json": _read_json, "toml": _read_toml, "yaml": _read_yaml}
