"""What `gpt-oss chat` does without a conversation: one question in, one answer out, for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypedDict, Unpack

from launcher.chat.attachments import attachment, decoded, fenced, read_attached, read_bytes, too_large
from launcher.chat.record import ScriptAnswer, answer_record, parsed_json, result_value
from launcher.chat.types import Consent, ToolEnded, ToolStarted, TurnEvent
from launcher.engines.types import (
    EndDelta,
    FinishReason,
    NoteDelta,
    PromptDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from launcher.errors import ExitCode, LauncherError, UsageError
from launcher.tools.types import Tool

__all__ = [
    "JsonLinesView",
    "JsonView",
    "Outcome",
    "ScriptAnswer",
    "answer_record",
    "attachment",
    "outcome",
    "parsed_json",
    "read_attached",
    "read_question",
    "too_large",
]


def read_question(
    words: Sequence[str],
    file: str | None,
    read_stdin: Callable[[], bytes] | None,
    *,
    read_file: Callable[[Path], bytes] = read_bytes,
) -> str:
    """Put a question together, its parts set apart by blank lines: the prompt file, the words, what was piped in.

    What was piped in is the question itself where there is no other, or where the file is `-`; else it stands in a
    fence, titled `stdin`: what it says is data.

    Args:
        words: As typed.
        file: Of the prompt; `-` is stdin.
        read_stdin: None where nobody pipes anything.
        read_file: Reads a file.

    Returns:
        The question; empty where there is none.

    Raises:
        UsageError: A part cannot be read, or is no text.
    """
    if file == "-" and read_stdin is None:
        raise UsageError("-f - reads the question from a pipe, and there is none", hint="gpt-oss chat --help")
    typed = " ".join(words).strip()
    piped = decoded(read_stdin(), "stdin", strict=False).strip() if read_stdin is not None else ""
    if file == "-":
        prompt, piped = piped, ""
    else:
        prompt = decoded(read_file(Path(file).expanduser()), file, strict=False).strip() if file is not None else ""
    if piped and (prompt or typed):
        piped = fenced("stdin", piped)
    return "\n\n".join(part for part in (prompt, typed, piped) if part)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a script is told of an answer."""

    code: ExitCode
    note: str | None = None
    """A line for stderr."""
    error: LauncherError | None = None
    """What is wrong with the answer; it has been printed all the same."""


def outcome(reason: FinishReason, content: str, *, with_schema: bool = False, max_tokens: int | None = None) -> Outcome:
    """Judge an answer.

    Args:
        reason: How the turn ended.
        content: The answer.
        with_schema: Whether it is to be JSON.
        max_tokens: The limit that was set; None: only the context limits an answer.
    """
    if reason == "cancelled":
        return Outcome(code=ExitCode.INTERRUPTED)
    raised = (
        f"gpt-oss chat --max-tokens {2 * max_tokens}" if max_tokens is not None else "gpt-oss chat --ctx-size 131072"
    )
    if with_schema and not parsed_json(content, reason)[0]:
        if reason == "length":
            limit = "raise --max-tokens" if max_tokens is not None else "raise --ctx-size"
            error = LauncherError(f"the answer was cut off before its JSON was complete: {limit}", hint=raised)
        elif reason == "tool_calls":
            error = LauncherError("the model called a tool instead of answering in JSON", hint="gpt-oss chat --help")
        else:
            error = LauncherError("the answer is no JSON", hint="gpt-oss chat --help")
        return Outcome(code=error.code, error=error)
    if reason == "length" and not with_schema:
        what = f"after {max_tokens} tokens" if max_tokens is not None else "where the context is full"
        return Outcome(code=ExitCode.DONE, note=f"note: the answer was cut off {what}; {raised} allows more")
    return Outcome(code=ExitCode.DONE)


class _How(TypedDict, total=False):
    """How a turn ended, and what was asked of it; see `answer_record`."""

    conversation: int | str | None
    finish_reason: FinishReason | None
    with_schema: bool


@dataclass(kw_only=True, slots=True)
class _ScriptView:
    """What both views for scripts are: nobody is there to be asked, and a turn ends as one record."""

    model: str
    engine: str
    answer: ScriptAnswer = field(default_factory=ScriptAnswer)

    def show(self, event: TurnEvent) -> None:
        """Keep an event."""
        self.answer.take(event)

    def confirm(self, tool: Tool, call: ToolCall) -> Consent:
        """Nobody is there to be asked."""
        self.show(_unconfirmed(tool, call))
        return "no"

    def close(self) -> None:
        """Nothing is left unfinished."""

    def record(self, **how: Unpack[_How]) -> dict[str, Any]:
        """The turn as `answer_record` spells it."""
        return answer_record(self.answer, model=self.model, engine=self.engine, **how)


@dataclass(kw_only=True, slots=True)
class JsonView(_ScriptView):
    """Shows nothing while a turn goes on; `document` is the whole of it."""

    def document(self, **how: Unpack[_How]) -> str:
        """One JSON document."""
        return _encoded(self.record(**how), indent=2) + "\n"


@dataclass(kw_only=True, slots=True)
class JsonLinesView(_ScriptView):
    """Writes each event as a line of JSON, at once. The last line, `end`, holds what `--json` prints."""

    out: TextIO

    def show(self, event: TurnEvent) -> None:
        """Write an event."""
        _ScriptView.show(self, event)  # no super(): a dataclass with slots is another class than the one it names
        line = _line_of(event)
        if line is not None:
            self._write(line)

    def finish(self, **how: Unpack[_How]) -> None:
        """Write the last line."""
        self._write({"type": "end", **self.record(**how)})

    def _write(self, value: dict[str, Any]) -> None:
        self.out.write(_encoded(value) + "\n")
        self.out.flush()


_CHANNEL_TYPES = {"analysis": "reasoning", "commentary": "commentary", "final": "content"}


def _line_of(event: TurnEvent) -> dict[str, Any] | None:  # noqa: PLR0911 - one for each kind of event
    """An event as JSON; None for the end of one answer among several: `finish` writes the turn's."""
    match event:
        case PromptDelta():
            return {"type": "prompt", "done_n": event.done_n, "total_n": event.total_n}
        case TextDelta():
            return {"type": _CHANNEL_TYPES[event.channel], "text": event.text}
        case ToolCallDelta():
            return {
                "type": "tool_call",
                "id": event.call.id,
                "name": event.call.name,
                "arguments": event.call.arguments,
            }
        case ToolStarted():
            return {"type": "tool_start", "id": event.call.id, "title": event.title}
        case ToolEnded():
            shown = result_value(event.result) or {}
            return {"type": "tool_result", "id": event.call.id, "title": event.title, **shown}
        case NoteDelta():
            return {"type": "note", "text": event.text}
        case EndDelta():
            return None


def _unconfirmed(tool: Tool, call: ToolCall) -> NoteDelta:
    allowed = f"--tools-allow {tool.title} lets it run"
    return NoteDelta(text=f"the call {call.id} of {tool.title} was not made: nobody can be asked; {allowed}")


def _encoded(value: dict[str, Any], indent: int | None = None) -> str:
    """JSON as UTF-8 text. Half of a pair of surrogates, which no UTF-8 holds, is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text
