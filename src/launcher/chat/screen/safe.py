"""Text of others for a terminal: nothing in it moves the cursor, hides text or is obeyed. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_MAX_MARKS = 8
"""Zero-width characters in a row that pass: no script stacks more, and piles of them paint over other lines."""
_MAX_CONTROL = 1000
"""Characters of a control string (a title, a clipboard) that are waited for; without an end it is text after that."""

# ECMA-48: CSI with parameters, control strings up to BEL or ST, and short escapes. Each part is bounded, so that text
# after a stray escape is not swallowed, and whatever is cut between two pieces is found again.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"
    rf"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]{{0,{_MAX_CONTROL}}}(?:\x07|\x9c|\x1b\\)"
    r"|\x1b[ -/]{1,4}[0-~]|\x1b[0-OQ-WYZ\\`-~]"
)
_UNFINISHED = re.compile(
    r"(?:(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}"
    rf"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]{{0,{_MAX_CONTROL}}}\x1b?"
    r"|\x1b[ -/]{0,4})\Z"
)
_ESCAPES = re.compile("[\x1b\x80-\x9f]")
# C0 but line feed and tab, DEL, C1; soft hyphens and what has no width and no meaning to a reader; marks, embeddings,
# overrides and isolates of direction; interlinear annotation; tags. ZWNJ and ZWJ stay: scripts and emoji need them.
_DROPPED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_LINE_ENDS = re.compile("[\u2028\u2029]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_MARK = (
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u1ab0-\u1aff"
    "\u1dc0-\u1dff\u200c\u200d\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\U000e0100-\U000e01ef]"
)
_MARKS = re.compile(f"{_MARK}+")


def clean(text: str) -> str:
    """A whole text, safe for a terminal: line feeds and tabs stay, escape sequences go as a whole."""
    cleaner = Cleaner()
    return cleaner.feed(text) + cleaner.flush()


@dataclass(kw_only=True, slots=True)
class Cleaner:
    """Cleans a stream. Whatever its pieces, what comes out is what `clean` makes of their sum."""

    encoding: str | None = None
    """Of the terminal: characters that it cannot write become `?`. None: all can be written."""
    _held: str = field(default="", init=False)
    """The beginning of an escape sequence, until its end is here."""
    _n_marks: int = field(default=0, init=False)

    def feed(self, text: str) -> str:
        """What of it can be shown now."""
        if text.isascii() and text.isprintable() and not self._held:
            self._n_marks = 0 if text else self._n_marks
            return text
        text = self._held + text
        self._held = ""
        if _ESCAPES.search(text):
            text = self._without_sequences(text)
        return self._finished(text)

    def flush(self) -> str:
        """The rest, at the end of a stream."""
        text, self._held = self._held, ""
        text = self._finished(text)
        self._n_marks = 0
        return text

    def _without_sequences(self, text: str) -> str:
        # From left to right, so that what is left around a sequence is never taken for another one.
        parts: list[str] = []
        at = 0
        while begin := _ESCAPES.search(text, at):
            start = begin.start()
            parts.append(text[at:start])
            if whole := _SEQUENCE.match(text, start):
                at = whole.end()
            elif _UNFINISHED.match(text, start):
                self._held = text[start:]
                return "".join(parts)
            else:
                at = start + 1
        return "".join((*parts, text[at:]))

    def _finished(self, text: str) -> str:
        text = _LINE_ENDS.sub("\n", _DROPPED.sub("", text))
        if text.isascii():
            self._n_marks = 0 if text else self._n_marks
            return text
        text = self._with_few_marks(_SURROGATES.sub("\ufffd", text))
        if self.encoding is None:
            return text
        return text.encode(self.encoding, "replace").decode(self.encoding, "replace")

    def _with_few_marks(self, text: str) -> str:
        parts: list[str] = []
        end = 0
        for found in _MARKS.finditer(text):
            parts.append(text[end : found.start()])
            seen = self._n_marks if found.start() == 0 else 0
            keep = max(0, _MAX_MARKS - seen)
            parts.append(found.group()[:keep])
            end = found.end()
            if end == len(text):
                self._n_marks = seen + len(found.group())
        if end < len(text):
            self._n_marks = 0
        parts.append(text[end:])
        return "".join(parts)


def terminal_encoding(name: str | None) -> str | None:
    """The encoding that a Cleaner needs to know of: None where the stream can write every character."""
    import codecs

    try:
        found = codecs.lookup(name or "utf-8").name
    except LookupError:
        return "ascii"
    return None if found.startswith("utf") else found
