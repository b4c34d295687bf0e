"""Requests with a word so long that llama-server's tokenizer would overflow its stack. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from launcher.server.shield.types import ShieldError

MAX_RUN = 1_000_000
"""Characters of one kind in a row. llama-server runs on a stack for 1,900,000 of them (system/deathsig); a context of
131,072 tokens holds some 500,000 of text."""
_RUN = re.compile(r"\s+|[^\W\d_]+|(?:[^\w\s]|_)+")
"""What may be one word: white space, letters, signs; digits come in threes."""


def check_runs(body: bytes, limit: int = MAX_RUN) -> None:
    """Look for them; a body that is not longer than one is not read.

    Raises:
        ShieldError: there is one.
    """
    if len(body) <= limit:
        return
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return  # llama-server says better what is wrong with it
    for text in _texts(value):
        longest = max((found.end() - found.start() for found in _RUN.finditer(text)), default=0)
        if longest > limit:
            raise ShieldError(
                f"the text has {longest} characters of one kind in a row; llama-server can split {limit} into tokens",
                status=400,
                kind="invalid_request_error",
            )


def _texts(value: Any) -> Iterator[str]:
    """All strings in a JSON value."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
