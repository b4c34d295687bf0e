"""The bar below the input: as many parts as fit, the most important first to stay. Pure."""

from __future__ import annotations

from collections.abc import Callable

from launcher.chat.prompt.types import Status
from launcher.text import printable
from launcher.units import format_bytes

_SEPARATOR = " · "
_MAX_TITLE = 40
_MAX_TOOLS = 2  # more are counted


def status_line(status: Status, width: int, *, width_of: Callable[[str], int] = len) -> str:
    """`gpt-oss-20b · medium · 1,204/32,768 (4 %) · 14.1 tok/s · 11.9 GiB`, in at most `width` columns.

    `width_of` tells how many columns a text takes. Model and context stay to the last; then the model's name is cut.
    """
    model = _printable(status.model)
    long, short = _context(status)
    parts = {
        "model": model,
        "effort": _printable(status.effort or ""),
        "context": long,
        "rate": "" if status.tokens_per_s is None else f"{status.tokens_per_s:.1f} tok/s",
        "memory": "" if status.memory_bytes is None else format_bytes(status.memory_bytes),
        "tools": _tools(status.tools),
        "engine": _printable(status.engine or ""),
        "title": _cut(_printable(status.title or ""), _MAX_TITLE, width_of),
    }
    for dropped in ("", "engine", "title", "tools", "memory", "rate", "effort"):
        parts[dropped] = ""
        line = _joined(parts)
        if width_of(line) <= width:
            return line
    parts["context"] = short
    room = width - width_of(_joined({**parts, "model": "x"})) + 1
    if room < 1:
        return _cut(short, width, width_of)
    return _joined({**parts, "model": _cut(model, room, width_of)})


def _joined(parts: dict[str, str]) -> str:
    return _SEPARATOR.join(part for part in parts.values() if part)


def _context(status: Status) -> tuple[str, str]:
    """The fill of the context with its percentage and without."""
    used, whole = status.n_context, status.n_ctx
    if used is not None and whole:
        short = f"{used:,}/{whole:,}"
        return f"{short} ({used / whole:.0%})".replace("%", " %"), short
    if used is not None:
        return f"{used:,} tokens", f"{used:,} tokens"
    text = f"{whole:,} n_ctx" if whole else ""
    return text, text


def _tools(titles: tuple[str, ...]) -> str:
    if len(titles) > _MAX_TOOLS:
        return f"{len(titles)} tools"
    return f"tools: {', '.join(map(_printable, titles))}" if titles else ""


def _printable(text: str) -> str:
    return printable(text).strip()


def _cut(text: str, width: int, width_of: Callable[[str], int]) -> str:
    if width_of(text) <= width:
        return text
    while text and width_of(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…" if width_of("…") <= width else ""
