"""Tool calls and their results as lines. Pure."""

from __future__ import annotations

import json
from typing import Any

from launcher.chat.screen.code import CodeStream
from launcher.chat.screen.safe import Cleaner
from launcher.chat.screen.spans import Line, Row, Span, merged
from launcher.chat.screen.theme import BOLD, DIM, Theme
from launcher.chat.screen.wrap import cut, wrapped
from launcher.engines.types import ToolCall
from launcher.tools.types import ToolResult

N_RESULT_ROWS = 12
_N_CALL_ROWS = 1000
"""What is to be run is agreed to, so all of it is shown, unless it is there to flood the screen; then that is told."""
_MAX_CHARS = 50_000
_MAX_LINE = 2000
_INDENT = Span("  ")


def call_lines(call: ToolCall, title: str, theme: Theme, width: int, encoding: str | None) -> list[Line]:
    """What is called: code in its colours, other arguments by name."""
    name = cut(_clean(title, encoding, one_line=True), width - 2, theme.ellipsis)
    heading = _line(Span(f"{theme.arrow} ", DIM), Span(name, BOLD))
    language, code = code_of(call)
    if code is not None:
        code_text = _bounded(code, encoding, theme).expandtabs(4).strip("\n")
        stream = CodeStream(language, theme)
        rows = [stream.line(line) for line in code_text.split("\n")]
        return [heading, *_cut(rows, _N_CALL_ROWS, theme)]
    rows = [row for line in _arguments(call.arguments, encoding, theme) for row in wrapped(line, width - 2)]
    return [heading, *_cut(rows, _N_CALL_ROWS, theme)]


def result_lines(result: ToolResult, theme: Theme, width: int, encoding: str | None) -> list[Line]:
    """What it gave: its first and its last rows, dim; errors say that they are."""
    text = _clean(result.text[:_MAX_CHARS], encoding).strip("\n")
    texts = (
        [cut(line.expandtabs(4)[:_MAX_LINE], width - 2, theme.ellipsis) for line in text.split("\n")] if text else []
    )
    rows: list[Row] = [merged((Span(line, DIM),)) for line in texts]
    lines = _cut(rows, N_RESULT_ROWS, theme)
    facts = [f"{result.elapsed_s:.1f} s"] if result.elapsed_s else []
    if result.n_cut:
        facts.append(f"{result.n_cut} characters left out")
    told = f" {theme.dot} ".join(("error" if result.is_error else "done", *facts))
    return [*lines, _line(_INDENT, Span(told, theme.error if result.is_error else DIM))]


def code_of(call: ToolCall) -> tuple[str, str | None]:
    """The program that a call runs, with its language; None where it runs none.

    GPT OSS writes the arguments of `python` as a program, or as an object with one.
    """
    value = _json(call.arguments)
    if isinstance(value, dict) and len(value) == 1:
        for key, language in (("code", "python"), ("script", "python"), ("command", "bash"), ("sql", "sql")):
            if isinstance(value.get(key), str):
                return language, value[key]
    if call.name == "python" and not isinstance(value, dict):
        return "python", value if isinstance(value, str) else call.arguments
    return "", None


def _arguments(arguments: str, encoding: str | None, theme: Theme) -> list[Row]:
    """One line for each argument; as it was written where it is no JSON object."""
    value = _json(arguments)
    if not isinstance(value, dict):
        text = _bounded(arguments, encoding, theme)
        return [merged((Span(text),))] if text.strip() else []
    lines: list[Row] = []
    for key, item in value.items():
        text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
        name = _clean(key, encoding, one_line=True)
        lines.append(merged((Span(f"{name}: ", DIM), Span(_bounded(text, encoding, theme)))))
    return lines


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _cut(rows: list[Row], most: int, theme: Theme) -> list[Line]:
    """Indented; the middle is left out where there are too many: the end of an output says most."""
    if len(rows) > most:
        head = most // 3
        left_out = len(rows) - (most - 1)
        middle: Row = (Span(f"{theme.ellipsis} {left_out} more lines", DIM),)
        rows = [*rows[:head], middle, *rows[len(rows) - (most - 1 - head) :]]
    return [_line(_INDENT, *row) for row in rows]


def _line(*spans: Span) -> Line:
    return Line(spans=merged(spans))


def _bounded(text: str, encoding: str | None, theme: Theme) -> str:
    more = len(text) - _MAX_CHARS
    told = f"\n{theme.ellipsis} {more} more characters" if more > 0 else ""
    return _clean(text[:_MAX_CHARS], encoding) + told


def _clean(text: str, encoding: str | None, *, one_line: bool = False) -> str:
    cleaner = Cleaner(encoding=encoding)
    text = cleaner.feed(text) + cleaner.flush()
    return " ".join(text.split()) if one_line else text
