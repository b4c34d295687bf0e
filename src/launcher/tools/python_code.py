"""The Python code in a call's arguments: JSON as the schema asks for it, or the code itself. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

_FENCE = re.compile(r"\s*```[A-Za-z0-9_+-]*[ \t]*\n(?P<code>.*?)\n?```\s*\Z", re.DOTALL)
_BROKEN = re.compile(r"""\s*\{\s*"code"\s*:""")

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"code": {"type": "string", "description": "Python code to run"}},
    "required": ["code"],
}
"""JSON schema of the arguments."""


def code_of(arguments: str) -> str:
    """The code that a call asks to run.

    GPT OSS was trained to send `python` its code as it is, and sends it as JSON where it sees a schema: both are taken,
    and a Markdown fence around the code is dropped.

    Raises:
        ValueError: there is no code in it; the message is for the model.
    """
    code = _unfenced(_unwrapped(arguments))
    if not code.strip():
        raise ValueError('there is no code to run: send {"code": "..."}')
    return code


def _unwrapped(arguments: str) -> str:
    try:
        # Models write line breaks inside strings as they are.
        value = json.loads(arguments, strict=False)
    except (ValueError, RecursionError) as error:
        if _BROKEN.match(arguments):
            raise ValueError(f'the arguments are not valid JSON ({error}): send {{"code": "..."}}') from error
        return arguments
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return arguments  # `42` and `[1, 2]` are Python as well
    code = value.get("code")
    if isinstance(code, str):
        return code
    others = list(value.values())
    if "code" not in value and len(others) == 1 and isinstance(others[0], str):
        return others[0]
    raise ValueError('the arguments have no text called "code": send {"code": "..."}')


def _unfenced(code: str) -> str:
    match = _FENCE.match(code)
    return match["code"] if match else code
