"""Comments between the parts of a YAML file. Pure.

ruamel.yaml keeps the lines below a value with the last word of that value. What is added to the value would come after
them: the heading of the next part would end up in the middle of this one.
"""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken

_HEADING = re.compile(r"([^\n]*\n?(?:[ ]+#[^\n]*\n)*)(.*)", re.DOTALL)


def detach(value: Any) -> str:
    """Take away the lines below a table or list: empty ones and comments. Empty where there are none."""
    slot = _last_slot(value)
    token = None if slot is None else _token(*slot)
    if slot is None or token is None:
        return ""
    # Lines that are indented belong to the value: an element that is commented out, say.
    found = _HEADING.match(token.value)
    kept, below = found.groups() if found else (token.value, "")
    if below:
        _put(*slot, kept if kept.strip() else None)
    return below


def attach(value: Any, below: str) -> None:
    """Put lines below a table or list, after what it ends with now."""
    slot = _last_slot(value)
    if slot is not None and below:
        token = _token(*slot)
        _put(*slot, (token.value.rstrip("\n") if token is not None else "") + "\n" + below)


def _last_slot(value: Any) -> tuple[Any, Any] | None:
    """The innermost table or list that ends a value, and the name or index of its last element."""
    slot = None
    while isinstance(value, CommentedMap | CommentedSeq) and value and not value.fa.flow_style():
        key = next(reversed(value)) if isinstance(value, CommentedMap) else len(value) - 1
        slot = (value, key)
        value = value[key]
    return slot


def _position(holder: Any) -> int:
    # Where ruamel keeps the comment after a value; the other places are for what stands before it.
    return 2 if isinstance(holder, CommentedMap) else 0


def _token(holder: Any, key: Any) -> Any:
    found = holder.ca.items.get(key)
    token = found[_position(holder)] if found and len(found) > _position(holder) else None
    return token if isinstance(token, CommentToken) else None


def _put(holder: Any, key: Any, text: str | None) -> None:
    token = None if text is None else CommentToken(text, CommentMark(0), None)
    places = holder.ca.items.setdefault(key, [None, None, None, None])
    places[_position(holder)] = token
