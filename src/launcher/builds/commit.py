"""Commits of llama.cpp, as its programs and records write them: with 7 to 40 letters. Pure."""

from __future__ import annotations

import re

_TOLD = re.compile(r"commit ([0-9a-f]{7,40})|version: \d+ \(([0-9a-f]{7,40})\)")
"""In what `llama-server --version` says (common/arg.cpp)."""


def commit_of(text: str) -> str | None:
    """The commit that `llama-server --version` tells; None where it tells none."""
    found = _TOLD.search(text)
    return (found[1] or found[2]) if found else None


def same_commit(one: str, other: str) -> bool:
    """Whether both mean the same, written to different lengths."""
    return one.startswith(other) or other.startswith(one)
