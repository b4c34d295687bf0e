"""What the beginning of a line says of its block. Pure."""

from __future__ import annotations

import re
from typing import Literal

from launcher.chat.screen.containers import RULE

Kind = Literal["heading", "fence", "rule", "formula", "indented"]

HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*\Z)|~{3,})(.*)", re.DOTALL)
FORMULA = re.compile(r" {0,8}(\$\$|\\\[)")
CLOSING_MARKS = re.compile(r"(?:^|[ \t]+)#+[ \t]*\Z")


def kind_of(rest: str, *, indented: bool, whole: bool) -> Kind | None:
    """The kind of block that a line begins; None for text.

    `indented`: four spaces make code of it here. `whole`: it is all of the line.
    """
    if HEADING.match(rest):
        return "heading"
    if FENCE.match(rest):
        return "fence"
    if whole and RULE.match(rest):
        return "rule"
    if FORMULA.match(rest):
        return "formula"
    return "indented" if indented and rest.startswith("    ") else None


def untabbed(line: str) -> str:
    """A line that is indented by spaces."""
    text = line.lstrip(" \t")
    return line[: len(line) - len(text)].expandtabs(4) + text
