"""The streaming Harmony codec: tokens to deltas, by control-token id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from launcher.engines.harmony.header import (
    MAX_HEADER_CHARS,
    Expect,
    Header,
    Section,
    may_be_role,
    other_role,
    read_header,
    source,
    split_header,
    takes_text,
)
from launcher.engines.harmony.tokens import ControlKind, HarmonyTokens
from launcher.engines.harmony.turn import (
    CODE_TOOL,
    Place,
    TurnWriter,
    Utf8Stream,
    default_call_id,
    is_json_object,
    quote,
)
from launcher.engines.types import Channel, ChatDelta, FinishReason, Message, ToolCall

State = Literal["header", "body", "done"]


class HarmonyParser:
    """Reads one assistant turn whose prompt ended with `<|start|>assistant`.

    ========  =====================================  ==========================================================
    state     token                                  what happens
    ========  =====================================  ==========================================================
    header    text                                   kept; bare text instead of a role, or a header that grows
                                                     past `MAX_HEADER_CHARS`, opens a body with a note
    header    `<|channel|>`, `<|constrain|>`         the next section of the header; another role than the
                                                     assistant's ends the turn: done
    header    `<|message|>`                          the header is read: body (another role: done)
    header    `<|start|>`                            text that the header held is given out; a new header
    header    `<|end|>`                              likewise
    header    `<|return|>`, `<|call|>`, `<|endoftext|>`  likewise, then done
    body      text                                   given out at once; the arguments of a call when it closes
    body      `<|message|>`, `<|constrain|>`         dropped with a note
    body      `<|end|>`                              the message closes: header
    body      `<|start|>`, `<|channel|>`             the message closes with a note: header
    body      `<|return|>`, `<|call|>`, `<|endoftext|>`  the message closes: done
    any       a control token we do not know         dropped with a note
    done      anything                               ignored
    ========  =====================================  ==========================================================

    No text is lost: what a header says beyond role, channel, recipient and type is quoted in a note, and every other
    text is in exactly one delta, in order. `finish` closes whatever is open.
    """

    def __init__(self, tokens: HarmonyTokens, *, make_id: Callable[[int], str] = default_call_id) -> None:
        """Start a turn. `make_id` names the n-th tool call of the turn, counted from 1."""
        self._tokens = tokens
        self._kinds = tokens.kinds()
        self._utf8 = Utf8Stream()
        self._out = TurnWriter(make_id)
        self._finish_reason: FinishReason | None = None
        self._state: State = "header"
        self._expect: Expect = "turn"
        self._sections = [Section(kind="role")]
        # Where text without a usable header goes: the interrupted message's channel, else the answer.
        self._fallback: Channel = "final"
        self._resuming = False
        self._channel: Channel = "final"
        self._header: Header | None = None
        self._arguments: list[str] = []

    @property
    def done(self) -> bool:
        """Whether the turn is over: stop decoding. Tokens fed from here on are ignored."""
        return self._state == "done"

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the turn ended; None while it goes on."""
        return self._finish_reason

    @property
    def place(self) -> Place:
        """Where the next token would stand."""
        if self._state != "body":
            return "header"
        if not self._header_is_text():
            return "call"
        return "answer" if self._channel == "final" else "text"

    def instead_of(self, token_id: int, piece: bytes) -> tuple[int, ...]:
        """Control tokens that may stand here in place of one by which text without a header becomes the answer."""
        if self._state != "header":
            return ()
        kind = self._kinds.get(token_id)
        if kind is None:
            fine = takes_text(self._sections, self._expect, piece.decode("utf-8", "replace"))
        else:  # these two make text of what a header holds beside its statements
            fine = kind not in ("start", "end") or not split_header(self._sections, self._expect)[2].strip()
        if fine:
            return ()
        begun = any(section.text for section in self._sections)
        return (self._tokens.channel, self._tokens.message if begun else self._tokens.start)

    @property
    def content(self) -> str:
        """Text of the final channel."""
        return self._out.text("final")

    @property
    def reasoning(self) -> str:
        """Text of the analysis channel."""
        return self._out.text("analysis")

    @property
    def commentary(self) -> str:
        """Text of the commentary channel: preambles to calls, meant for the user."""
        return self._out.text("commentary")

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Complete calls, in order."""
        return self._out.tool_calls

    def message(self) -> Message:
        """Give the turn so far as a message for the conversation."""
        return self._out.message()

    def feed(self, token_id: int, piece: bytes) -> tuple[ChatDelta, ...]:
        """Take one token with the bytes that it stands for; answer what became certain.

        The piece of a control token is ignored: its id says everything.
        """
        if self.done:
            return ()
        kind = self._kinds.get(token_id)
        if kind is None:
            self._decode(piece)
        elif kind == "other":
            self._out.note(f"The model wrote the control token {token_id}, which has no meaning here; it was dropped.")
        else:
            self._decode(b"", final=True)
            if not self.done:
                self._control(kind)
        return self._out.take()

    def finish(self, reason: FinishReason) -> tuple[ChatDelta, ...]:
        """End the turn from outside; a second call, or one after the model's own end, answers nothing.

        Args:
            reason: `stop` after the model's last token, `length` or `cancelled` where the turn was cut off. A call
                that was cut off is given out as commentary text, never as a call.
        """
        if self.done:
            return ()
        self._decode(b"", final=True)
        cut = reason in ("length", "cancelled")
        if self._state == "header":
            self._abandon_header(None, cut=cut)
        self._close(cut=cut)
        self._end(reason)
        return self._out.take()

    def _decode(self, piece: bytes, *, final: bool = False) -> None:
        text, valid = self._utf8.decode(piece, final=final)
        if not valid:
            self._out.invalid_utf8()
        if text:
            self._text(text)

    def _text(self, text: str) -> None:
        if self._state == "body":
            self._write(text)
            return
        section = self._sections[-1]
        room = MAX_HEADER_CHARS + 1 - sum(len(each.text) for each in self._sections)
        section.text += text[:room]
        if section.kind == "role" and not may_be_role(section.text, self._expect):
            self._open_text(None if self._resuming else "The model wrote text without a header")
        elif len(text) >= room:
            self._open_text("A message header never ended")
        else:
            return
        self._write(text[room:])

    def _control(self, kind: ControlKind) -> None:
        if self._state == "header":
            self._control_in_header(kind)
        else:
            self._control_in_body(kind)

    def _control_in_header(self, kind: ControlKind) -> None:
        if kind in ("channel", "constrain", "message") and self._stop_at_other_role():
            return
        if kind == "channel":
            self._sections.append(Section(kind="channel"))
        elif kind == "constrain":
            self._sections.append(Section(kind="constrain"))
        elif kind == "message":
            self._open(read_header(self._sections, self._expect))
        else:
            self._abandon_header(kind)
            if self._state != "done":
                self._after_message(kind)

    def _control_in_body(self, kind: ControlKind) -> None:
        if kind in ("message", "constrain"):
            self._out.note(f"The model wrote a stray <|{kind}|> inside a message; it was dropped.")
            return
        if kind == "call" and self._header_is_text():
            self._out.note("The model ended a message as a call, but it names no function.")
        interrupted = kind in ("start", "channel")
        if interrupted:
            self._out.note(f"The model wrote <|{kind}|> inside a message, without ending it first.")
        resume = self._channel if interrupted and self._header_is_text() else None
        self._close()
        self._after_message(kind)
        if resume is not None:
            self._fallback, self._resuming = resume, True

    def _after_message(self, kind: ControlKind) -> None:
        if kind in ("stop", "call"):
            self._end("stop")
            return
        self._state = "header"
        self._fallback, self._resuming = "final", False
        self._expect = "role" if kind == "start" else "gap"
        self._sections = [Section(kind="role")]
        if kind == "channel":
            self._expect = "turn"  # its role is that of the message it broke into
            self._sections.append(Section(kind="channel"))

    def _stop_at_other_role(self) -> bool:
        role = other_role(self._sections[0].text, self._expect) if len(self._sections) == 1 else None
        if role is None:
            return False
        written = quote(self._sections[0].text.strip())
        self._out.note(f"The model began to write a turn of another role, {written}; it was stopped there.")
        self._end("stop")
        return True

    def _abandon_header(self, kind: ControlKind | None, *, cut: bool = False) -> None:
        """Close a header that has no `<|message|>`. `kind` is the control token that ended it, if one did."""
        if not any(section.text.strip() or section.kind == "channel" for section in self._sections):
            return
        if self._expect == "role" and self._stop_at_other_role():
            return
        header, stated, text = split_header(self._sections, self._expect)
        if text.strip():
            self._open_text("A message header ended without <|message|>")
            self._close(cut=cut)
        elif kind == "call" and header.function is not None:
            self._out.note(f"A call of {header.function} ended without arguments ({quote(stated)}).")
            self._out.call(header.function, "")
        elif stated.strip() != "assistant":
            self._out.note(f"A message header ended without a message: {quote(stated)}.")

    def _open_text(self, why: str | None) -> None:
        """Open a body for a header that is none: its leading statements count, the rest is text."""
        header, stated, text = split_header(self._sections, self._expect)
        if why is not None:
            said = f" ({quote(stated.strip())})" if stated.strip() else ""
            read_as = "text" if header.function is None else f"the arguments of {header.function}"
            self._out.note(f"{why}{said}; what follows was read as {read_as}.")
        self._begin(header)
        self._write(text)

    def _open(self, header: Header) -> None:
        written = quote(source(self._sections))
        if header.recipient is None and header.channel is None:
            where = f"shown as {self._fallback}" if self._fallback != "final" else "shown as the answer"
            blank = not any(section.text.strip() for section in self._sections)
            self._out.note(
                f"The model named no channel; its text is {where}."
                if blank
                else f"The model named no known channel in the header {written}; its text is {where}."
            )
        elif header.malformed:
            read_as = f"a call of {header.function}" if header.function is not None else header.channel
            self._out.note(f"The model wrote a malformed header, {written}; it was read as {read_as}.")
        elif (
            header.recipient is not None
            and header.recipient.startswith("functions.")
            and header.function != CODE_TOOL
            and header.channel != "commentary"
        ):
            self._out.note(f"The model called {header.function} in the {header.channel} channel.")
        # A header was written, so this is a new message, whatever it interrupted.
        self._resuming = False
        self._begin(header)

    def _begin(self, header: Header) -> None:
        self._state = "body"
        self._header = header
        self._arguments = []
        self._channel = header.channel or self._fallback
        resumed = self._resuming and header.channel is None
        if header.recipient is None and not resumed:
            self._out.begin(self._channel)

    def _write(self, text: str) -> None:
        if self._header_is_text():
            self._out.write(self._channel, text)
        else:
            self._arguments.append(text)

    def _header_is_text(self) -> bool:
        return self._header is None or self._header.recipient is None

    def _close(self, *, cut: bool = False) -> None:
        header, self._header = self._header, None
        if header is None or header.function is None:
            return
        arguments = "".join(self._arguments)
        if cut:
            self._out.note(f"A call of {header.function} was cut off; it was not made.")
            self._out.begin("commentary")
            self._out.write("commentary", arguments)
            return
        # GPT OSS was trained to send its python tool bare code, and does so under the declared name as well.
        declared = (header.recipient or "").startswith("functions.") and header.function != CODE_TOOL
        wants_json = header.content_type == "json" or declared
        if wants_json and not is_json_object(arguments):
            self._out.note(
                f"The arguments of {header.function} are no JSON object; they are kept as the model wrote them."
            )
        self._out.call(header.function, arguments)

    def _end(self, reason: FinishReason) -> None:
        self._state = "done"
        self._finish_reason = self._out.finish_reason(reason)
