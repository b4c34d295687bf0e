"""The doctor's lines for a person: marks, sentences, and commands that can be copied whole."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence

from launcher.cli.columns import BOLD, DIM, is_styled, styled, terminal_width
from launcher.doctor.report import counts
from launcher.doctor.types import Check, Status
from launcher.text import printable

_COLOURS: dict[Status, str] = {"ok": "\x1b[32m", "warn": "\x1b[33m", "fail": "\x1b[31m"}
_NARROWEST = 40


def print_checks(checks: Sequence[Check]) -> None:
    """Print them on stdout, and a last line that counts them."""
    colours = is_styled(sys.stdout)
    width = terminal_width(sys.stdout)
    lines = lines_of(checks, width, colours=colours)
    sys.stdout.write("\n".join(lines) + "\n")


def lines_of(checks: Sequence[Check], width: int | None, *, colours: bool) -> list[str]:
    """Lines no wider than `width` (None: as long as they are), but for commands, which are never cut or folded."""
    name_width = max((len(check.name) for check in checks), default=0)
    lines: list[str] = []
    previous = None
    for check in checks:
        mark = styled(_COLOURS[check.status], f"{check.status:<4}", on=colours)
        # A name stands once over the lines that belong to it.
        name = "" if check.name == previous else check.name
        previous = check.name
        head = f"{mark}  {styled(BOLD, f'{name:<{name_width}}', on=colours)}  "
        indent = " " * (4 + 2 + name_width + 2)
        first, *rest = _folded(check.what, width, len(indent))
        lines.append(head + first)
        lines += [indent + line for line in rest]
        if check.why is not None and (check.status != "ok" or check.remedy is None):
            lines += [indent + styled(DIM, line, on=colours) for line in _folded(check.why, width, len(indent))]
        lines += [f"{indent}see: {styled(DIM, source, on=colours)}" for source in check.data.get("sources", ())]
        if check.remedy is not None:
            lines.append(f"{indent}run: {styled(BOLD, printable(check.remedy), on=colours)}")
    found = counts(checks)
    told = [f"{number} {status}" for status, number in found.items() if number]
    verdict = "something has to be mended" if found["fail"] else "nothing keeps this machine from running models"
    return [*lines, f"{', '.join(told)}: {verdict}"]


def _folded(text: str, width: int | None, indent: int) -> list[str]:
    text = printable(text)
    if width is None:
        return [text]
    return textwrap.wrap(text, max(_NARROWEST, width - indent), break_on_hyphens=False) or [""]
